//! What the owner reads. Pure: the same inputs give the same status, so a look that changes nothing writes nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use pointsman_api::labels;
use pointsman_api::rollout as api;
use pointsman_core::rollout::{
    Count, Desired, Observed, Phase, Revision, Routed, Spec, State, Strategy, weight,
};

use super::memory::{signed, write};

/// A failure that the owner can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// CamelCase category.
    pub reason: String,
    /// What to do.
    pub message: String,
}

/// Everything that a status tells about.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Name of the Rollout.
    pub name: &'a str,
    /// Generation that was looked at.
    pub generation: Option<i64>,
    /// What the owner wants.
    pub spec: &'a Spec,
    /// What is remembered.
    pub state: &'a State,
    /// What was seen.
    pub seen: &'a Observed,
    /// What the state asks for.
    pub desired: &'a Desired,
    /// Why the rollout is where it is.
    pub message: &'a str,
    /// Sessions told to move, by the pods that are up.
    pub drained: Option<u64>,
    /// What is in the way.
    pub fault: Option<&'a Fault>,
    /// The status before.
    pub before: Option<&'a api::RolloutStatus>,
    /// Now.
    pub now: Timestamp,
}

/// Builds the status.
#[must_use]
pub fn build(facts: &Facts<'_>) -> api::RolloutStatus {
    let mut status = write(facts.state);
    status.observed_generation = facts.generation;
    status.message = Some(
        facts
            .fault
            .map_or_else(|| facts.message.to_owned(), |fault| fault.message.clone()),
    );
    status.selector = Some(format!("{}={}", labels::ROLLOUT, facts.name));
    let pods = facts
        .seen
        .pods
        .values()
        .fold(0_u32, |sum, pods| sum.saturating_add(pods.total));
    status.replicas = Some(signed(pods));
    match &facts.spec.strategy {
        Strategy::Canary { steps } => {
            let total = i32::try_from(steps.len()).unwrap_or(i32::MAX);
            status.strategy = Some("canary".to_owned());
            status.steps_total = Some(total);
            status.step = match facts.state.phase {
                Phase::Stepping { step, .. } => Some(format!("{}/{total}", step.saturating_add(1))),
                Phase::Promoting { .. } => Some(format!("{total}/{total}")),
                _ => None,
            };
        }
        Strategy::BlueGreen { .. } => status.strategy = Some("blueGreen".to_owned()),
    }
    status.weights = weights(facts);
    status.sessions = sessions(facts);
    status.conditions = conditions(facts);
    status
}

fn on_its_way(state: &State) -> bool {
    match state.phase {
        Phase::Stepping { .. }
        | Phase::Previewing { .. }
        | Phase::Promoting { .. }
        | Phase::Aborting { .. } => true,
        Phase::Pending | Phase::Initializing { .. } | Phase::Stable | Phase::Aborted { .. } => false,
    }
}

fn weights(facts: &Facts<'_>) -> Option<api::Weights> {
    let candidate = facts
        .state
        .candidate
        .as_ref()
        .filter(|_| on_its_way(facts.state))?;
    let routed = match &facts.seen.routed {
        Routed::Known(weights) => Some(i32::from(weights.get(candidate).copied().unwrap_or(0))),
        Routed::Unknown => None,
    };
    let live = match (
        count(facts, facts.state.stable.as_ref()),
        count(facts, Some(candidate)),
    ) {
        (Some(old), Some(new)) if old.saturating_add(new) > 0 => {
            let (old, new) = (u64::from(old), u64::from(new));
            // Rounded to the nearest, so that 19.6 % does not read as 19.
            i32::try_from((new * 200 + old + new) / (2 * (old + new))).ok()
        }
        _ => None,
    };
    Some(api::Weights {
        desired: Some(i32::from(weight(facts.spec, facts.state))),
        routed,
        live,
    })
}

fn count(facts: &Facts<'_>, revision: Option<&Revision>) -> Option<u32> {
    match facts.seen.sessions.get(revision?) {
        Some(Count::Known(open)) => Some(*open),
        Some(Count::Unknown) | None => None,
    }
}

fn sessions(facts: &Facts<'_>) -> Option<api::SessionCounts> {
    if facts.seen.sessions.is_empty() {
        // Nobody counted this time: no number is better than an old one that looks new.
        return None;
    }
    let left = |from: &Revision, keep_percent: u8| {
        let from = count(facts, Some(from))?;
        let total = facts
            .seen
            .sessions
            .values()
            .try_fold(0_u64, |sum, seen| match seen {
                Count::Known(open) => Some(sum + u64::from(*open)),
                Count::Unknown => None,
            })?;
        let keep = (total * u64::from(keep_percent) + 50) / 100;
        Some(u64::from(from).saturating_sub(keep))
    };
    let remaining = facts
        .desired
        .moves
        .iter()
        .map(|order| left(&order.from, order.keep_percent))
        .sum::<Option<u64>>();
    Some(api::SessionCounts {
        stable: count(facts, facts.state.stable.as_ref()).map(signed),
        candidate: count(facts, facts.state.candidate.as_ref()).map(signed),
        drained: facts
            .drained
            .map(|drained| i32::try_from(drained).unwrap_or(i32::MAX)),
        remaining: remaining.map(|left| i32::try_from(left).unwrap_or(i32::MAX)),
    })
}

fn conditions(facts: &Facts<'_>) -> Vec<Condition> {
    let ready_pods = facts
        .state
        .stable
        .as_ref()
        .and_then(|stable| facts.seen.pods.get(stable))
        .map_or(0, |pods| pods.ready);
    let (ready, reconciling, reason) = match &facts.state.phase {
        Phase::Pending => (false, true, "Pending"),
        Phase::Initializing { .. } => (false, true, "Initializing"),
        Phase::Stable if ready_pods >= facts.spec.replicas => (true, false, "Stable"),
        Phase::Stable => (false, true, "PodsNotReady"),
        Phase::Stepping { .. } => (false, true, "Stepping"),
        Phase::Previewing { .. } => (false, true, "Previewing"),
        Phase::Promoting { .. } => (false, true, "Promoting"),
        Phase::Aborting { .. } => (false, true, "Aborting"),
        Phase::Aborted { .. } => (false, false, "Aborted"),
    };
    let aborted = matches!(facts.state.phase, Phase::Aborted { .. });
    let (stalled, stalled_reason) = match facts.fault {
        Some(fault) => (true, fault.reason.as_str()),
        None => (aborted, reason),
    };
    let ready = ready && facts.fault.is_none();
    let ready_reason = facts.fault.map_or(reason, |fault| fault.reason.as_str());
    let message = facts.fault.map_or(facts.message, |fault| fault.message.as_str());
    [
        ("Ready", ready, ready_reason),
        ("Reconciling", reconciling && facts.fault.is_none(), reason),
        ("Stalled", stalled, stalled_reason),
    ]
    .into_iter()
    .map(|(kind, holds, reason)| {
        let status = if holds { "True" } else { "False" };
        let known = facts
            .before
            .and_then(|before| before.conditions.iter().find(|known| known.type_ == kind));
        let since = known
            .filter(|known| known.status == status)
            .map(|known| known.last_transition_time.clone());
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: if kind == "Stalled" && !holds {
                String::new()
            } else {
                short(message)
            },
            last_transition_time: since.unwrap_or(Time(facts.now)),
            observed_generation: facts.generation,
        }
    })
    .collect()
}

/// A condition's message may have 32,768 characters; people read fewer.
fn short(message: &str) -> String {
    message.chars().take(1_024).collect()
}

/// The status of a Rollout that could not be looked at: the memory stays, the fault is told.
#[must_use]
pub fn faulty(
    before: Option<&api::RolloutStatus>,
    generation: Option<i64>,
    fault: &Fault,
    now: Timestamp,
) -> api::RolloutStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.message = Some(fault.message.clone());
    status.observed_generation = generation;
    status.conditions = [("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")]
        .into_iter()
        .map(|(kind, value)| {
            let known = before.and_then(|before| before.conditions.iter().find(|known| known.type_ == kind));
            let since = known
                .filter(|known| known.status == value)
                .map(|known| known.last_transition_time.clone());
            Condition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                reason: fault.reason.clone(),
                message: short(&fault.message),
                last_transition_time: since.unwrap_or(Time(now)),
                observed_generation: generation,
            }
        })
        .collect();
    status
}
