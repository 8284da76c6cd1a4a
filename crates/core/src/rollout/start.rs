//! A candidate's first edge, and the one that turns it back.

use super::advance::{Look, MOVING_POLL_MS, RETIRED_MAX, Verdict, hold};
use super::model::{CanaryStep, Count, Note, Phase, Revision, Routed, Stage, State, Strategy, Traffic};
use super::sizes::{candidate_size, carried, share_of_size};

/// What a step waits for first. A pause changes nothing, so it has nothing to scale for.
pub(super) fn first_stage(step: &CanaryStep) -> Stage {
    match step {
        CanaryStep::Pause { .. } => Stage::Moving,
        CanaryStep::SetWeight { .. } => Stage::Scaling,
    }
}

impl Look<'_> {
    /// Starts the spec's target as the candidate.
    pub(super) fn start(&self, mut state: State, reason: &'static str) -> Verdict {
        let target = self.spec.target.clone();
        let was = state
            .retired
            .iter()
            .find(|retired| retired.revision == target)
            .cloned();
        let poll = Some(self.now.plus(MOVING_POLL_MS));
        let emptying = format!(
            "revision {target} is still emptying from its last time; it starts again when it is empty"
        );
        if let Some(why) = self.aborted_by_owner(&target) {
            return match was {
                Some(_) => hold(emptying, poll),
                None => self.start_aborted(state, target, why),
            };
        }
        state.retired.retain(|retired| retired.revision != target);
        if let Some(full) = self.full(&state) {
            return full;
        }
        state.phase = self.first_phase(was.as_ref().is_some_and(|was| was.keep_until > self.now));
        state.candidate = Some(target.clone());
        state.attempt = self.attempt();
        let shrinks = was.is_some_and(|was| candidate_size(self.spec, &state) < was.replicas);
        if shrinks && self.spec.sessions.is_some() && self.sessions(&target) != Count::Known(0) {
            // As a candidate it would have fewer pods, and the sessions on the others would be cut.
            return hold(emptying, poll);
        }
        self.go(state, reason, format!("revision {target} is on its way in"))
    }

    /// On hold while too many old revisions are emptying. One place stays free, for the revision that a start
    /// replaces in the end.
    fn full(&self, state: &State) -> Option<Verdict> {
        (state.retired.len() >= RETIRED_MAX).then(|| {
            hold(
                format!(
                    "{RETIRED_MAX} old revisions are still emptying; {} waits",
                    self.spec.target
                ),
                Some(self.now.plus(MOVING_POLL_MS)),
            )
        })
    }

    /// An order to abort what has not started yet: not one pod of it comes up.
    fn start_aborted(&self, mut state: State, target: Revision, why: String) -> Verdict {
        if let Some(full) = self.full(&state) {
            return full;
        }
        let text = format!("revision {target} does not start, spec.abort names it: {why}");
        state.phase = Phase::Aborted { reason: why };
        state.candidate = Some(target);
        state.attempt = self.attempt();
        Verdict::Go {
            state,
            note: Note {
                reason: "Aborted",
                warning: true,
                text,
            },
        }
    }

    fn first_phase(&self, was_up: bool) -> Phase {
        let since = self.now;
        match &self.spec.strategy {
            Strategy::Canary { steps } => match steps.first() {
                Some(step) => Phase::Stepping {
                    step: 0,
                    stage: first_stage(step),
                    since,
                },
                None => Phase::Promoting {
                    stage: Stage::Scaling,
                    since,
                    weight: 0,
                },
            },
            // Back within the delay: its pods are still up, nobody needs a preview of what served a moment ago.
            Strategy::BlueGreen { .. } if was_up => Phase::Promoting {
                stage: Stage::Scaling,
                since,
                weight: 0,
            },
            Strategy::BlueGreen { .. } => Phase::Previewing { ready: false, since },
        }
    }

    /// Turns the candidate back. It keeps the pods that it has until its sessions left and nothing is routed there.
    pub(super) fn abort(&self, reason: String) -> Verdict {
        let candidate = self.candidate();
        let live = match self.sessions(&candidate) {
            Count::Known(live) => live > 0,
            // Pods that were never ready have no sessions to lose, and will never answer.
            Count::Unknown => self.ready(&candidate) > 0,
        };
        // Under another strategy the sizes of the old one are lost; what is there is known.
        let swapped = matches!(
            (&self.state.phase, &self.spec.strategy),
            (Phase::Stepping { .. }, Strategy::BlueGreen { .. })
                | (Phase::Previewing { .. }, Strategy::Canary { .. })
        );
        let size = if swapped {
            self.seen.pods.get(&candidate).map_or(0, |pods| pods.total)
        } else {
            candidate_size(self.spec, self.state)
        };
        let share = carried(self.spec, self.state);
        // A revision that came back may still be in a route that the gateway has not replaced.
        let lingers = match (&self.spec.traffic, &self.seen.routed) {
            (Traffic::Gateway, Routed::Known(weights)) => {
                weights.get(&candidate).is_some_and(|share| *share > 0)
            }
            (Traffic::Gateway, Routed::Unknown) | (Traffic::Service, _) => false,
        };
        let routed = share > 0 || lingers || (swapped && size > 0);
        let weight = if routed || (self.spec.sessions.is_some() && live) {
            share.max(share_of_size(self.spec, size)).max(1)
        } else {
            0
        };
        let mut state = self.state.clone();
        super::clock::thaw(&mut state, self.now);
        state.phase = Phase::Aborting {
            reason: reason.clone(),
            since: self.now,
            weight,
        };
        let note = Note {
            reason: "Aborting",
            warning: true,
            text: format!("aborting revision {candidate}: {reason}"),
        };
        Verdict::Go { state, note }
    }
}
