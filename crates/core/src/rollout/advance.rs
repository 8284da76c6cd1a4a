//! One look at the world: at most one edge, or a reason to wait.

use super::model::{
    CanaryStep, Count, Millis, Note, Observed, Phase, Retired, Revision, Spec, Stage, State, Step, Strategy,
};
use super::sizes::{candidate_size, share_of_size, weight};

/// Revisions that may be on their way out at once. A new one is not started while there are so many.
pub(super) const RETIRED_MAX: usize = 8;
/// How often to look while sessions or routes are on the move.
pub(super) const MOVING_POLL_MS: i64 = 1_000;
/// How often to look while pods come up; their own events usually come first.
pub(super) const SCALING_POLL_MS: i64 = 2_000;

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
/// what it persisted, and calls again. Clocks may step back: time never runs before the start of the present phase.
#[must_use]
pub fn advance(spec: &Spec, state: &State, seen: &Observed, now: Millis) -> Step {
    let now = since(&state.phase).map_or(now, |start| now.max(start));
    let look = Look {
        spec,
        state,
        seen,
        now,
    };
    match look.edge() {
        Verdict::Go { state, note } => {
            let message = note.text.clone();
            Step {
                state,
                wake: Some(now),
                notes: vec![note],
                message,
            }
        }
        Verdict::Hold { message, wake } => look.clean_up(message, wake),
    }
}

fn since(phase: &Phase) -> Option<Millis> {
    match phase {
        Phase::Initializing { since }
        | Phase::Stepping { since, .. }
        | Phase::Previewing { since, .. }
        | Phase::Promoting { since, .. }
        | Phase::Aborting { since, .. } => Some(*since),
        Phase::Pending | Phase::Stable | Phase::Aborted { .. } => None,
    }
}

pub(super) fn hold(message: String, wake: Option<Millis>) -> Verdict {
    Verdict::Hold { message, wake }
}

impl Look<'_> {
    fn edge(&self) -> Verdict {
        if let Some(verdict) = self.intent() {
            return verdict;
        }
        if self.spec.paused && !matches!(self.state.phase, Phase::Aborting { .. }) {
            return hold("paused by spec.paused; set it to false to go on".to_owned(), None);
        }
        match &self.state.phase {
            Phase::Pending => self.go(
                State {
                    phase: Phase::Initializing { since: self.now },
                    candidate: Some(self.spec.target.clone()),
                    attempt: 1,
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

    /// Orders that cut in: an abort, or another target, while a candidate is on its way in.
    fn intent(&self) -> Option<Verdict> {
        let on_its_way = matches!(
            self.state.phase,
            Phase::Stepping { .. } | Phase::Previewing { .. } | Phase::Promoting { .. }
        );
        let candidate = self.state.candidate.as_ref().filter(|_| on_its_way)?;
        if let Some(abort) = self
            .spec
            .abort
            .as_ref()
            .filter(|abort| abort.revision == *candidate)
        {
            let reason = if abort.reason.is_empty() {
                "asked for in spec.abort"
            } else {
                abort.reason.as_str()
            };
            return Some(self.abort(reason.to_owned()));
        }
        if let Some(verdict) = self.strategy_swapped() {
            return Some(verdict);
        }
        if self.spec.target == *candidate || self.spec.paused {
            return None;
        }
        if Some(&self.spec.target) == self.state.stable.as_ref() {
            return Some(self.abort("the spec went back to the stable revision".to_owned()));
        }
        let mut state = self.state.clone();
        let size = candidate_size(self.spec, self.state);
        self.retire(&mut state, candidate.clone(), size, 0);
        Some(self.start(state, "CandidateSuperseded"))
    }

    /// A phase of one strategy under a spec of the other. How much the candidate carries was a matter of the old
    /// steps, so nothing but all of it is a safe guess.
    fn strategy_swapped(&self) -> Option<Verdict> {
        let other = match (&self.state.phase, &self.spec.strategy) {
            (Phase::Stepping { .. }, Strategy::BlueGreen { .. }) => "canary",
            (Phase::Previewing { .. }, Strategy::Canary { .. }) => "blueGreen",
            (_, Strategy::Canary { .. } | Strategy::BlueGreen { .. }) => return None,
        };
        Some(self.abort_carrying(format!("the strategy is no longer {other}"), 100))
    }

    /// Starts the spec's target as the candidate.
    pub(super) fn start(&self, mut state: State, reason: &'static str) -> Verdict {
        let target = self.spec.target.clone();
        let was_up = state
            .retired
            .iter()
            .any(|retired| retired.revision == target && retired.keep_until > self.now);
        let had = state
            .retired
            .iter()
            .find(|retired| retired.revision == target)
            .map_or(0, |retired| retired.replicas);
        state.retired.retain(|retired| retired.revision != target);
        let poll = Some(self.now.plus(MOVING_POLL_MS));
        // One place stays free, for the revision that this start replaces in the end.
        if state.retired.len() >= RETIRED_MAX {
            return hold(
                format!("{RETIRED_MAX} old revisions are still emptying; {target} waits"),
                poll,
            );
        }
        let since = self.now;
        state.phase = match &self.spec.strategy {
            Strategy::Canary { steps } if steps.is_empty() => Phase::Promoting {
                stage: Stage::Scaling,
                since,
                weight: 0,
            },
            Strategy::Canary { steps } => Phase::Stepping {
                step: 0,
                stage: match steps.first() {
                    Some(CanaryStep::Pause { .. }) => Stage::Moving,
                    Some(CanaryStep::SetWeight { .. }) | None => Stage::Scaling,
                },
                since,
            },
            // Back within the delay: its pods are still up, nobody needs a preview of what served a moment ago.
            Strategy::BlueGreen { .. } if was_up => Phase::Promoting {
                stage: Stage::Scaling,
                since,
                weight: 0,
            },
            Strategy::BlueGreen { .. } => Phase::Previewing { ready: false, since },
        };
        state.candidate = Some(target.clone());
        state.attempt = 1;
        let shrinks = candidate_size(self.spec, &state) < had;
        if shrinks && self.spec.sessions.is_some() && self.sessions(&target) != Count::Known(0) {
            // As a candidate it would have fewer pods, and the sessions on the others would be cut.
            return hold(
                format!(
                    "revision {target} is still emptying from its last time; it starts again when it is empty"
                ),
                poll,
            );
        }
        self.go(state, reason, format!("revision {target} is on its way in"))
    }

    pub(super) fn abort(&self, reason: String) -> Verdict {
        let share = weight(self.spec, self.state);
        let candidate = self.candidate();
        let live = match self.sessions(&candidate) {
            Count::Known(live) => live > 0,
            // Pods that were never ready have no sessions to lose, and will never answer.
            Count::Unknown => self.ready(&candidate) > 0,
        };
        let carries = share > 0 || (self.spec.sessions.is_some() && live);
        let pods = share_of_size(self.spec, candidate_size(self.spec, self.state));
        self.abort_carrying(reason, if carries { share.max(pods) } else { 0 })
    }

    fn abort_carrying(&self, reason: String, share: u8) -> Verdict {
        let state = State {
            phase: Phase::Aborting {
                reason: reason.clone(),
                since: self.now,
                weight: share,
            },
            ..self.state.clone()
        };
        let candidate = self.candidate();
        let note = Note {
            reason: "Aborting",
            warning: true,
            text: format!("aborting revision {candidate}: {reason}"),
        };
        Verdict::Go { state, note }
    }

    /// Puts a revision on its way out. One that has no pods is out already.
    pub(super) fn retire(&self, state: &mut State, revision: Revision, replicas: u32, delay_ms: i64) {
        if replicas > 0 {
            state.retired.push(Retired {
                revision,
                since: self.now,
                keep_until: self.now.plus(delay_ms),
                replicas,
            });
        }
    }

    /// Lets go of one retired revision that has nothing left to wait for.
    fn clean_up(&self, message: String, wake: Option<Millis>) -> Step {
        let mut state = self.state.clone();
        let mut next = wake;
        for (index, retired) in self.state.retired.iter().enumerate() {
            let empty = self.spec.sessions.is_none() || self.sessions(&retired.revision) == Count::Known(0);
            let given_up = self
                .spec
                .sessions
                .is_some_and(|drain| self.now >= retired.keep_until.plus(drain.deadline_ms));
            if self.now >= retired.keep_until && (empty || given_up) {
                state.retired.remove(index);
                let text = if empty {
                    format!("old revision {} is scaled down", retired.revision)
                } else {
                    format!(
                        "old revision {} is scaled down at its deadline, sessions or not",
                        retired.revision
                    )
                };
                let note = Note {
                    reason: "RevisionRetired",
                    warning: !empty,
                    text,
                };
                return Step {
                    state,
                    wake: Some(self.now),
                    notes: vec![note],
                    message,
                };
            }
            let look = retired.keep_until.max(self.now.plus(MOVING_POLL_MS));
            next = Some(next.map_or(look, |wake| wake.min(look)));
        }
        Step {
            state,
            wake: next,
            notes: Vec::new(),
            message,
        }
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
