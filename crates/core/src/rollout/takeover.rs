//! From a preview, or the last step of a canary, to a new stable revision.

use super::advance::{Look, MOVING_POLL_MS, Verdict, hold};
use super::model::{Count, Millis, Note, Phase, Stage, State, Strategy};
use super::sizes::{stable_size, weight};
use super::text::span;

impl Look<'_> {
    pub(super) fn previewing(&self, ready: bool, since: Millis) -> Verdict {
        let Strategy::BlueGreen { auto_promote, .. } = &self.spec.strategy else {
            return hold("not blue-green".to_owned(), None);
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
        let to = |stage| State {
            phase: Phase::Promoting {
                stage,
                since: self.now,
                weight,
            },
            ..self.state.clone()
        };
        if stage == Stage::Recovering {
            return self
                .scaled(since, "promotion: no traffic until its pods are back: ")
                .unwrap_or_else(|| {
                    let text = format!("candidate {} is back", self.candidate());
                    self.go(to(Stage::Scaling), "CandidateBack", text)
                });
        }
        if self.lost() {
            return self.stop_traffic(to(Stage::Recovering).phase);
        }
        if stage == Stage::Scaling {
            return self.scaled(since, "promotion: ").unwrap_or_else(|| {
                let text = format!("revision {} takes all", self.candidate());
                self.go(to(self.after_scaling()), "Switched", text)
            });
        }
        if stage == Stage::Routing {
            return self.routed(since, "promotion: ").unwrap_or_else(|| {
                self.go(
                    to(Stage::Moving),
                    "RouteInForce",
                    "promotion: route in force".to_owned(),
                )
            });
        }
        if let Some(verdict) = self.unrouted_hold("promotion") {
            return verdict;
        }
        // The old side is the only way back; it goes when the new one stands.
        if let Some(verdict) = self.short_of_pods("promotion") {
            return verdict;
        }
        self.emptying(since)
    }

    fn emptying(&self, since: Millis) -> Verdict {
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
            Count::Unknown => {
                let passed = if late {
                    format!(", though the deadline of {} passed", span(drain.deadline_ms))
                } else {
                    String::new()
                };
                hold(
                    format!(
                        "promotion: sessions of the old revision cannot be counted; holding until every pod answers{passed}"
                    ),
                    poll,
                )
            }
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
            let size = stable_size(self.spec, self.state);
            self.retire(&mut state, old, size, delay_ms);
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

    pub(super) fn promote(&self, why: &str) -> Verdict {
        let weight = weight(self.spec, self.state);
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
}
