//! How many pods, and which share, each side has. Shared by `advance` (what to wait for) and `desired` (what to ask).

use super::model::{CanaryStep, Phase, Spec, Stage, State, Strategy, Traffic, WeightUnit};

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

/// The weight in force before `step`.
pub(super) fn weight_before(spec: &Spec, step: u32) -> u8 {
    step.checked_sub(1).map_or(0, |before| step_weight(spec, before))
}

/// True when the step counts live sessions, and somebody can count them.
pub(super) fn moves_sessions(spec: &Spec, step: u32) -> bool {
    let Strategy::Canary { steps } = &spec.strategy else {
        return false;
    };
    let of = usize::try_from(step).ok().and_then(|index| steps.get(index));
    spec.sessions.is_some()
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
            stage: Stage::Moving,
            ..
        } => step_weight(spec, *step),
        Phase::Promoting {
            stage: Stage::Scaling,
            weight,
            ..
        } => *weight,
        Phase::Initializing { .. }
        | Phase::Promoting {
            stage: Stage::Moving, ..
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
            stage: Stage::Moving | Stage::Recovering,
            ..
        } => step_weight(spec, *step).max(weight_before(spec, *step)),
        Phase::Promoting {
            stage: Stage::Moving | Stage::Recovering,
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
            let asked = step_weight(spec, *step);
            // A step that lowers the weight keeps the pods until the sessions have left: one step longer.
            let carried = if *stage != Stage::Moving || spec.sessions.is_some() {
                asked.max(weight_before(spec, *step))
            } else {
                asked
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
    let by_ratio = by_ratio(spec);
    match &state.phase {
        // Likewise: sessions leave its pods first, then the pods go.
        Phase::Stepping { step, .. } if by_ratio && spec.sessions.is_some() => {
            shrunk(spec, weight(spec, state).min(weight_before(spec, *step)))
        }
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
