//! What must hold in every state, written without a look at the planner.

use crate::rollout::{Desired, Phase, Spec, State};

/// Every rule that `state` and the world derived from it break; empty when all is well.
#[must_use]
pub fn check(spec: &Spec, state: &State, desired: &Desired) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, text: &str| {
        if !holds {
            broken.push(text.to_owned());
        }
    };
    let replicas = |revision| desired.workloads.get(revision).copied().unwrap_or(0);
    let sum: u32 = desired.weights.values().map(|weight| u32::from(*weight)).sum();
    rule(desired.weights.is_empty() || sum == 100, "weights add up to 100");
    rule(
        spec.replicas == 0
            || desired
                .weights
                .iter()
                .all(|(revision, weight)| *weight == 0 || replicas(revision) > 0),
        "no weight on a revision without pods",
    );
    rule(
        desired
            .moves
            .iter()
            .all(|order| spec.replicas == 0 || replicas(&order.to) > 0),
        "sessions are only sent to a revision that has pods",
    );
    rule(
        desired.pinned.iter().all(|revision| replicas(revision) > 0),
        "only live revisions have a rule of their own",
    );
    rule(
        desired
            .selected
            .as_ref()
            .is_none_or(|revision| desired.workloads.contains_key(revision)),
        "the Service selects a revision that exists",
    );
    let back = matches!(state.phase, Phase::Aborting { .. } | Phase::Aborted { .. });
    let stable_weight = state
        .stable
        .as_ref()
        .and_then(|stable| desired.weights.get(stable))
        .copied();
    rule(
        !back || stable_weight == Some(100),
        "an abort puts everything on the stable revision",
    );
    rule(
        !back
            || state
                .stable
                .as_ref()
                .is_some_and(|stable| replicas(stable) == spec.replicas),
        "an abort has the stable revision at full size",
    );
    rule(
        state.stable.is_none() || state.candidate != state.stable,
        "candidate and stable revision differ",
    );
    rule(
        state.retired.iter().all(|retired| {
            Some(&retired.revision) != state.stable.as_ref()
                && Some(&retired.revision) != state.candidate.as_ref()
        }),
        "a revision on its way out is neither stable nor candidate",
    );
    rule(
        !matches!(state.phase, Phase::Stable) || (state.stable.is_some() && state.candidate.is_none()),
        "a stable rollout has a stable revision and no candidate",
    );
    broken
}
