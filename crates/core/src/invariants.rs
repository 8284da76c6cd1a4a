//! What must hold in every state and at every edge, written without a look at the planner.

use std::collections::BTreeSet;

use crate::rollout::{CanaryStep, Desired, Phase, Revision, Spec, Stage, State, Strategy, Traffic};

/// Old revisions that may be on their way out at once; what the status has room for.
const RETIRED_MAX: usize = 8;

struct Rules {
    broken: Vec<String>,
}

impl Rules {
    fn rule(&mut self, holds: bool, text: &str) {
        if !holds {
            self.broken.push(text.to_owned());
        }
    }
}

/// Every rule that `state` and the world derived from it break; empty when all is well.
#[must_use]
pub fn check(spec: &Spec, state: &State, desired: &Desired) -> Vec<String> {
    let mut rules = Rules { broken: Vec::new() };
    memory(&mut rules, state);
    traffic(&mut rules, spec, state, desired);
    authority(&mut rules, spec, state, desired);
    capacity(&mut rules, spec, state, desired);
    moves(&mut rules, spec, state, desired);
    rules.broken
}

/// Every rule that the way from one persisted state to the next breaks; empty when all is well.
#[must_use]
pub fn check_edge(spec: &Spec, before: &State, after: &State) -> Vec<String> {
    let mut rules = Rules { broken: Vec::new() };
    if before == after {
        return rules.broken;
    }
    rules.rule(
        after.stable == before.stable || after.stable == before.candidate,
        "only a candidate becomes stable",
    );
    let first = matches!(before.phase, Phase::Initializing { .. });
    rules.rule(
        after.stable == before.stable || first || after.stable.as_ref() == Some(&spec.target),
        "only the revision that the spec asks for is promoted",
    );
    rules.rule(
        after.stable == before.stable
            || first
            || matches!(
                before.phase,
                Phase::Promoting {
                    stage: Stage::Moving,
                    ..
                }
            ),
        "a revision becomes stable by a promotion that had all the traffic",
    );
    rules.rule(
        after.candidate.is_none()
            || after.candidate == before.candidate
            || after.candidate.as_ref() == Some(&spec.target),
        "only the revision that the spec asks for becomes the candidate",
    );
    let gone = |revision: &Option<Revision>| {
        revision.as_ref().is_some_and(|revision| {
            after.stable.as_ref() != Some(revision)
                && after.candidate.as_ref() != Some(revision)
                && after.retired.iter().all(|retired| retired.revision != *revision)
        })
    };
    rules.rule(
        !gone(&before.stable) || spec.replicas == 0,
        "a stable revision is not dropped before it is empty",
    );
    let pods = crate::rollout::desired(spec, before).workloads;
    let unused = before
        .candidate
        .as_ref()
        .is_none_or(|candidate| pods.get(candidate).copied().unwrap_or(0) == 0);
    rules.rule(
        !gone(&before.candidate) || unused,
        "a candidate with pods is not dropped before it is empty",
    );
    let frozen = before.paused_since.is_some() && after.paused_since.is_some();
    rules.rule(
        !frozen || before.phase.is_like(&after.phase),
        "nothing moves on while paused",
    );
    rules.broken
}

impl Phase {
    /// The same but for times.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Stepping {
                    step: a, stage: b, ..
                },
                Self::Stepping {
                    step: c, stage: d, ..
                },
            ) => a == c && b == d,
            (Self::Promoting { stage: a, .. }, Self::Promoting { stage: b, .. }) => a == b,
            (Self::Previewing { ready: a, .. }, Self::Previewing { ready: b, .. }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

fn memory(rules: &mut Rules, state: &State) {
    let retired: BTreeSet<_> = state.retired.iter().map(|retired| &retired.revision).collect();
    rules.rule(
        retired.len() == state.retired.len(),
        "a revision is on its way out once",
    );
    rules.rule(
        state.retired.len() <= RETIRED_MAX,
        "few revisions are on their way out",
    );
    let both = [&state.stable, &state.candidate];
    rules.rule(
        both.into_iter()
            .flatten()
            .all(|revision| !retired.contains(revision)),
        "a revision on its way out is neither stable nor candidate",
    );
    rules.rule(
        state.stable.is_none() || state.candidate != state.stable,
        "candidate and stable revision differ",
    );
    let (stable, candidate) = match state.phase {
        Phase::Pending => (false, false),
        Phase::Initializing { .. } => (false, true),
        Phase::Stable => (true, false),
        Phase::Stepping { .. }
        | Phase::Previewing { .. }
        | Phase::Promoting { .. }
        | Phase::Aborting { .. }
        | Phase::Aborted { .. } => (true, true),
    };
    rules.rule(
        state.stable.is_some() == stable && state.candidate.is_some() == candidate,
        "each phase has the revisions that it needs and no other",
    );
}

fn traffic(rules: &mut Rules, spec: &Spec, state: &State, desired: &Desired) {
    let pods = |revision: &Revision| desired.workloads.get(revision).copied().unwrap_or(0);
    let sum: u32 = desired.weights.values().map(|weight| u32::from(*weight)).sum();
    rules.rule(
        sum == 100 || (desired.weights.is_empty() && state.phase == Phase::Pending),
        "weights add up to 100",
    );
    rules.rule(
        spec.replicas == 0
            || desired
                .weights
                .iter()
                .all(|(revision, weight)| *weight == 0 || pods(revision) > 0),
        "no weight on a revision without pods",
    );
    let two: BTreeSet<&Revision> = [&state.stable, &state.candidate].into_iter().flatten().collect();
    rules.rule(
        desired.weights.keys().all(|revision| two.contains(revision)),
        "only the stable revision and the candidate have weight",
    );
    rules.rule(
        desired
            .pinned
            .iter()
            .all(|revision| pods(revision) > 0 && two.contains(revision)),
        "only live revisions have a rule of their own, and none on its way out",
    );
    let selected_by_all = || {
        spec.traffic == Traffic::Service
            && matches!(spec.strategy, Strategy::Canary { .. })
            && desired
                .workloads
                .iter()
                .all(|(revision, size)| *size == 0 || two.contains(revision))
    };
    rules.rule(
        match &desired.selected {
            Some(selected) => desired.workloads.contains_key(selected) && two.contains(selected),
            None => state.phase == Phase::Pending || selected_by_all(),
        },
        "the Service selects nothing but the stable revision and the candidate",
    );
    rules.rule(
        desired.preview.is_none()
            || (desired.preview == state.candidate && desired.preview != desired.selected),
        "only a candidate without traffic is previewed",
    );
}

/// Nobody gets more traffic than the steps so far allow.
fn authority(rules: &mut Rules, spec: &Spec, state: &State, desired: &Desired) {
    let allowed = match (&state.phase, &spec.strategy) {
        (
            Phase::Stepping {
                stage: Stage::Recovering,
                ..
            }
            | Phase::Promoting {
                stage: Stage::Recovering,
                ..
            },
            _,
        ) => 0,
        (Phase::Stepping { step, .. }, Strategy::Canary { steps }) => {
            let reached = steps.iter().zip(0_u32..).filter(|(_, index)| index <= step);
            let highest = reached.filter_map(|(step, _)| match step {
                CanaryStep::SetWeight { percent, .. } => Some(*percent),
                CanaryStep::Pause { .. } => None,
            });
            highest.max().unwrap_or(0).min(100)
        }
        (Phase::Initializing { .. } | Phase::Promoting { .. }, _) => 100,
        (
            Phase::Pending
            | Phase::Stable
            | Phase::Stepping { .. }
            | Phase::Previewing { .. }
            | Phase::Aborting { .. }
            | Phase::Aborted { .. },
            _,
        ) => 0,
    };
    let share = state
        .candidate
        .as_ref()
        .and_then(|candidate| desired.weights.get(candidate));
    rules.rule(
        share.is_none_or(|share| *share <= allowed),
        "the candidate's weight is not above what the steps so far allow",
    );
    let all_but_open = allowed > 0 || desired.selected.is_some() || state.phase == Phase::Pending;
    rules.rule(
        all_but_open,
        "the Service leaves a candidate without weight alone",
    );
}

/// Pods where the traffic is.
fn capacity(rules: &mut Rules, spec: &Spec, state: &State, desired: &Desired) {
    let pods = |revision: &Revision| desired.workloads.get(revision).copied().unwrap_or(0);
    let needed = |weight: u8| u64::from(spec.replicas) * u64::from(weight);
    let by_ratio = spec.traffic == Traffic::Service && matches!(spec.strategy, Strategy::Canary { .. });
    rules.rule(
        by_ratio
            || desired
                .weights
                .iter()
                .all(|(revision, weight)| u64::from(pods(revision)) * 100 >= needed(*weight)),
        "a revision has the pods that its weight needs",
    );
    let two = [&state.stable, &state.candidate].into_iter().flatten();
    rules.rule(
        state.phase == Phase::Pending || two.map(pods).fold(0, u32::saturating_add) >= spec.replicas,
        "stable revision and candidate together are never below full size",
    );
    let back = matches!(
        state.phase,
        Phase::Aborting { .. } | Phase::Aborted { .. } | Phase::Stable
    );
    rules.rule(
        (!back && by_ratio && spec.sessions.is_none())
            || state
                .stable
                .as_ref()
                .is_none_or(|stable| pods(stable) == spec.replicas),
        "the stable revision has full size, so there is always a way back",
    );
    rules.rule(
        state
            .retired
            .iter()
            .all(|retired| spec.replicas == 0 || pods(&retired.revision) == retired.replicas),
        "a revision on its way out keeps its pods until it is let go",
    );
    let known = |revision: &Revision| {
        state.stable.as_ref() == Some(revision)
            || state.candidate.as_ref() == Some(revision)
            || state.retired.iter().any(|retired| retired.revision == *revision)
    };
    rules.rule(
        desired.workloads.keys().all(known),
        "no pods of a revision that nobody remembers",
    );
}

/// Sessions go one way, to somebody who is there.
fn moves(rules: &mut Rules, spec: &Spec, state: &State, desired: &Desired) {
    let orders = &desired.moves;
    rules.rule(
        orders.is_empty() || (spec.sessions.is_some() && state.paused_since.is_none()),
        "no session is moved while paused, or where nobody can count them",
    );
    rules.rule(
        orders
            .iter()
            .all(|order| order.from != order.to && desired.pinned.contains(&order.to)),
        "sessions are only sent to another revision that has pods and a rule of its own",
    );
    let from: BTreeSet<_> = orders.iter().map(|order| &order.from).collect();
    rules.rule(from.len() == orders.len(), "one order per revision");
    rules.rule(
        orders
            .iter()
            .all(|order| order.keep_percent > 0 || !desired.pinned.contains(&order.from)),
        "a revision that is being emptied has no rule of its own, or its clients come back",
    );
    let forward = state.candidate.iter().any(|candidate| {
        let weight = desired.weights.get(candidate).copied().unwrap_or(0);
        weight == 0 && orders.iter().any(|order| order.to == *candidate)
    });
    rules.rule(!forward, "nobody is moved to a candidate without weight");
}
