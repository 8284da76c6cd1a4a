//! The edges of a canary, step by step.

use super::advance::{Look, MOVING_POLL_MS, Verdict, hold};
use super::model::{CanaryStep, Count, Millis, Note, Phase, Stage, State, Strategy, Through, WeightUnit};
use super::sizes::{by_ratio, moves_sessions, step_weight};
use super::start::first_stage;
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
        let place = format!("step {} of {total}", step.saturating_add(1));
        let Some(this) = usize::try_from(step).ok().and_then(|index| steps.get(index)) else {
            return self.steps_changed(steps);
        };
        if stage == Stage::Recovering {
            return self
                .scaled(since, &format!("{place}: no traffic until its pods are back: "))
                .unwrap_or_else(|| {
                    self.stage(
                        step,
                        first_stage(this),
                        "CandidateBack",
                        format!("{place}: candidate is back"),
                    )
                });
        }
        if self.lost() {
            return self.stop_traffic(Phase::Stepping {
                step,
                stage: Stage::Recovering,
                since: self.now,
            });
        }
        if self.promoted_fully() {
            return self.promote("promoted by spec.promotion");
        }
        match (this, stage) {
            (CanaryStep::Pause { duration_ms }, _) => self.pausing(step, *duration_ms, since, &place),
            (CanaryStep::SetWeight { percent, .. }, Stage::Scaling) => {
                if let Some(verdict) = self.scaled(since, &format!("{place}: ")) {
                    return verdict;
                }
                if *percent > 0 && by_ratio(self.spec) && !self.state.retired.is_empty() {
                    return hold(
                        format!(
                            "{place}: an old revision is still emptying; a Service cannot leave it out of a canary"
                        ),
                        Some(self.now.plus(MOVING_POLL_MS)),
                    );
                }
                self.stage(
                    step,
                    self.after_scaling(),
                    "WeightSet",
                    format!("{place}: weight {percent} %"),
                )
            }
            (CanaryStep::SetWeight { .. }, Stage::Routing) => self.routing(step, since, &place),
            (CanaryStep::SetWeight { .. }, _) => self.moving(step, since, &place),
        }
    }

    fn stage(&self, step: u32, stage: Stage, reason: &'static str, text: String) -> Verdict {
        let phase = Phase::Stepping {
            step,
            stage,
            since: self.now,
        };
        let state = State {
            phase,
            ..self.state.clone()
        };
        self.go(state, reason, text)
    }

    /// The steps were edited, and this one is gone. Going on as if all were done would promote what nobody promoted.
    fn steps_changed(&self, steps: &[CanaryStep]) -> Verdict {
        let last = u32::try_from(steps.len()).unwrap_or(u32::MAX).checked_sub(1);
        match (last, steps.last()) {
            (Some(index), Some(step)) => self.stage(
                index,
                first_stage(step),
                "StepsChanged",
                format!(
                    "the steps were changed; going on at the last one, step {} of {}",
                    steps.len(),
                    steps.len()
                ),
            ),
            _ => self.promote("the steps were taken out of the spec"),
        }
    }

    fn pausing(&self, step: u32, duration_ms: Option<i64>, since: Millis, place: &str) -> Verdict {
        let released = self.promotion().is_some_and(|through| match through {
            Through::Full => true,
            Through::Step(last) => step <= last,
        });
        if let Some(verdict) = self.short_of_pods(place) {
            return verdict;
        }
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

    fn routing(&self, step: u32, since: Millis, place: &str) -> Verdict {
        if let Some(verdict) = self.routed(since, &format!("{place}: ")) {
            return verdict;
        }
        if moves_sessions(self.spec, step) {
            return self.stage(
                step,
                Stage::Moving,
                "RouteInForce",
                format!("{place}: route in force"),
            );
        }
        self.next(
            step,
            &format!("{place}: weight in force{}", self.nobody_moved(step)),
        )
    }

    fn moving(&self, step: u32, since: Millis, place: &str) -> Verdict {
        if let Some(verdict) = self.unrouted_hold(place) {
            return verdict;
        }
        if let Some(verdict) = self.short_of_pods(place) {
            return verdict;
        }
        if !moves_sessions(self.spec, step) {
            let nobody = self.nobody_moved(step);
            return self.next(step, &format!("{place}: weight in force{nobody}"));
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

    /// Words for a weight of sessions that moves none.
    fn nobody_moved(&self, step: u32) -> &'static str {
        let of_sessions = match &self.spec.strategy {
            Strategy::Canary { steps } => matches!(
                usize::try_from(step).ok().and_then(|index| steps.get(index)),
                Some(CanaryStep::SetWeight {
                    of: WeightUnit::Sessions,
                    ..
                })
            ),
            Strategy::BlueGreen { .. } => false,
        };
        match (of_sessions, self.spec.sessions) {
            (true, Some(_)) => {
                "; without a gateway a moved client would land by chance, so nobody is moved before the promotion"
            }
            (true, None) => "; nobody is moved, spec.sessions is not set",
            (false, _) => "",
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
        let since = self.now;
        let phase = match usize::try_from(step).ok().and_then(|index| steps.get(index)) {
            None => Phase::Promoting {
                stage: Stage::Scaling,
                since,
                weight: step_weight(self.spec, done),
            },
            Some(next) => Phase::Stepping {
                step,
                stage: first_stage(next),
                since,
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

    /// Within a point of all live sessions, or half a session when there are few; two points are promised, and clients
    /// come and go between the look and whoever checks. A small share, of either side,
    /// allows for less: nobody at all is not two in a hundred.
    fn share(&self, asked: u8) -> Share {
        let new = self.sessions(&self.candidate());
        let retired = self.state.retired.iter().map(|retired| &retired.revision);
        let others = retired.chain(self.state.stable.as_ref());
        let total = others
            .map(|revision| self.sessions(revision))
            .chain([new])
            .try_fold(0_i64, |sum, count| match count {
                Count::Known(open) => Some(sum.saturating_add(i64::from(open))),
                Count::Unknown => None,
            });
        let (Count::Known(new), Some(total)) = (new, total) else {
            return Share::Unknown;
        };
        let off = i64::from(new)
            .saturating_mul(100)
            .saturating_sub(total.saturating_mul(i64::from(asked)))
            .abs();
        let points = i64::from(asked.min(100_u8.saturating_sub(asked)) / 2).min(1);
        if off <= total.saturating_mul(points).max(50) {
            return Share::There;
        }
        Share::Short(format!(
            "{} % of {asked} % live ({new} of {total})",
            i64::from(new).saturating_mul(100) / total.max(1)
        ))
    }
}
