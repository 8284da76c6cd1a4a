//! The edges, phase by phase.

use std::collections::BTreeMap;

use super::advance::{Look, MOVING_POLL_MS, SCALING_POLL_MS, Verdict, hold};
use super::desired::desired;
use super::model::{
    CanaryStep, Count, Millis, Note, Phase, Retry, Revision, Routed, Stage, State, Strategy, Through, Traffic,
};
use super::sizes::{candidate_size, moves_sessions, step_weight};
use super::text::span;

/// Where the live sessions are, against where they should be.
enum Share {
    There,
    Short(String),
    Unknown,
}

impl Look<'_> {
    pub(super) fn initializing(&self, since: Millis) -> Verdict {
        let candidate = self.candidate();
        if self.spec.target != candidate {
            let mut state = self.state.clone();
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
        let still = if late { "still " } else { "" };
        hold(
            format!(
                "{still}waiting for pods of the first revision {candidate}: {ready} of {} ready",
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

    pub(super) fn stepping(&self, step: u32, stage: Stage, since: Millis) -> Verdict {
        let Strategy::Canary { steps } = &self.spec.strategy else {
            return self.abort("the strategy is no longer canary".to_owned());
        };
        if self.promoted_fully() {
            return self.promote("promoted by spec.promotion");
        }
        let total = steps.len();
        let Some(this) = usize::try_from(step).ok().and_then(|index| steps.get(index)) else {
            return self.promote("all steps are done");
        };
        let place = format!("step {} of {total}", step.saturating_add(1));
        match (this, stage) {
            (CanaryStep::Pause { duration_ms }, _) => self.pausing(step, *duration_ms, since, &place),
            (CanaryStep::SetWeight { percent, .. }, Stage::Scaling) => {
                match self.scaled(since, &format!("{place}: ")) {
                    Some(verdict) => verdict,
                    None => {
                        let phase = Phase::Stepping {
                            step,
                            stage: Stage::Moving,
                            since: self.now,
                        };
                        let state = State {
                            phase,
                            ..self.state.clone()
                        };
                        self.go(state, "WeightSet", format!("{place}: weight {percent} %"))
                    }
                }
            }
            (CanaryStep::SetWeight { .. }, Stage::Moving) => self.moving(step, since, &place),
        }
    }

    fn pausing(&self, step: u32, duration_ms: Option<i64>, since: Millis, place: &str) -> Verdict {
        let released = self.promotion().is_some_and(|through| match through {
            Through::Full => true,
            Through::Step(last) => step <= last,
        });
        match duration_ms {
            _ if released => self.next(step, &format!("{place}: pause ended by spec.promotion")),
            Some(duration_ms) if self.now >= since.plus(duration_ms) => {
                self.next(step, &format!("{place}: pause is over"))
            }
            Some(duration_ms) => {
                let end = since.plus(duration_ms);
                hold(
                    format!("{place}: pause of {}, ends by itself", span(duration_ms)),
                    Some(end),
                )
            }
            None => hold(
                format!("{place}: open pause; go on with kubectl pointsman promote"),
                None,
            ),
        }
    }

    fn moving(&self, step: u32, since: Millis, place: &str) -> Verdict {
        if let Some(verdict) = self.routed(since, &format!("{place}: ")) {
            return verdict;
        }
        if !moves_sessions(self.spec, step) {
            return self.next(step, &format!("{place}: weight in force"));
        }
        let asked = step_weight(self.spec, step);
        let deadline_ms = self.spec.sessions.map_or(0, |drain| drain.deadline_ms);
        let late = self.now >= since.plus(deadline_ms);
        let poll = Some(self.now.plus(MOVING_POLL_MS));
        match self.share(asked) {
            Share::There => self.next(step, &format!("{place}: {asked} % of the live sessions")),
            Share::Short(live) if late => {
                let text = format!(
                    "{place}: deadline of {} passed with {live} of {asked} % live; going on",
                    span(deadline_ms)
                );
                self.step_to(
                    step,
                    Note {
                        reason: "MoveDeadlinePassed",
                        warning: true,
                        text,
                    },
                )
            }
            Share::Short(live) => hold(
                format!("{place}: moving sessions, {live} of {asked} % live"),
                poll,
            ),
            Share::Unknown => hold(
                format!("{place}: live sessions cannot be counted; holding until every pod answers"),
                poll,
            ),
        }
    }

    fn next(&self, step: u32, text: &str) -> Verdict {
        self.step_to(
            step,
            Note {
                reason: "StepCompleted",
                warning: false,
                text: text.to_owned(),
            },
        )
    }

    fn step_to(&self, done: u32, note: Note) -> Verdict {
        let Strategy::Canary { steps } = &self.spec.strategy else {
            return self.promote(&note.text);
        };
        let step = done.saturating_add(1);
        let phase = match usize::try_from(step).ok().and_then(|index| steps.get(index)) {
            None => Phase::Promoting {
                stage: Stage::Scaling,
                since: self.now,
                weight: step_weight(self.spec, done),
            },
            // A pause changes nothing, so it has nothing to scale for.
            Some(CanaryStep::Pause { .. }) => Phase::Stepping {
                step,
                stage: Stage::Moving,
                since: self.now,
            },
            Some(CanaryStep::SetWeight { .. }) => Phase::Stepping {
                step,
                stage: Stage::Scaling,
                since: self.now,
            },
        };
        Verdict::Go {
            state: State {
                phase,
                ..self.state.clone()
            },
            note,
        }
    }

    pub(super) fn previewing(&self, ready: bool, since: Millis) -> Verdict {
        let Strategy::BlueGreen { auto_promote, .. } = &self.spec.strategy else {
            return self.abort("the strategy is no longer blueGreen".to_owned());
        };
        if !ready {
            return self.scaled(since, "preview: ").unwrap_or_else(|| {
                let state = State {
                    phase: Phase::Previewing {
                        ready: true,
                        since: self.now,
                    },
                    ..self.state.clone()
                };
                self.go(
                    state,
                    "PreviewReady",
                    format!("preview of {} is ready", self.candidate()),
                )
            });
        }
        if *auto_promote {
            return self.promote("promoted by autoPromote");
        }
        if self.promotion().is_some() {
            return self.promote("promoted by spec.promotion");
        }
        hold(
            "preview is ready; switch with kubectl pointsman promote".to_owned(),
            None,
        )
    }

    pub(super) fn promoting(&self, stage: Stage, since: Millis, weight: u8) -> Verdict {
        if stage == Stage::Scaling {
            return self.scaled(since, "promotion: ").unwrap_or_else(|| {
                let phase = Phase::Promoting {
                    stage: Stage::Moving,
                    since: self.now,
                    weight,
                };
                let state = State {
                    phase,
                    ..self.state.clone()
                };
                self.go(
                    state,
                    "Switched",
                    format!("revision {} takes all", self.candidate()),
                )
            });
        }
        if let Some(verdict) = self.routed(since, "promotion: ") {
            return verdict;
        }
        let old = self.state.stable.clone();
        let left = old.as_ref().map_or(Count::Known(0), |old| self.sessions(old));
        let Some(drain) = self.spec.sessions else {
            return self.finish(None);
        };
        let late = self.now >= since.plus(drain.deadline_ms);
        let poll = Some(self.now.plus(MOVING_POLL_MS));
        match left {
            Count::Known(0) => self.finish(None),
            Count::Known(left) if late => self.finish(Some(left)),
            Count::Known(left) => hold(
                format!("promotion: {left} sessions still on the old revision"),
                poll,
            ),
            Count::Unknown => hold(
                "promotion: sessions of the old revision cannot be counted; holding until every pod answers"
                    .to_owned(),
                poll,
            ),
        }
    }

    /// The candidate becomes the stable revision.
    fn finish(&self, left: Option<u32>) -> Verdict {
        let candidate = self.candidate();
        let mut state = self.state.clone();
        if let Some(old) = state.stable.take() {
            let delay_ms = match &self.spec.strategy {
                Strategy::Canary { .. } => 0,
                Strategy::BlueGreen {
                    scale_down_delay_ms, ..
                } => *scale_down_delay_ms,
            };
            let size = super::sizes::stable_size(self.spec, self.state);
            state.retired.push(self.retire(old, size, delay_ms));
        }
        state.phase = Phase::Stable;
        state.stable = Some(candidate.clone());
        state.candidate = None;
        let note = match left {
            None => Note {
                reason: "Promoted",
                warning: false,
                text: format!("revision {candidate} serves everything"),
            },
            Some(left) => Note {
                reason: "MoveDeadlinePassed",
                warning: true,
                text: format!(
                    "revision {candidate} promoted at the deadline with {left} sessions still on the old one"
                ),
            },
        };
        Verdict::Go { state, note }
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
        let left = match self.sessions(&candidate) {
            Count::Known(left) => format!("{left} sessions"),
            Count::Unknown => "an unknown number of sessions".to_owned(),
        };
        hold(
            format!("aborting ({reason}): {left} still on the candidate"),
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

    fn promote(&self, why: &str) -> Verdict {
        let weight = super::sizes::weight(self.spec, self.state);
        let phase = Phase::Promoting {
            stage: Stage::Scaling,
            since: self.now,
            weight,
        };
        self.go(
            State {
                phase,
                ..self.state.clone()
            },
            "Promoting",
            format!("revision {}: {why}", self.candidate()),
        )
    }

    fn promotion(&self) -> Option<Through> {
        let candidate = self.candidate();
        self.spec
            .promotion
            .as_ref()
            .filter(|order| order.revision == candidate)
            .map(|order| order.through)
    }

    fn promoted_fully(&self) -> bool {
        self.promotion() == Some(Through::Full)
    }

    /// `None` once the candidate has the pods that this state asks for.
    fn scaled(&self, since: Millis, place: &str) -> Option<Verdict> {
        let candidate = self.candidate();
        let (ready, asked) = (self.ready(&candidate), candidate_size(self.spec, self.state));
        if ready >= asked {
            return None;
        }
        let end = since.plus(self.spec.progress_deadline_ms);
        if self.now >= end {
            let after = span(self.spec.progress_deadline_ms);
            return Some(self.abort(format!("{ready} of {asked} pods ready after {after}")));
        }
        let wake = self.now.plus(SCALING_POLL_MS).min(end);
        Some(hold(
            format!("{place}{ready} of {asked} candidate pods ready"),
            Some(wake),
        ))
    }

    /// `None` once the weights of this state are in force.
    fn routed(&self, since: Millis, place: &str) -> Option<Verdict> {
        if self.in_force() {
            return None;
        }
        let end = since.plus(self.spec.progress_deadline_ms);
        if self.now >= end {
            return Some(self.abort(format!(
                "the gateway did not take the route within {}",
                span(self.spec.progress_deadline_ms)
            )));
        }
        Some(hold(
            format!("{place}waiting for the gateway to take the route"),
            Some(self.now.plus(MOVING_POLL_MS).min(end)),
        ))
    }

    fn in_force(&self) -> bool {
        let weighty = |weights: &BTreeMap<Revision, u8>| -> BTreeMap<Revision, u8> {
            weights
                .iter()
                .filter(|(_, weight)| **weight > 0)
                .map(|(revision, weight)| (revision.clone(), *weight))
                .collect()
        };
        match (&self.spec.traffic, &self.seen.routed) {
            // A Service has no report of its own: ready pods behind its selector are all there is.
            (Traffic::Service, _) => true,
            (Traffic::Gateway, Routed::Unknown) => false,
            (Traffic::Gateway, Routed::Known(weights)) => {
                weighty(weights) == weighty(&desired(self.spec, self.state).weights)
            }
        }
    }

    /// Within two points, or half a session when there are few.
    fn share(&self, asked: u8) -> Share {
        let stable = self
            .state
            .stable
            .as_ref()
            .map_or(Count::Known(0), |stable| self.sessions(stable));
        let (Count::Known(old), Count::Known(new)) = (stable, self.sessions(&self.candidate())) else {
            return Share::Unknown;
        };
        let total = i64::from(old).saturating_add(i64::from(new));
        let off = i64::from(new)
            .saturating_mul(100)
            .saturating_sub(total.saturating_mul(i64::from(asked)))
            .abs();
        if off <= total.saturating_mul(2).max(50) {
            return Share::There;
        }
        Share::Short(format!(
            "{} % ({new} of {total})",
            i64::from(new).saturating_mul(100) / total.max(1)
        ))
    }
}
