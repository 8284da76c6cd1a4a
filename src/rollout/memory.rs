//! The core's state as `.status` stores it, and back. Pure.

use pointsman_api::rollout as api;
use pointsman_core::rollout as core;

use super::validate::Invalid;

/// Reads the state that an earlier reconcile persisted.
pub fn read(status: Option<&api::RolloutStatus>) -> Result<core::State, Invalid> {
    let Some(status) = status else {
        return Ok(core::State::default());
    };
    let memory = status.memory.clone().unwrap_or_default();
    let revision = |name: &Option<String>| name.clone().map(core::Revision);
    let (stable, candidate) = (
        revision(&status.stable_revision),
        revision(&status.candidate_revision),
    );
    let phase = phase(status, &memory)?;
    let wants_candidate = match phase {
        core::Phase::Pending | core::Phase::Stable => false,
        core::Phase::Initializing { .. }
        | core::Phase::Stepping { .. }
        | core::Phase::Previewing { .. }
        | core::Phase::Promoting { .. }
        | core::Phase::Aborting { .. }
        | core::Phase::Aborted { .. } => true,
    };
    if wants_candidate && candidate.is_none() {
        return Err(lost("candidateRevision"));
    }
    if phase == core::Phase::Stable && stable.is_none() {
        return Err(lost("stableRevision"));
    }
    Ok(core::State {
        phase,
        stable,
        candidate,
        retired: memory.retired.iter().map(retired).collect(),
        attempt: memory.attempt.map_or(0, unsigned),
        paused_since: memory.paused_since_ms.map(core::Millis),
    })
}

fn phase(status: &api::RolloutStatus, memory: &api::Memory) -> Result<core::Phase, Invalid> {
    let since = || {
        memory
            .since_ms
            .map(core::Millis)
            .ok_or_else(|| lost("memory.sinceMs"))
    };
    let stage = || match memory.stage {
        Some(api::StageName::Scaling) => Ok(core::Stage::Scaling),
        Some(api::StageName::Routing) => Ok(core::Stage::Routing),
        Some(api::StageName::Moving) => Ok(core::Stage::Moving),
        Some(api::StageName::Recovering) => Ok(core::Stage::Recovering),
        None => Err(lost("memory.stage")),
    };
    let weight = || percent(memory.weight).ok_or_else(|| lost("memory.weight"));
    let reason = memory.reason.clone().unwrap_or_default();
    Ok(match status.phase {
        None | Some(api::PhaseName::Pending) => core::Phase::Pending,
        Some(api::PhaseName::Initializing) => core::Phase::Initializing { since: since()? },
        Some(api::PhaseName::Stable) => core::Phase::Stable,
        Some(api::PhaseName::Stepping) => core::Phase::Stepping {
            step: status
                .current_step
                .map(unsigned)
                .ok_or_else(|| lost("currentStep"))?,
            stage: stage()?,
            since: since()?,
        },
        Some(api::PhaseName::Previewing) => core::Phase::Previewing {
            ready: memory.ready.unwrap_or(false),
            since: since()?,
        },
        Some(api::PhaseName::Promoting) => core::Phase::Promoting {
            stage: stage()?,
            weight: weight()?,
            since: since()?,
        },
        Some(api::PhaseName::Aborting) => core::Phase::Aborting {
            reason,
            weight: weight()?,
            since: since()?,
        },
        Some(api::PhaseName::Aborted) => core::Phase::Aborted { reason },
    })
}

fn lost(field: &str) -> Invalid {
    Invalid::new(
        format!("status.{field}"),
        "the operator's memory was edited; restore it, or delete status.phase to begin anew from the spec",
    )
}

fn retired(retired: &api::RetiredRevision) -> core::Retired {
    core::Retired {
        revision: core::Revision(retired.revision.clone()),
        since: core::Millis(retired.since_ms),
        keep_until: core::Millis(retired.keep_until_ms),
        replicas: unsigned(retired.replicas),
    }
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn percent(number: Option<i32>) -> Option<u8> {
    number
        .and_then(|number| u8::try_from(number).ok())
        .filter(|percent| *percent <= 100)
}

/// A count as the API writes it: counts above its range stay at the top of it.
#[must_use]
pub fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The parts of a status that are memory; [`read`] gives the same state back.
#[must_use]
pub fn write(state: &core::State) -> api::RolloutStatus {
    let mut memory = api::Memory {
        attempt: (state.attempt > 0).then(|| signed(state.attempt)),
        paused_since_ms: state.paused_since.map(|since| since.0),
        retired: state
            .retired
            .iter()
            .map(|retired| api::RetiredRevision {
                revision: retired.revision.0.clone(),
                since_ms: retired.since.0,
                keep_until_ms: retired.keep_until.0,
                replicas: signed(retired.replicas),
            })
            .collect(),
        ..api::Memory::default()
    };
    let mut current_step = None;
    let stage_name = |stage: &core::Stage| match stage {
        core::Stage::Scaling => api::StageName::Scaling,
        core::Stage::Routing => api::StageName::Routing,
        core::Stage::Moving => api::StageName::Moving,
        core::Stage::Recovering => api::StageName::Recovering,
    };
    let name = match &state.phase {
        core::Phase::Pending => api::PhaseName::Pending,
        core::Phase::Initializing { since } => {
            memory.since_ms = Some(since.0);
            api::PhaseName::Initializing
        }
        core::Phase::Stable => api::PhaseName::Stable,
        core::Phase::Stepping { step, stage, since } => {
            current_step = Some(signed(*step));
            memory.stage = Some(stage_name(stage));
            memory.since_ms = Some(since.0);
            api::PhaseName::Stepping
        }
        core::Phase::Previewing { ready, since } => {
            memory.ready = Some(*ready);
            memory.since_ms = Some(since.0);
            api::PhaseName::Previewing
        }
        core::Phase::Promoting { stage, weight, since } => {
            memory.stage = Some(stage_name(stage));
            memory.weight = Some(i32::from(*weight));
            memory.since_ms = Some(since.0);
            api::PhaseName::Promoting
        }
        core::Phase::Aborting {
            reason,
            weight,
            since,
        } => {
            memory.reason = Some(reason.clone());
            memory.weight = Some(i32::from(*weight));
            memory.since_ms = Some(since.0);
            api::PhaseName::Aborting
        }
        core::Phase::Aborted { reason } => {
            memory.reason = Some(reason.clone());
            api::PhaseName::Aborted
        }
    };
    api::RolloutStatus {
        phase: Some(name),
        stable_revision: state.stable.as_ref().map(|revision| revision.0.clone()),
        candidate_revision: state.candidate.as_ref().map(|revision| revision.0.clone()),
        current_step,
        memory: Some(memory),
        ..api::RolloutStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revision() -> impl Strategy<Value = core::Revision> {
        "[a-c]{2}".prop_map(core::Revision)
    }

    fn phase() -> impl Strategy<Value = core::Phase> {
        let time = (0_i64..1_000_000).prop_map(core::Millis);
        let stage = prop_oneof![
            Just(core::Stage::Scaling),
            Just(core::Stage::Routing),
            Just(core::Stage::Moving),
            Just(core::Stage::Recovering)
        ];
        prop_oneof![
            Just(core::Phase::Pending),
            Just(core::Phase::Stable),
            time.clone().prop_map(|since| core::Phase::Initializing { since }),
            (0_u32..50, stage.clone(), time.clone()).prop_map(|(step, stage, since)| core::Phase::Stepping {
                step,
                stage,
                since
            }),
            (any::<bool>(), time.clone()).prop_map(|(ready, since)| core::Phase::Previewing { ready, since }),
            (stage, 0_u8..=100, time.clone()).prop_map(|(stage, weight, since)| core::Phase::Promoting {
                stage,
                weight,
                since
            }),
            ("[a-z ]{0,9}", 0_u8..=100, time).prop_map(|(reason, weight, since)| core::Phase::Aborting {
                reason,
                weight,
                since
            }),
            "[a-z ]{0,9}".prop_map(|reason| core::Phase::Aborted { reason }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(phase in phase(), stable in revision(), candidate in revision(), attempt in 0_u32..9,
            paused in prop::option::of(0_i64..99),
            retired in prop::collection::vec((revision(), 0_i64..99, 0_i64..99, 0_u32..9), 0..3)) {
            let state = core::State {
                phase,
                stable: Some(stable),
                candidate: Some(candidate),
                retired: retired.into_iter().map(|(revision, since, keep, replicas)| core::Retired {
                    revision, since: core::Millis(since), keep_until: core::Millis(keep), replicas,
                }).collect(),
                attempt,
                paused_since: paused.map(core::Millis),
            };
            let json = serde_json::to_string(&write(&state)).unwrap();
            let status: api::RolloutStatus = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read(Some(&status)).unwrap(), state);
        }
    }

    #[test]
    fn an_edited_memory_is_refused() {
        let status = api::RolloutStatus {
            phase: Some(api::PhaseName::Stepping),
            candidate_revision: Some("a".to_owned()),
            ..Default::default()
        };
        let error = read(Some(&status)).unwrap_err();
        assert!(error.to_string().starts_with("status.currentStep: "), "{error}");
    }
}
