//! The phases at either end: before the first revision, at rest, and on the way back.

use super::advance::{Look, MOVING_POLL_MS, RETIRED_MAX, SCALING_POLL_MS, Verdict, WITHDRAWN, hold};
use super::model::{Count, Millis, Note, Phase, Retry, Revision, State};
use super::text::span;

impl Look<'_> {
    pub(super) fn initializing(&self, since: Millis) -> Verdict {
        let candidate = self.candidate();
        if self.spec.target != candidate && self.adopted(&candidate) {
            return self.adopt(
                candidate.clone(),
                format!("revision {candidate} serves, though not in full; it is what a new one is measured against"),
            );
        }
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
            state.attempt = self.attempt();
            state.phase = Phase::Initializing { since: self.now };
            return self.go(
                state,
                "Initializing",
                format!("first revision is now {}", self.spec.target),
            );
        }
        if let Some(reason) = self.aborted_by_owner(&candidate) {
            return hold(
                format!(
                    "abort asked for ({reason}), but before {candidate} there was no revision to go back to; change the template"
                ),
                None,
            );
        }
        let ready = self.ready(&candidate);
        if ready >= self.spec.replicas && self.in_force() {
            return self.adopt(candidate.clone(), format!("revision {candidate} serves"));
        }
        let late = self.now > since.plus(self.spec.progress_deadline_ms);
        let after = if late {
            format!(" after {}", span(self.spec.progress_deadline_ms))
        } else {
            String::new()
        };
        let waits = if ready >= self.spec.replicas {
            "waiting for the gateway to take the route".to_owned()
        } else {
            format!("{ready} of {} pods ready", self.spec.replicas)
        };
        hold(
            format!("first revision {candidate}: {waits}{after}"),
            Some(self.now.plus(SCALING_POLL_MS)),
        )
    }

    /// A first revision that serves somebody is not thrown away for the next one; unless its owner gave it up.
    fn adopted(&self, candidate: &Revision) -> bool {
        self.ready(candidate) > 0 && self.spec.replicas > 0 && self.aborted_by_owner(candidate).is_none()
    }

    fn adopt(&self, candidate: Revision, text: String) -> Verdict {
        let state = State {
            phase: Phase::Stable,
            stable: Some(candidate),
            candidate: None,
            ..self.state.clone()
        };
        self.go(state, "Stable", text)
    }

    pub(super) fn stable(&self) -> Verdict {
        let Some(stable) = &self.state.stable else {
            return hold("no stable revision in status".to_owned(), None);
        };
        if self.spec.target != *stable {
            return self.start(self.state.clone(), "RolloutStarted");
        }
        let too_late = match self.aborted_by_owner(stable) {
            Some(_) => "; spec.abort names it, but it is stable: kubectl pointsman undo goes back",
            None => "",
        };
        hold(format!("revision {stable} serves{too_late}"), None)
    }

    pub(super) fn aborting(&self, reason: &str, since: Millis, weight: u8) -> Verdict {
        let candidate = self.candidate();
        let deadline_ms = self
            .spec
            .sessions
            .map_or(self.spec.progress_deadline_ms, |drain| drain.deadline_ms);
        let late = self.now >= since.plus(deadline_ms);
        let sessions = self.sessions(&candidate);
        let empty = weight == 0 || self.spec.sessions.is_none() || sessions == Count::Known(0);
        let left = match sessions {
            Count::Known(left) => format!("{left} sessions still on {candidate}"),
            Count::Unknown => format!("sessions of {candidate} cannot be counted"),
        };
        // Pods behind a route that is still in force would take traffic with them, so the deadline is not for them.
        let unrouted = weight == 0 || self.in_force();
        if unrouted && (empty || late) {
            let at_deadline = if empty {
                String::new()
            } else {
                format!(" (deadline of {} passed, {left})", span(deadline_ms))
            };
            let state = State {
                phase: Phase::Aborted {
                    reason: reason.to_owned(),
                },
                ..self.state.clone()
            };
            let note = Note {
                reason: "Aborted",
                warning: true,
                text: format!("revision {candidate} is out{at_deadline}: {reason}"),
            };
            return Verdict::Go { state, note };
        }
        let rest = span(since.plus(deadline_ms).0.saturating_sub(self.now.0));
        let waits = if unrouted {
            format!("{left}, at most {rest} more")
        } else {
            format!("waiting for the gateway to take the route; pods of {candidate} stay until then")
        };
        hold(
            format!("aborting ({reason}): {waits}"),
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
        let withdrawn = reason == WITHDRAWN && self.aborted_by_owner(&candidate).is_none();
        if self.spec.target != candidate || withdrawn {
            return self.start(self.state.clone(), "RolloutStarted");
        }
        let again = |retry: &&Retry| retry.revision == candidate && retry.attempt > self.state.attempt;
        if self.spec.retry.as_ref().filter(again).is_none() {
            return hold(
                format!(
                    "revision {candidate} was aborted: {reason}; kubectl pointsman retry tries it again, undo goes back"
                ),
                None,
            );
        }
        if self.aborted_by_owner(&candidate).is_some() {
            return hold(
                "retry is asked for, but spec.abort still names this revision; remove spec.abort".to_owned(),
                None,
            );
        }
        self.start(self.state.clone(), "RolloutStarted")
    }
}
