//! One look at the world: at most one edge, or a reason to wait.

use super::clock;
use super::model::{Count, Millis, Note, Observed, Phase, Revision, Spec, State, Step, Strategy};
use super::sizes::candidate_size;

/// Revisions that may be on their way out at once. A new one is not started while there are so many.
pub(super) const RETIRED_MAX: usize = 8;
/// How often to look while sessions or routes are on the move.
pub(super) const MOVING_POLL_MS: i64 = 1_000;
/// How often to look while pods come up; their own events usually come first.
pub(super) const SCALING_POLL_MS: i64 = 2_000;

/// Why a candidate is aborted whose owner asked for the stable revision again. Asking for the candidate once more is
/// then a fresh start, not a retry.
pub(super) const WITHDRAWN: &str = "the spec went back to the stable revision";

const PAUSED: &str = "paused by spec.paused; set it to false to go on";

/// What a look decides.
pub(super) enum Verdict {
    /// Take this edge.
    Go { state: State, note: Note },
    /// Stay, for this reason, and look again then.
    Hold { message: String, wake: Option<Millis> },
}

/// Everything a decision may depend on.
pub(super) struct Look<'a> {
    pub(super) spec: &'a Spec,
    pub(super) state: &'a State,
    pub(super) seen: &'a Observed,
    pub(super) now: Millis,
}

/// Decides the next step of a rollout. Takes at most one edge: the caller persists it, applies [`super::desired()`] of
/// what it persisted, and calls again. Clocks may step back: time never runs before anything that is remembered.
#[must_use]
pub fn advance(spec: &Spec, state: &State, seen: &Observed, now: Millis) -> Step {
    if let Some(step) = clock::set_back(state, now) {
        return step;
    }
    let look = Look {
        spec,
        state,
        seen,
        now: clock::not_before(state, now),
    };
    match look.edge() {
        Verdict::Go { state, note } => {
            let message = note.text.clone();
            Step {
                state,
                wake: Some(look.now),
                notes: vec![note],
                message,
            }
        }
        // Scaling down is moving on, too.
        Verdict::Hold { message, wake } if state.paused_since.is_some() => Step {
            state: state.clone(),
            wake,
            notes: Vec::new(),
            message,
        },
        Verdict::Hold { message, wake } => look.clean_up(message, wake),
    }
}

pub(super) fn hold(message: String, wake: Option<Millis>) -> Verdict {
    Verdict::Hold { message, wake }
}

impl Look<'_> {
    fn edge(&self) -> Verdict {
        if let Some(verdict) = self.cut_in() {
            return verdict;
        }
        if let Some(verdict) = self.paused() {
            return verdict;
        }
        if let Some(verdict) = self.superseded() {
            return verdict;
        }
        match &self.state.phase {
            Phase::Pending => self.go(
                State {
                    phase: Phase::Initializing { since: self.now },
                    candidate: Some(self.spec.target.clone()),
                    attempt: self.attempt(),
                    ..self.state.clone()
                },
                "Initializing",
                format!("first revision {} is coming up", self.spec.target),
            ),
            Phase::Initializing { since } => self.initializing(*since),
            Phase::Stable => self.stable(),
            Phase::Stepping { step, stage, since } => self.stepping(*step, *stage, *since),
            Phase::Previewing { ready, since } => self.previewing(*ready, *since),
            Phase::Promoting { stage, since, weight } => self.promoting(*stage, *since, *weight),
            Phase::Aborting {
                reason,
                since,
                weight,
            } => self.aborting(reason, *since, *weight),
            Phase::Aborted { reason } => self.aborted(reason),
        }
    }

    /// The candidate, while it is on its way in and may still be turned back.
    fn on_its_way(&self) -> Option<&Revision> {
        let on_its_way = matches!(
            self.state.phase,
            Phase::Stepping { .. } | Phase::Previewing { .. } | Phase::Promoting { .. }
        );
        self.state.candidate.as_ref().filter(|_| on_its_way)
    }

    /// What does not wait for the end of a pause: the owner's abort, and a phase that the spec no longer has.
    fn cut_in(&self) -> Option<Verdict> {
        let candidate = self.on_its_way()?;
        if let Some(reason) = self.aborted_by_owner(candidate) {
            return Some(self.abort(reason));
        }
        let other = match (&self.state.phase, &self.spec.strategy) {
            (Phase::Stepping { .. }, Strategy::BlueGreen { .. }) => "canary",
            (Phase::Previewing { .. }, Strategy::Canary { .. }) => "blueGreen",
            (_, Strategy::Canary { .. } | Strategy::BlueGreen { .. }) => return None,
        };
        Some(self.abort(format!("the strategy is no longer {other}")))
    }

    /// The owner's reason to abort `revision`, when there is such an order.
    pub(super) fn aborted_by_owner(&self, revision: &Revision) -> Option<String> {
        let abort = self.spec.abort.as_ref()?;
        (abort.revision == *revision).then(|| {
            if abort.reason.is_empty() {
                "asked for in spec.abort".to_owned()
            } else {
                abort.reason.clone()
            }
        })
    }

    /// Into a pause, out of it, or on hold by it. A way back is never held up.
    fn paused(&self) -> Option<Verdict> {
        if matches!(self.state.phase, Phase::Aborting { .. }) {
            return None;
        }
        let mut state = self.state.clone();
        match (self.spec.paused, self.state.paused_since) {
            (false, None) => None,
            (false, Some(_)) => {
                clock::thaw(&mut state, self.now);
                Some(self.go(
                    state,
                    "Resumed",
                    "resumed; waits go on where they stopped".to_owned(),
                ))
            }
            (true, None) => {
                state.paused_since = Some(self.now);
                Some(self.go(state, "Paused", PAUSED.to_owned()))
            }
            (true, Some(_)) => {
                let text = match (&self.state.phase, &self.state.candidate) {
                    (Phase::Aborted { reason }, Some(candidate)) => {
                        format!("revision {candidate} was aborted: {reason}; {PAUSED}")
                    }
                    _ => PAUSED.to_owned(),
                };
                Some(hold(text, None))
            }
        }
    }

    /// Another target while a candidate is on its way in.
    fn superseded(&self) -> Option<Verdict> {
        let candidate = self.on_its_way()?;
        if self.spec.target == *candidate {
            return None;
        }
        if Some(&self.spec.target) == self.state.stable.as_ref() {
            return Some(self.abort(WITHDRAWN.to_owned()));
        }
        let mut state = self.state.clone();
        let size = candidate_size(self.spec, self.state);
        self.retire(&mut state, candidate.clone(), size, 0);
        match self.start(state, "CandidateSuperseded") {
            // The new one has to wait; traffic to one that is not there does not.
            Verdict::Hold { .. } if self.lost() => None,
            verdict => Some(verdict),
        }
    }

    /// The attempt that a start now is: what a standing retry order asks for is thereby done.
    pub(super) fn attempt(&self) -> u32 {
        let retry = self.spec.retry.as_ref();
        retry
            .filter(|retry| retry.revision == self.spec.target)
            .map_or(1, |retry| retry.attempt.max(1))
    }

    pub(super) fn go(&self, state: State, reason: &'static str, text: String) -> Verdict {
        Verdict::Go {
            state,
            note: Note {
                reason,
                warning: false,
                text,
            },
        }
    }

    pub(super) fn candidate(&self) -> Revision {
        self.state
            .candidate
            .clone()
            .unwrap_or_else(|| self.spec.target.clone())
    }

    pub(super) fn ready(&self, revision: &Revision) -> u32 {
        self.seen.pods.get(revision).map_or(0, |pods| pods.ready)
    }

    /// Live sessions. A revision without pods has none; otherwise only an answer of every pod counts.
    pub(super) fn sessions(&self, revision: &Revision) -> Count {
        match self.seen.pods.get(revision) {
            None => Count::Known(0),
            Some(pods) if pods.total == 0 => Count::Known(0),
            Some(_) => self.seen.sessions.get(revision).copied().unwrap_or_default(),
        }
    }
}
