//! The phases at either end: before the first revision, at rest, and on the way back.

use super::advance::{Look, MOVING_POLL_MS, RETIRED_MAX, SCALING_POLL_MS, Verdict, hold};
use super::model::{Count, Millis, Note, Phase, Retry, State};
use super::text::span;

impl Look<'_> {
    pub(super) fn initializing(&self, since: Millis) -> Verdict {
        let candidate = self.candidate();
        if self.spec.target != candidate {
            let mut state = self.state.clone();
            state
                .retired
                .retain(|retired| retired.revision != self.spec.target);
            self.retire(&mut state, candidate, self.spec.replicas, 0);
            if state.retired.len() > RETIRED_MAX {
                return hold(
                    format!(
                        "{RETIRED_MAX} old revisions are still emptying; {} waits",
                        self.spec.target
                    ),
                    Some(self.now.plus(MOVING_POLL_MS)),
                );
            }
            state.candidate = Some(self.spec.target.clone());
            state.phase = Phase::Initializing { since: self.now };
            return self.go(
                state,
                "Initializing",
                format!("first revision is now {}", self.spec.target),
            );
        }
        let ready = self.ready(&candidate);
        if ready >= self.spec.replicas {
            let state = State {
                phase: Phase::Stable,
                stable: Some(candidate.clone()),
                candidate: None,
                ..self.state.clone()
            };
            return self.go(state, "Stable", format!("revision {candidate} serves"));
        }
        let late = self.now > since.plus(self.spec.progress_deadline_ms);
        let after = if late {
            format!(" after {}", span(self.spec.progress_deadline_ms))
        } else {
            String::new()
        };
        hold(
            format!(
                "first revision {candidate}: {ready} of {} pods ready{after}",
                self.spec.replicas
            ),
            Some(self.now.plus(SCALING_POLL_MS)),
        )
    }

    pub(super) fn stable(&self) -> Verdict {
        let Some(stable) = &self.state.stable else {
            return hold("no stable revision in status".to_owned(), None);
        };
        if self.spec.target != *stable {
            return self.start(self.state.clone(), "RolloutStarted");
        }
        hold(format!("revision {stable} serves"), None)
    }

    pub(super) fn aborting(&self, reason: &str, since: Millis, weight: u8) -> Verdict {
        let candidate = self.candidate();
        let deadline_ms = self
            .spec
            .sessions
            .map_or(self.spec.progress_deadline_ms, |drain| drain.deadline_ms);
        let late = self.now >= since.plus(deadline_ms);
        let nothing_to_move = weight == 0 || self.spec.sessions.is_none();
        let empty = nothing_to_move || self.sessions(&candidate) == Count::Known(0);
        if (empty && self.in_force()) || late {
            let state = State {
                phase: Phase::Aborted {
                    reason: reason.to_owned(),
                },
                ..self.state.clone()
            };
            let note = Note {
                reason: "Aborted",
                warning: true,
                text: format!("revision {candidate} is out: {reason}"),
            };
            return Verdict::Go { state, note };
        }
        let waits = match self.sessions(&candidate) {
            _ if empty => "waiting for the gateway to take the route".to_owned(),
            Count::Known(left) => format!("{left} sessions still on {candidate}"),
            Count::Unknown => format!("sessions of {candidate} cannot be counted"),
        };
        let left = span(since.plus(deadline_ms).0.saturating_sub(self.now.0));
        hold(
            format!("aborting ({reason}): {waits}, at most {left} more"),
            Some(self.now.plus(MOVING_POLL_MS)),
        )
    }

    pub(super) fn aborted(&self, reason: &str) -> Verdict {
        let candidate = self.candidate();
        if Some(&self.spec.target) == self.state.stable.as_ref() {
            let state = State {
                phase: Phase::Stable,
                candidate: None,
                ..self.state.clone()
            };
            return self.go(
                state,
                "Stable",
                format!("revision {} serves, as the spec asks again", self.spec.target),
            );
        }
        if self.spec.target != candidate {
            return self.start(self.state.clone(), "RolloutStarted");
        }
        let again = |retry: &&Retry| retry.revision == candidate && retry.attempt > self.state.attempt;
        let Some(retry) = self.spec.retry.as_ref().filter(again) else {
            return hold(
                format!(
                    "revision {candidate} was aborted: {reason}; kubectl pointsman retry tries it again, undo goes back"
                ),
                None,
            );
        };
        if self
            .spec
            .abort
            .as_ref()
            .is_some_and(|abort| abort.revision == candidate)
        {
            return hold(
                "retry is asked for, but spec.abort still names this revision; remove spec.abort".to_owned(),
                None,
            );
        }
        match self.start(self.state.clone(), "RolloutStarted") {
            Verdict::Go { mut state, note } => {
                state.attempt = retry.attempt;
                Verdict::Go { state, note }
            }
            held @ Verdict::Hold { .. } => held,
        }
    }
}
