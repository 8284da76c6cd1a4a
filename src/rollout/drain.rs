//! Step 6, I/O out: tells the pods how many sessions each of them keeps. Orders are levels, so one that is lost, or sent
//! twice, or sent by an operator that was just replaced, does no harm; they are repeated at every look while they stand.

use pointsman_core::rollout::{Desired, Move, PodSessions, Revision, shed};

use super::observe::{PodView, World, address};
use super::sessions::{Address, Order, PodError, Pods};
use crate::telemetry::Metrics;

/// Orders for pods by name.
pub type Orders = Vec<(String, Address, Order)>;

/// The orders that follow from the desired world and from what the pods said. Pure.
#[must_use]
pub fn orders(desired: &Desired, world: &World, rate_per_second: u32) -> Orders {
    let mut orders = Vec::new();
    // Pods that were told to end drain by themselves.
    let asked: Vec<&PodView> = world
        .pods
        .iter()
        .filter(|pod| pod.running && !pod.terminating && pod.report.is_some())
        .collect();
    let told = |order: &Move, rate: u32| {
        let open: Vec<PodSessions> = asked
            .iter()
            .filter(|pod| pod.revision.as_ref() == Some(&order.from))
            .map(|pod| sessions(pod))
            .collect();
        shed(order, &world.seen.sessions, &open, rate)
    };
    // All orders together keep to the rate.
    let active = desired
        .moves
        .iter()
        .filter(|order| !told(order, 1).is_empty())
        .count();
    let share = rate_per_second / u32::try_from(active).unwrap_or(u32::MAX).max(1);
    for order in &desired.moves {
        let rate = share.min(capacity(&asked, &order.to).unwrap_or(u32::MAX)).max(1);
        for drain in told(order, rate) {
            let pod = asked.iter().find(|pod| pod.name == drain.pod);
            let Some(address) = pod.and_then(|pod| address(world, pod)) else {
                continue;
            };
            let order = Order {
                keep: Some(drain.keep),
                interval_ms: drain.interval_ms,
                to: drain.to.0,
            };
            orders.push((drain.pod, address, order));
        }
    }
    orders.extend(releases(desired, world, &asked));
    orders
}

/// Pods that still hold an order though nobody asks their revision to shed any more.
fn releases(desired: &Desired, world: &World, asked: &[&PodView]) -> Orders {
    let shedding = |revision: &Revision| desired.moves.iter().any(|order| order.from == *revision);
    asked
        .iter()
        .filter(|pod| pod.report.as_ref().is_some_and(|report| report.keep.is_some()))
        .filter(|pod| !pod.revision.as_ref().is_some_and(shedding))
        .filter_map(|pod| {
            let order = Order {
                keep: None,
                interval_ms: 1,
                to: String::new(),
            };
            Some((pod.name.clone(), address(world, pod)?, order))
        })
        .collect()
}

fn sessions(pod: &PodView) -> PodSessions {
    PodSessions {
        pod: pod.name.clone(),
        open: pod.report.as_ref().map_or(0, |report| report.open),
    }
}

/// New sessions per second that a revision says it can take; `None` when no pod of it sets a limit.
fn capacity(asked: &[&PodView], revision: &Revision) -> Option<u32> {
    let limits = asked
        .iter()
        .filter(|pod| pod.ready && pod.revision.as_ref() == Some(revision));
    limits
        .filter_map(|pod| pod.report.as_ref()?.handshakes.capacity_per_second)
        .reduce(u32::saturating_add)
}

/// Sends orders. A pod that is not reached is told again at the next look.
pub async fn send(pods: &Pods, metrics: &Metrics, token: &str, orders: Orders) {
    for (pod, sent) in pods.order(orders, token).await {
        let outcome = match &sent {
            Ok(()) => "taken",
            Err(PodError::Unreached(_)) => "unreached",
            Err(PodError::Timeout) => "timeout",
            Err(PodError::Status { .. } | PodError::Malformed(_)) => "refused",
        };
        metrics.drain_orders.with_label_values(&[outcome]).inc();
        if let Err(error) = sent {
            tracing::warn!(pod, %error, "a pod did not take its drain order");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::sessions::Report;
    use k8s_openapi::api::apps::v1::Deployment;
    use pointsman_api::labels;
    use pointsman_core::rollout::Count;
    use std::sync::Arc;

    fn revision(name: &str) -> Revision {
        Revision(name.to_owned())
    }

    fn pod(name: &str, of: &str, open: u32, keep: Option<u32>) -> PodView {
        PodView {
            name: name.to_owned(),
            revision: Some(revision(of)),
            ip: Some("127.0.0.1".to_owned()),
            ready: true,
            running: true,
            report: Some(Report {
                open,
                keep,
                ..Report::default()
            }),
            ..PodView::default()
        }
    }

    fn world(pods: Vec<PodView>) -> World {
        let mut deployment = Deployment::default();
        let ports = r#"{"main":8080,"control":8081,"all":[]}"#.to_owned();
        deployment.metadata.annotations = Some([(labels::PORTS.to_owned(), ports)].into());
        let deployment = Arc::new(deployment);
        let mut world = World {
            pods,
            deployments: [
                (revision("old"), Arc::clone(&deployment)),
                (revision("new"), deployment),
            ]
            .into(),
            ..World::default()
        };
        for name in ["old", "new"] {
            let open = world
                .pods
                .iter()
                .filter(|pod| pod.revision == Some(revision(name)));
            let open = open
                .map(|pod| pod.report.as_ref().map_or(0, |report| report.open))
                .sum();
            world.seen.sessions.insert(revision(name), Count::Known(open));
        }
        world
    }

    fn halving() -> Desired {
        let moves = vec![Move {
            from: revision("old"),
            to: revision("new"),
            keep_percent: 50,
        }];
        Desired {
            moves,
            ..Desired::default()
        }
    }

    #[test]
    fn pods_of_the_old_side_shed_together_at_the_rate() {
        let world = world(vec![
            pod("a", "old", 10, None),
            pod("b", "old", 10, None),
            pod("c", "new", 0, None),
        ]);
        let told: Vec<_> = orders(&halving(), &world, 10)
            .into_iter()
            .map(|(pod, _, order)| (pod, order.keep, order.interval_ms, order.to))
            .collect();
        assert_eq!(
            told,
            [
                ("a".to_owned(), Some(5), 200, "new".to_owned()),
                ("b".to_owned(), Some(5), 200, "new".to_owned())
            ]
        );
    }

    #[test]
    fn two_orders_share_the_rate() {
        let mut world = world(vec![
            pod("a", "old", 10, None),
            pod("b", "older", 10, None),
            pod("c", "new", 0, None),
        ]);
        let deployment = Arc::clone(&world.deployments[&revision("old")]);
        world.deployments.insert(revision("older"), deployment);
        let mut desired = halving();
        let emptying = Move {
            from: revision("older"),
            to: revision("new"),
            keep_percent: 0,
        };
        desired.moves.push(emptying);
        let intervals: Vec<_> = orders(&desired, &world, 10)
            .iter()
            .map(|order| order.2.interval_ms)
            .collect();
        assert_eq!(intervals, [200, 200]);
    }

    #[test]
    fn the_new_side_may_slow_it_down() {
        let mut slow = pod("c", "new", 0, None);
        slow.report.as_mut().unwrap().handshakes.capacity_per_second = Some(2);
        let world = world(vec![pod("a", "old", 10, None), slow]);
        assert_eq!(orders(&halving(), &world, 10)[0].2.interval_ms, 500);
    }

    #[test]
    fn an_order_that_nobody_wants_any_more_is_taken_back() {
        let world = world(vec![pod("a", "old", 5, Some(5)), pod("b", "old", 5, None)]);
        let told = orders(&Desired::default(), &world, 10);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].0.as_str(), told[0].2.keep), ("a", None));
    }
}
