//! The edges of a canary, step by step.

use super::advance::{Look, MOVING_POLL_MS, Verdict, hold};
use super::model::{CanaryStep, Count, Millis, Note, Phase, Stage, State, Strategy, Through};
use super::sizes::{moves_sessions, step_weight};
use super::text::span;

/// Where the live sessions are, against where they should be.
enum Share {
    There,
    Short(String),
    Unknown,
}

impl Look<'_> {
    pub(super) fn stepping(&self, step: u32, stage: Stage, since: Millis) -> Verdict {
        let Strategy::Canary { steps } = &self.spec.strategy else {
            return hold("not a canary".to_owned(), None);
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
                let left = span(end.0.saturating_sub(self.now.0));
                hold(
                    format!("{place}: pause of {}, {left} left", span(duration_ms)),
                    Some(end),
                )
            }
            None => hold(
                format!("open pause at {place}: promote with kubectl pointsman promote"),
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
                    "{place}: deadline of {} passed at {live}; going on",
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
                format!("{place}: moving sessions to {}: {live}", self.candidate()),
                poll,
            ),
            Share::Unknown => {
                let passed = if late {
                    format!(", though the deadline of {} passed", span(deadline_ms))
                } else {
                    String::new()
                };
                hold(
                    format!(
                        "{place}: live sessions cannot be counted; holding until every pod answers{passed}"
                    ),
                    poll,
                )
            }
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
            "{} % of {asked} % live ({new} of {total})",
            i64::from(new).saturating_mul(100) / total.max(1)
        ))
    }
}
