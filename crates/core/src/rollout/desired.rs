//! From the persisted state to the whole world that it asks for.

use std::collections::BTreeMap;

use super::model::{Desired, Move, Phase, Revision, Spec, Stage, State, Strategy};
use super::sizes::{by_ratio, candidate_size, moves_sessions, stable_size, weight};

/// The world that `state`, as persisted, asks for. It never looks at anything else, so it may be applied again at any
/// time, by anybody who can read the state.
#[must_use]
pub fn desired(spec: &Spec, state: &State) -> Desired {
    let mut world = Desired::default();
    for retired in &state.retired {
        // With nobody to take its sessions there is nothing to wait for.
        let size = if spec.replicas == 0 { 0 } else { retired.replicas };
        world.workloads.insert(retired.revision.clone(), size);
    }
    match (&state.stable, &state.candidate) {
        (None, None) => {}
        (None, Some(only)) | (Some(only), None) => sole(&mut world, only, spec.replicas),
        (Some(stable), Some(candidate)) => both(&mut world, spec, state, stable, candidate),
    }
    let has_pods =
        |world: &Desired, revision: &Revision| world.workloads.get(revision).is_some_and(|size| *size > 0);
    let closed = closed(spec, state);
    let welcoming = [&state.stable, &state.candidate].into_iter().flatten();
    world.pinned = welcoming
        .filter(|revision| Some(*revision) != closed && has_pods(&world, revision))
        .cloned()
        .collect();
    if spec.sessions.is_some() && state.paused_since.is_none() {
        empty_retired(&mut world, spec, state);
        let moves = std::mem::take(&mut world.moves);
        world.moves = moves
            .into_iter()
            // Whoever may keep everything has nothing to do.
            .filter(|order| order.keep_percent < 100)
            .filter(|order| has_pods(&world, &order.from) && world.pinned.contains(&order.to))
            .collect();
    } else {
        world.moves.clear();
    }
    world
}

/// The one of the two revisions that takes nobody any more: who comes back to it is better off where the weights say,
/// or would be moved once more.
fn closed<'a>(spec: &Spec, state: &'a State) -> Option<&'a Revision> {
    match &state.phase {
        Phase::Stepping {
            stage: Stage::Recovering,
            ..
        }
        | Phase::Promoting {
            stage: Stage::Recovering,
            ..
        }
        | Phase::Aborting { .. }
        | Phase::Aborted { .. } => state.candidate.as_ref(),
        Phase::Stepping { .. } | Phase::Promoting { .. } if weight(spec, state) >= 100 => {
            state.stable.as_ref()
        }
        // A step that takes everybody back.
        Phase::Stepping {
            step,
            stage: Stage::Routing | Stage::Moving,
            ..
        } if weight(spec, state) == 0 && moves_sessions(spec, *step) => state.candidate.as_ref(),
        _ => None,
    }
}

fn sole(world: &mut Desired, revision: &Revision, replicas: u32) {
    world.workloads.insert(revision.clone(), replicas);
    world.weights = BTreeMap::from([(revision.clone(), 100)]);
    world.selected = Some(revision.clone());
}

fn both(world: &mut Desired, spec: &Spec, state: &State, stable: &Revision, candidate: &Revision) {
    let share = weight(spec, state);
    let size = candidate_size(spec, state);
    world.workloads.insert(stable.clone(), stable_size(spec, state));
    world.weights.insert(stable.clone(), 100 - share.min(100));
    let out = matches!(state.phase, Phase::Aborting { .. } | Phase::Aborted { .. });
    if size > 0 || !out {
        world.workloads.insert(candidate.clone(), size);
        world.weights.insert(candidate.clone(), share.min(100));
    }
    world.selected = match &state.phase {
        Phase::Stepping { .. }
        | Phase::Promoting {
            stage: Stage::Scaling,
            ..
        } if by_ratio(spec) && share > 0 && state.retired.is_empty() => None,
        Phase::Promoting {
            stage: Stage::Routing | Stage::Moving,
            ..
        } => Some(candidate.clone()),
        _ => Some(stable.clone()),
    };
    if matches!(spec.strategy, Strategy::BlueGreen { .. })
        && matches!(
            state.phase,
            Phase::Previewing { .. }
                | Phase::Promoting {
                    stage: Stage::Scaling,
                    ..
                }
        )
    {
        world.preview = Some(candidate.clone());
    }
    world.moves = moves(spec, state, stable, candidate, share);
}

fn moves(spec: &Spec, state: &State, stable: &Revision, candidate: &Revision, share: u8) -> Vec<Move> {
    let order = |from: &Revision, to: &Revision, keep_percent| Move {
        from: from.clone(),
        to: to.clone(),
        keep_percent,
    };
    match &state.phase {
        // Both ways, because a step may also lower the weight; whoever has too many sheds.
        Phase::Stepping {
            step,
            stage: Stage::Moving,
            ..
        } if moves_sessions(spec, *step) => {
            vec![
                order(stable, candidate, 100 - share.min(100)),
                order(candidate, stable, share.min(100)),
            ]
        }
        Phase::Promoting {
            stage: Stage::Moving, ..
        } => vec![order(stable, candidate, 0)],
        Phase::Aborting { weight, .. } if *weight > 0 => vec![order(candidate, stable, 0)],
        _ => Vec::new(),
    }
}

fn empty_retired(world: &mut Desired, spec: &Spec, state: &State) {
    let to = match (&state.stable, &state.candidate) {
        (Some(stable), Some(candidate)) if closed(spec, state) == Some(stable) => candidate,
        (Some(stable), _) => stable,
        (None, Some(candidate)) => candidate,
        (None, None) => return,
    };
    for retired in &state.retired {
        world.moves.push(Move {
            from: retired.revision.clone(),
            to: to.clone(),
            keep_percent: 0,
        });
    }
}
