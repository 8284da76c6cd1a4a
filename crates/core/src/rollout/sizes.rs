//! How many pods, and which share, each side has. Shared by `advance` (what to wait for) and `desired` (what to ask).

use super::model::{CanaryStep, Phase, Spec, Stage, State, Strategy, Traffic, WeightUnit};

/// A longer list of steps is not looked through; the custom resource allows fewer.
const STEPS_MAX: u32 = 256;

/// The weight that the steps up to and including `step` authorise.
pub(super) fn step_weight(spec: &Spec, step: u32) -> u8 {
    let Strategy::Canary { steps } = &spec.strategy else {
        return 0;
    };
    let upto = usize::try_from(step).unwrap_or(usize::MAX).saturating_add(1);
    let last = steps.iter().take(upto).rev().find_map(|step| match step {
        CanaryStep::SetWeight { percent, .. } => Some(*percent),
        CanaryStep::Pause { .. } => None,
    });
    last.unwrap_or(0).min(100)
}

/// The highest weight of the steps up to and including `step`.
fn highest_weight(spec: &Spec, step: u32) -> u8 {
    (0..=step.min(STEPS_MAX))
        .map(|step| step_weight(spec, step))
        .max()
        .unwrap_or(0)
}

/// The weight in force before `step`.
pub(super) fn weight_before(spec: &Spec, step: u32) -> u8 {
    step.checked_sub(1).map_or(0, |before| step_weight(spec, before))
}

/// True when the step counts live sessions, and somebody can count them and send them where they should go.
pub(super) fn moves_sessions(spec: &Spec, step: u32) -> bool {
    let Strategy::Canary { steps } = &spec.strategy else {
        return false;
    };
    let of = usize::try_from(step).ok().and_then(|index| steps.get(index));
    spec.sessions.is_some()
        && spec.traffic == Traffic::Gateway
        && matches!(
            of,
            Some(CanaryStep::SetWeight {
                of: WeightUnit::Sessions,
                ..
            })
        )
}

/// The candidate's share that the persisted state puts in force.
#[must_use]
pub fn weight(spec: &Spec, state: &State) -> u8 {
    match &state.phase {
        Phase::Stepping {
            step,
            stage: Stage::Scaling,
            ..
        } => weight_before(spec, *step),
        Phase::Stepping {
            step,
            stage: Stage::Routing | Stage::Moving,
            ..
        } => step_weight(spec, *step),
        Phase::Promoting {
            stage: Stage::Scaling,
            weight,
            ..
        } => *weight,
        Phase::Initializing { .. }
        | Phase::Promoting {
            stage: Stage::Routing | Stage::Moving,
            ..
        } => 100,
        // Nothing of it is ready: new connections go to the stable revision.
        Phase::Stepping {
            stage: Stage::Recovering,
            ..
        }
        | Phase::Promoting {
            stage: Stage::Recovering,
            ..
        } => 0,
        Phase::Pending
        | Phase::Stable
        | Phase::Previewing { .. }
        | Phase::Aborting { .. }
        | Phase::Aborted { .. } => 0,
    }
}

/// True when the numbers of pods are the weight.
pub(super) fn by_ratio(spec: &Spec) -> bool {
    spec.traffic == Traffic::Service && matches!(spec.strategy, Strategy::Canary { .. })
}

/// The highest share that may be in force or have sessions, now or until a moment ago.
pub(super) fn carried(spec: &Spec, state: &State) -> u8 {
    match &state.phase {
        Phase::Stepping {
            step,
            stage: Stage::Routing | Stage::Moving | Stage::Recovering,
            ..
        } => step_weight(spec, *step).max(weight_before(spec, *step)),
        Phase::Promoting {
            stage: Stage::Routing | Stage::Moving | Stage::Recovering,
            ..
        } => 100,
        _ => weight(spec, state),
    }
}

/// Pods that carry `weight` percent of `replicas`.
pub(super) fn carrying(spec: &Spec, weight: u8) -> u32 {
    let part = u64::from(spec.replicas).saturating_mul(u64::from(weight.min(100)));
    let size = match spec.traffic {
        Traffic::Gateway => part.div_ceil(100).max(1),
        // By replica ratio the pods *are* the weight, so it is rounded, and nothing stands for nothing.
        Traffic::Service if weight == 0 => 0,
        // No stable pod goes while it may have sessions, so the candidate stands beside all of them: half at most.
        Traffic::Service if spec.sessions.is_some() => {
            let others = u64::from(100_u8.saturating_sub(weight)).max(1);
            (part.saturating_add(others / 2) / others).max(1)
        }
        Traffic::Service => (part.saturating_add(50) / 100).max(1),
    };
    u32::try_from(size).unwrap_or(u32::MAX).min(spec.replicas)
}

/// The least share whose pods are at least `size`.
pub(super) fn share_of_size(spec: &Spec, size: u32) -> u8 {
    (0..=100)
        .find(|share| carrying(spec, *share) >= size)
        .unwrap_or(100)
}

/// Pods of the candidate that the persisted state asks for.
pub(super) fn candidate_size(spec: &Spec, state: &State) -> u32 {
    match &state.phase {
        Phase::Initializing { .. } | Phase::Promoting { .. } => spec.replicas,
        Phase::Stepping { step, stage, .. } => {
            let carried = if spec.sessions.is_some() {
                // A step that lowers the weight keeps the pods: sessions sit on all of them.
                highest_weight(spec, *step)
            } else if *stage == Stage::Moving {
                step_weight(spec, *step)
            } else {
                step_weight(spec, *step).max(weight_before(spec, *step))
            };
            carrying(spec, carried)
        }
        Phase::Previewing { .. } => match &spec.strategy {
            Strategy::BlueGreen { preview_replicas, .. } => {
                preview_replicas.unwrap_or(spec.replicas).min(spec.replicas)
            }
            Strategy::Canary { .. } => spec.replicas,
        },
        Phase::Aborting { weight: 0, .. } => 0,
        Phase::Aborting { weight, .. } => carrying(spec, *weight),
        Phase::Pending | Phase::Stable | Phase::Aborted { .. } => 0,
    }
}

/// Pods of the stable revision that the persisted state asks for.
pub(super) fn stable_size(spec: &Spec, state: &State) -> u32 {
    // A pod that goes takes its sessions with it, so with sessions nothing goes before they left.
    let by_ratio = by_ratio(spec) && spec.sessions.is_none();
    match &state.phase {
        Phase::Stepping { .. } if by_ratio => shrunk(spec, weight(spec, state)),
        Phase::Promoting {
            stage: Stage::Recovering,
            ..
        } => spec.replicas,
        Phase::Promoting { weight, .. } if by_ratio => shrunk(spec, *weight),
        _ => spec.replicas,
    }
}

fn shrunk(spec: &Spec, weight: u8) -> u32 {
    spec.replicas
        .saturating_sub(carrying(spec, weight))
        .max(1)
        .min(spec.replicas)
}
