//! Times that are remembered, against a clock that may be wrong and a pause that stops it.

use super::model::{Millis, Note, Phase, State, Step};

/// Two machines that lead in turn may differ by so much without anybody's fault: such times count as now.
const SKEW_MS: i64 = 5_000;

fn times(state: &mut State) -> Vec<&mut Millis> {
    let mut times = Vec::new();
    match &mut state.phase {
        Phase::Initializing { since }
        | Phase::Stepping { since, .. }
        | Phase::Previewing { since, .. }
        | Phase::Promoting { since, .. }
        | Phase::Aborting { since, .. } => times.push(since),
        Phase::Pending | Phase::Stable | Phase::Aborted { .. } => {}
    }
    times.extend(state.retired.iter_mut().map(|retired| &mut retired.since));
    times.extend(&mut state.paused_since);
    times
}

fn newest(state: &State) -> Option<Millis> {
    times(&mut state.clone()).into_iter().map(|time| *time).max()
}

fn shift(state: &mut State, span_ms: i64) {
    for time in times(state) {
        *time = time.plus(span_ms);
    }
    for retired in &mut state.retired {
        retired.keep_until = retired.keep_until.plus(span_ms);
    }
}

/// `now`, but never before anything that is remembered.
pub(super) fn not_before(state: &State, now: Millis) -> Millis {
    newest(state).map_or(now, |newest| now.max(newest))
}

/// The edge that a clock which was set back needs: what is remembered moves with it, or every wait would be longer by
/// as much as the clock went back.
pub(super) fn set_back(state: &State, now: Millis) -> Option<Step> {
    let newest = newest(state).filter(|newest| *newest > now.plus(SKEW_MS))?;
    let mut state = state.clone();
    shift(&mut state, now.0.saturating_sub(newest.0));
    let text = "the clock was set back; every wait goes on from the new time".to_owned();
    Some(Step {
        state,
        wake: Some(now),
        notes: vec![Note {
            reason: "ClockSetBack",
            warning: true,
            text: text.clone(),
        }],
        message: text,
    })
}

/// Lets the clocks run again after a pause, as if the pause had not been.
pub(super) fn thaw(state: &mut State, now: Millis) {
    if let Some(paused_since) = state.paused_since.take() {
        shift(state, now.0.saturating_sub(paused_since.0).max(0));
    }
}
