//! A small cluster that does what the desired world says, and lets tests break it.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_core::rollout::{
    Count, Desired, Millis, Observed, Pods, Revision, Routed, Spec, State, Traffic, movable,
};

/// One revision's pods and sessions.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub total: u32,
    pub ready: u32,
    pub sessions: u32,
}

/// What is wrong with the world at the moment.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// No pod of these gets ready; those that are stop being so.
    pub down: BTreeSet<Revision>,
    /// New pods of these never get ready; those that are ready stay so.
    pub broken: BTreeSet<Revision>,
    /// Pods of these do not say how many sessions they have.
    pub mute: BTreeSet<Revision>,
    /// Clients of these do not move when they are told to.
    pub deaf: BTreeSet<Revision>,
    /// The gateway takes no route.
    pub gateway_stuck: bool,
    /// The gateway says nothing of its route.
    pub gateway_mute: bool,
}

/// The cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub now_ms: i64,
    pub workloads: BTreeMap<Revision, Workload>,
    pub routed: BTreeMap<Revision, u8>,
    pub faults: Faults,
    /// Clients without a socket.
    pub homeless: u32,
    /// Sessions moved by an order.
    pub moved: u32,
    /// Sessions that lost their pod.
    pub cut: u32,
}

impl Cluster {
    pub fn now(&self) -> Millis {
        Millis(self.now_ms)
    }

    pub fn observe(&self) -> Observed {
        let live = || self.workloads.iter().filter(|(_, workload)| workload.total > 0);
        Observed {
            pods: live()
                .map(|(revision, workload)| {
                    let (total, ready) = (workload.total, workload.ready);
                    (revision.clone(), Pods { total, ready })
                })
                .collect(),
            sessions: live()
                .map(|(revision, workload)| {
                    let count = if self.faults.mute.contains(revision) {
                        Count::Unknown
                    } else {
                        Count::Known(workload.sessions)
                    };
                    (revision.clone(), count)
                })
                .collect(),
            routed: if self.routed.is_empty() || self.faults.gateway_mute {
                Routed::Unknown
            } else {
                Routed::Known(self.routed.clone())
            },
        }
    }

    /// Lets one second pass under `desired`.
    pub fn second(&mut self, spec: &Spec, state: &State, desired: &Desired) {
        self.now_ms += 1_000;
        self.pods_get_ready();
        self.scale(desired);
        if !self.faults.gateway_stuck && !desired.weights.is_empty() {
            self.routed.clone_from(&desired.weights);
        }
        self.connect(spec, desired);
        self.shed(spec, state, desired);
    }

    fn pods_get_ready(&mut self) {
        for (revision, workload) in &mut self.workloads {
            if self.faults.down.contains(revision) {
                workload.ready = 0;
            } else if !self.faults.broken.contains(revision) {
                workload.ready = workload.total;
            }
        }
    }

    fn scale(&mut self, desired: &Desired) {
        for revision in desired.workloads.keys() {
            self.workloads.entry(revision.clone()).or_default();
        }
        for (revision, workload) in &mut self.workloads {
            let want = desired.workloads.get(revision).copied().unwrap_or(0);
            if want < workload.total {
                let left = u64::from(workload.sessions) * u64::from(want) / u64::from(workload.total);
                let left = u32::try_from(left).unwrap();
                self.cut += workload.sessions - left;
                self.homeless += workload.sessions - left;
                workload.sessions = left;
            }
            workload.total = want;
            workload.ready = workload.ready.min(want);
        }
    }

    /// Where new connections go: revisions with their shares.
    fn shares(&self, spec: &Spec, desired: &Desired) -> Vec<(Revision, u64)> {
        let ready = |revision: &Revision| self.workloads.get(revision).map_or(0, |workload| workload.ready);
        let shares: Vec<_> = match spec.traffic {
            Traffic::Gateway => {
                let weights = self.routed.iter();
                weights
                    .map(|(revision, weight)| (revision.clone(), u64::from(*weight)))
                    .collect()
            }
            Traffic::Service => {
                let chosen = self.workloads.keys().filter(|revision| {
                    desired
                        .selected
                        .as_ref()
                        .is_none_or(|selected| selected == *revision)
                });
                chosen
                    .map(|revision| (revision.clone(), u64::from(ready(revision))))
                    .collect()
            }
        };
        shares
            .into_iter()
            .filter(|(revision, share)| *share > 0 && ready(revision) > 0)
            .collect()
    }

    fn connect(&mut self, spec: &Spec, desired: &Desired) {
        let shares = self.shares(spec, desired);
        self.homeless = self.spread(&shares, self.homeless);
    }

    fn spread(&mut self, shares: &[(Revision, u64)], clients: u32) -> u32 {
        let mut weight: u64 = shares.iter().map(|(_, share)| share).sum();
        let mut left = u64::from(clients);
        for (revision, share) in shares {
            let part = (left * share).div_ceil(weight.max(1)).min(left);
            left -= part;
            weight -= share;
            self.workloads.get_mut(revision).unwrap().sessions += u32::try_from(part).unwrap();
        }
        u32::try_from(left).unwrap()
    }

    fn shed(&mut self, spec: &Spec, state: &State, desired: &Desired) {
        let mut budget = spec.sessions.map_or(0, |drain| drain.rate_per_second);
        for order in &movable(spec, state, desired, &self.observe()) {
            let unknown = |revision: &Revision| self.faults.mute.contains(revision);
            if self.faults.deaf.contains(&order.from)
                || (order.keep_percent > 0 && self.workloads.keys().any(unknown))
            {
                continue;
            }
            let live = |revision| {
                self.workloads
                    .get(revision)
                    .map_or(0, |workload| workload.sessions)
            };
            let total = live(&order.from) + live(&order.to);
            let keep = (total * u32::from(order.keep_percent) + 50) / 100;
            let Some(from) = self.workloads.get_mut(&order.from) else {
                continue;
            };
            let told = from.sessions.saturating_sub(keep).min(budget);
            budget -= told;
            from.sessions -= told;
            self.moved += told;
            let lands = match spec.traffic {
                Traffic::Gateway => vec![(order.to.clone(), 1)],
                Traffic::Service => self.shares(spec, desired),
            };
            let ready = self.workloads.get(&order.to).is_some_and(|to| to.ready > 0);
            if ready {
                self.homeless += self.spread(&lands, told);
            } else {
                self.homeless += told;
            }
        }
    }
}
