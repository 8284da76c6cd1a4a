//! When following ends. Pure: from the Rollout as it is to an end, or to nothing yet.

use pointsman_api::rollout::{Memory, PhaseName, Rollout, RolloutStatus};

use crate::intent::{pending_retry, released};
use crate::view::{behind, line};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The revision is stable.
    Stable,
    /// It is held.
    Paused,
    /// Stable, or held: an order to go on was carried out.
    Rest,
    /// It is aborted.
    Aborted,
}

/// What following is for, and what it has seen.
#[derive(Clone, Debug)]
pub struct Goal {
    wanted: Wanted,
    /// The spec that must be answered.
    generation: i64,
    /// Revision to end with, when it is known beforehand.
    ends_with: Option<String>,
    /// The newest candidate that was on its way.
    candidate: Option<String>,
}

/// How following ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was wanted.
    Reached(String),
    /// Otherwise, and it will not get there by itself.
    Missed(String),
    /// Not in time; this is where it stood.
    Timeout(String),
}

impl Goal {
    /// Waits for that, on the spec of at least that generation.
    #[must_use]
    pub fn new(wanted: Wanted, generation: Option<i64>, ends_with: Option<String>) -> Self {
        Self {
            wanted,
            generation: generation.unwrap_or(0),
            ends_with,
            candidate: None,
        }
    }

    /// The end, if this is it. A status that answers an earlier spec says nothing.
    pub fn judge(&mut self, rollout: &Rollout) -> Option<Ended> {
        let status = rollout.status.clone().unwrap_or_default();
        if behind(rollout) || status.observed_generation.unwrap_or(0) < self.generation {
            return None;
        }
        let phase = status.phase?;
        let on_its_way = matches!(
            phase,
            PhaseName::Initializing
                | PhaseName::Stepping
                | PhaseName::Previewing
                | PhaseName::Promoting
                | PhaseName::Aborting
        );
        if on_its_way && status.candidate_revision.is_some() {
            self.candidate.clone_from(&status.candidate_revision);
        }
        match phase {
            PhaseName::Stable => self.stable(&status),
            PhaseName::Aborted => self.aborted(rollout, &status),
            _ => self.on_its_way(rollout, &status),
        }
    }

    fn stable(&self, status: &RolloutStatus) -> Option<Ended> {
        let stable = status.stable_revision.clone().unwrap_or_default();
        if self.ends_with.as_ref().is_some_and(|wanted| *wanted != stable) {
            // The way there has not begun.
            return None;
        }
        let said = format!("revision {stable} is stable");
        if self.ends_with.is_some() {
            return Some(Ended::Reached(said));
        }
        match (&self.candidate, self.wanted) {
            (Some(candidate), Wanted::Stable | Wanted::Rest | Wanted::Paused) if *candidate != stable => {
                Some(Ended::Missed(format!("{said}, {candidate} was withdrawn")))
            }
            // Withdrawn after the abort, faster than anybody looked.
            (Some(candidate), Wanted::Aborted) if *candidate != stable => {
                Some(Ended::Reached(format!("{said}, {candidate} is out")))
            }
            (_, Wanted::Stable | Wanted::Rest) => Some(Ended::Reached(said)),
            (_, Wanted::Paused) => Some(Ended::Missed(format!("{said}; there is no pause to wait for"))),
            (_, Wanted::Aborted) => Some(Ended::Missed(format!("{said}; it was not aborted"))),
        }
    }

    fn aborted(&self, rollout: &Rollout, status: &RolloutStatus) -> Option<Ended> {
        let revision = status.candidate_revision.clone().unwrap_or_default();
        let memory = memory(status);
        let elsewhere = self.ends_with.as_ref().is_some_and(|wanted| *wanted != revision);
        if elsewhere || pending_retry(rollout, &revision, memory.attempt.unwrap_or(1)) {
            return None;
        }
        let why = memory
            .reason
            .map_or_else(String::new, |reason| format!(": {reason}"));
        let said = format!("revision {revision} was aborted{why}");
        Some(if self.wanted == Wanted::Aborted {
            Ended::Reached(said)
        } else {
            Ended::Missed(said)
        })
    }

    fn on_its_way(&self, rollout: &Rollout, status: &RolloutStatus) -> Option<Ended> {
        let held = self.wanted == Wanted::Paused || self.wanted == Wanted::Rest;
        (held && waits(rollout, status)).then(|| Ended::Reached(line(rollout)))
    }

    /// Where it stands, when time is up.
    #[must_use]
    pub fn late(rollout: &Rollout) -> Ended {
        Ended::Timeout(line(rollout))
    }
}

fn memory(status: &RolloutStatus) -> Memory {
    status.memory.clone().unwrap_or_default()
}

/// True when nothing moves on until somebody says so.
fn waits(rollout: &Rollout, status: &RolloutStatus) -> bool {
    if rollout.spec.paused == Some(true) && status.phase != Some(PhaseName::Aborting) {
        return true;
    }
    let Some(revision) = status.candidate_revision.as_deref() else {
        return false;
    };
    let strategy = &rollout.spec.strategy;
    match status.phase {
        Some(PhaseName::Previewing) => {
            let automatic = strategy.blue_green.as_ref().and_then(|given| given.auto_promote);
            let ordered = rollout.spec.promotion.as_ref();
            memory(status).ready == Some(true)
                && automatic != Some(true)
                && ordered.is_none_or(|order| order.revision != revision)
        }
        Some(PhaseName::Stepping) => {
            let index = status.current_step.unwrap_or(0);
            let steps = strategy.canary.as_ref().map(|canary| &canary.steps);
            let step = steps
                .zip(usize::try_from(index).ok())
                .and_then(|(steps, at)| steps.get(at));
            step.and_then(|step| step.pause.as_ref())
                .is_some_and(|pause| pause.duration.is_none())
                && !released(rollout, revision, index)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_api::rollout::{Promotion, Retry, Through};
    use serde_json::json;

    fn rollout(phase: PhaseName, step: i32) -> Rollout {
        let spec = json!({"strategy": {"canary": {"steps": [{"setWeight": {"percent": 5}}, {"pause": {}}]}}});
        let mut rollout = Rollout::new("chat", serde_json::from_value(spec).unwrap());
        rollout.metadata.generation = Some(2);
        rollout.status = Some(RolloutStatus {
            observed_generation: Some(2),
            phase: Some(phase),
            stable_revision: Some("old".to_owned()),
            candidate_revision: Some("new".to_owned()),
            current_step: Some(step),
            ..RolloutStatus::default()
        });
        rollout
    }

    fn stable(revision: &str) -> Rollout {
        let mut rollout = rollout(PhaseName::Stable, 0);
        let status = rollout.status.as_mut().unwrap();
        status.stable_revision = Some(revision.to_owned());
        status.candidate_revision = None;
        rollout
    }

    /// The exit code after these looks, if there is one.
    fn after(wanted: Wanted, ends_with: Option<&str>, looks: &[Rollout]) -> Option<u8> {
        let mut goal = Goal::new(wanted, None, ends_with.map(str::to_owned));
        looks
            .iter()
            .find_map(|look| goal.judge(look))
            .map(|ended| match ended {
                Ended::Reached(_) => 0,
                Ended::Missed(_) => 1,
                Ended::Timeout(_) => 3,
            })
    }

    #[test]
    fn it_ends_where_it_is_told_to() {
        use PhaseName::{Aborted, Aborting, Promoting, Stepping};
        for (wanted, look, expected) in [
            (Wanted::Stable, rollout(Stepping, 1), None),
            (Wanted::Stable, rollout(Promoting, 0), None),
            (Wanted::Stable, stable("old"), Some(0)),
            (Wanted::Stable, rollout(Aborting, 0), None),
            (Wanted::Stable, rollout(Aborted, 0), Some(1)),
            (Wanted::Paused, rollout(Stepping, 0), None),
            (Wanted::Paused, rollout(Stepping, 1), Some(0)),
            (Wanted::Paused, stable("old"), Some(1)),
            (Wanted::Rest, rollout(Stepping, 1), Some(0)),
            (Wanted::Rest, stable("old"), Some(0)),
            (Wanted::Aborted, rollout(Aborted, 0), Some(0)),
            (Wanted::Aborted, stable("old"), Some(1)),
        ] {
            assert_eq!(
                after(wanted, None, std::slice::from_ref(&look)),
                expected,
                "{wanted:?} {look:?}"
            );
        }
    }

    #[test]
    fn stable_must_be_of_the_revision_that_was_on_its_way() {
        let looks = [rollout(PhaseName::Stepping, 0), stable("new")];
        assert_eq!(after(Wanted::Stable, None, &looks), Some(0));
        let looks = [rollout(PhaseName::Stepping, 0), stable("old")];
        assert_eq!(after(Wanted::Stable, None, &looks), Some(1));
        assert_eq!(after(Wanted::Aborted, None, &looks), Some(0));
    }

    #[test]
    fn a_status_that_answers_an_earlier_spec_ends_nothing() {
        let mut look = stable("old");
        look.metadata.generation = Some(3);
        assert_eq!(after(Wanted::Stable, None, &[look]), None);
        let mut goal = Goal::new(Wanted::Stable, Some(3), None);
        assert_eq!(goal.judge(&stable("old")), None, "an older object from a cache");
    }

    #[test]
    fn an_undo_ends_with_its_revision_only() {
        let looks = [stable("old"), rollout(PhaseName::Aborted, 0)];
        assert_eq!(after(Wanted::Rest, Some("first"), &looks), None);
        assert_eq!(after(Wanted::Rest, Some("first"), &[stable("first")]), Some(0));
        assert_eq!(
            after(
                Wanted::Rest,
                Some("old"),
                &[rollout(PhaseName::Aborting, 0), stable("old")]
            ),
            Some(0)
        );
    }

    #[test]
    fn an_order_that_has_not_acted_is_no_end() {
        let mut retried = rollout(PhaseName::Aborted, 0);
        retried.spec.retry = Some(Retry {
            revision: "new".to_owned(),
            attempt: 2,
        });
        assert_eq!(after(Wanted::Stable, None, &[retried]), None);
        let mut promoted = rollout(PhaseName::Stepping, 1);
        promoted.spec.promotion = Some(Promotion {
            revision: "new".to_owned(),
            through: Through::Step,
            step: Some(1),
        });
        assert_eq!(after(Wanted::Rest, None, &[promoted]), None);
        let mut held = rollout(PhaseName::Stepping, 0);
        held.spec.paused = Some(true);
        assert_eq!(after(Wanted::Paused, None, &[held]), Some(0));
    }
}
