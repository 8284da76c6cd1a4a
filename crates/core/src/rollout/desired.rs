//! From the persisted state to the whole world that it asks for.

use std::collections::BTreeMap;

use super::model::{Desired, Move, Phase, Revision, Spec, Stage, State, Strategy, Traffic};
use super::sizes::{candidate_size, moves_sessions, stable_size, weight};

/// The world that `state`, as persisted, asks for. It never looks at anything else, so it may be applied again at any
/// time, by anybody who can read the state.
#[must_use]
pub fn desired(spec: &Spec, state: &State) -> Desired {
    let mut world = Desired::default();
    for retired in &state.retired {
        world.workloads.insert(retired.revision.clone(), retired.replicas);
    }
    match (&state.stable, &state.candidate) {
        (None, None) => {}
        (None, Some(only)) => sole(&mut world, only, spec.replicas),
        (Some(only), None) => sole(&mut world, only, spec.replicas),
        (Some(stable), Some(candidate)) => both(&mut world, spec, state, stable, candidate),
    }
    world.pinned = world
        .workloads
        .iter()
        .filter(|(_, replicas)| **replicas > 0)
        .map(|(revision, _)| revision.clone())
        .collect();
    if spec.sessions.is_some() {
        empty_retired(&mut world, state);
        let live = &world.pinned;
        world
            .moves
            .retain(|order| live.contains(&order.from) && live.contains(&order.to));
    }
    world
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
    let by_ratio = spec.traffic == Traffic::Service && matches!(spec.strategy, Strategy::Canary { .. });
    world.selected = match &state.phase {
        Phase::Stepping { .. }
        | Phase::Promoting {
            stage: Stage::Scaling,
            ..
        } if by_ratio && share > 0 => None,
        Phase::Promoting {
            stage: Stage::Moving, ..
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
    if spec.sessions.is_some() {
        world.moves = moves(spec, state, stable, candidate, share);
    }
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

fn empty_retired(world: &mut Desired, state: &State) {
    let to = match (&state.phase, &state.stable, &state.candidate) {
        (
            Phase::Promoting {
                stage: Stage::Moving, ..
            },
            _,
            Some(candidate),
        ) => candidate,
        (_, Some(stable), _) => stable,
        (_, None, Some(candidate)) => candidate,
        (_, None, None) => return,
    };
    for retired in &state.retired {
        world.moves.push(Move {
            from: retired.revision.clone(),
            to: to.clone(),
            keep_percent: 0,
        });
    }
}
