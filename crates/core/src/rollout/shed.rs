//! From an order for a revision to orders for its pods.

use std::collections::BTreeMap;

use super::model::{Count, Move, Revision};

/// Live sessions of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSessions {
    /// Name of the pod.
    pub pod: String,
    /// Sessions open now.
    pub open: u32,
}

/// What one pod is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDrain {
    /// Name of the pod.
    pub pod: String,
    /// Sessions it keeps.
    pub keep: u32,
    /// Time between two sessions told to move, at least 1 ms.
    pub interval_ms: u32,
    /// Where they go.
    pub to: Revision,
}

/// Shares an order out over the pods of `order.from`, so that all of them together shed `rate_per_second`.
///
/// The order is a level ("keep so many"), so it may be repeated or lost. Nothing is ordered while a count is unknown,
/// except that a share of nothing needs no count. Pods that have no more than their part are left alone.
#[must_use]
pub fn shed(
    order: &Move,
    open: &BTreeMap<Revision, Count>,
    pods: &[PodSessions],
    rate_per_second: u32,
) -> Vec<PodDrain> {
    let keep_total = match (order.keep_percent, open.get(&order.from), open.get(&order.to)) {
        (0, _, _) => 0,
        (percent, Some(Count::Known(from)), Some(Count::Known(to))) => {
            let total = u64::from(*from).saturating_add(u64::from(*to));
            u32::try_from(total.saturating_mul(u64::from(percent)).saturating_add(50) / 100)
                .unwrap_or(u32::MAX)
        }
        (_, _, _) => return Vec::new(),
    };
    let level = level(pods, keep_total);
    let mut spare = keep_total.saturating_sub(kept(pods, level));
    let mut drains = Vec::new();
    for pod in pods.iter().filter(|pod| pod.open > level) {
        // The rest of the division goes to the first pods, one each.
        let extra = u32::from(spare > 0);
        spare = spare.saturating_sub(extra);
        let keep = level.saturating_add(extra);
        if keep < pod.open {
            drains.push(PodDrain {
                pod: pod.pod.clone(),
                keep,
                interval_ms: 1,
                to: order.to.clone(),
            });
        }
    }
    let shedding = u32::try_from(drains.len()).unwrap_or(u32::MAX);
    let interval_ms = (1_000_u32.saturating_mul(shedding) / rate_per_second.max(1)).max(1);
    for drain in &mut drains {
        drain.interval_ms = interval_ms;
    }
    drains
}

fn kept(pods: &[PodSessions], level: u32) -> u32 {
    pods.iter()
        .fold(0, |sum, pod| sum.saturating_add(pod.open.min(level)))
}

/// The highest level such that pods cut down to it keep no more than `keep_total` together.
fn level(pods: &[PodSessions], keep_total: u32) -> u32 {
    let (mut low, mut high) = (0, pods.iter().map(|pod| pod.open).max().unwrap_or(0));
    while low < high {
        let middle = high - (high - low) / 2;
        if kept(pods, middle) <= keep_total {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revision(name: &str) -> Revision {
        Revision(name.to_owned())
    }

    fn shed_of(open: &[u32], arrived: u32, keep_percent: u8) -> Vec<PodDrain> {
        let pods: Vec<_> = open
            .iter()
            .enumerate()
            .map(|(index, open)| PodSessions {
                pod: format!("p{index}"),
                open: *open,
            })
            .collect();
        let counts = BTreeMap::from([
            (revision("old"), Count::Known(open.iter().sum())),
            (revision("new"), Count::Known(arrived)),
        ]);
        let order = Move {
            from: revision("old"),
            to: revision("new"),
            keep_percent,
        };
        shed(&order, &counts, &pods, 10)
    }

    #[test]
    fn an_even_share_of_uneven_pods() {
        let keeps: Vec<_> = shed_of(&[10, 2, 8], 0, 50)
            .into_iter()
            .map(|drain| (drain.pod, drain.keep))
            .collect();
        assert_eq!(keeps, [("p0".to_owned(), 4), ("p2".to_owned(), 4)]);
    }

    #[test]
    fn all_pods_together_keep_the_rate() {
        assert_eq!(
            shed_of(&[10, 10, 10], 0, 0)
                .iter()
                .map(|drain| drain.interval_ms)
                .collect::<Vec<_>>(),
            [300; 3]
        );
    }

    #[test]
    fn an_unknown_count_orders_nothing_but_emptying() {
        let order = Move {
            from: revision("old"),
            to: revision("new"),
            keep_percent: 50,
        };
        let pods = [PodSessions {
            pod: "p".to_owned(),
            open: 7,
        }];
        assert!(shed(&order, &BTreeMap::new(), &pods, 10).is_empty());
        assert_eq!(
            shed(
                &Move {
                    keep_percent: 0,
                    ..order
                },
                &BTreeMap::new(),
                &pods,
                10
            )
            .len(),
            1
        );
    }

    proptest! {
        #[test]
        fn exactly_the_share_is_kept(open in prop::collection::vec(0_u32..500, 1..12), arrived in 0_u32..500, percent in 0_u8..=100) {
            let drains = shed_of(&open, arrived, percent);
            let had: u32 = open.iter().sum();
            let left: u32 = open.iter().enumerate().map(|(index, open)| {
                drains.iter().find(|drain| drain.pod == format!("p{index}")).map_or(*open, |drain| drain.keep)
            }).sum();
            let asked = ((had + arrived) * u32::from(percent) + 50) / 100;
            prop_assert_eq!(left, had.min(asked));
        }
    }
}
