//! Revisions on their way out.

use super::advance::{Look, MOVING_POLL_MS};
use super::model::{Count, Millis, Note, Retired, Revision, Routed, State, Step, Strategy, Traffic};

impl Look<'_> {
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
    pub(super) fn clean_up(&self, message: String, wake: Option<Millis>) -> Step {
        let mut next = wake;
        for (index, retired) in self.state.retired.iter().enumerate() {
            let keep_until = self.keep_until(retired);
            let empty = self.spec.sessions.is_none() || self.sessions(&retired.revision) == Count::Known(0);
            let given_up = self
                .spec
                .sessions
                .is_some_and(|drain| self.now >= keep_until.plus(drain.deadline_ms));
            if self.now >= keep_until && (empty || given_up) && self.unrouted(&retired.revision) {
                return self.let_go(index, &retired.revision, empty, message);
            }
            let look = keep_until.max(self.now.plus(MOVING_POLL_MS));
            next = Some(next.map_or(look, |wake| wake.min(look)));
        }
        Step {
            state: self.state.clone(),
            wake: next,
            notes: Vec::new(),
            message,
        }
    }

    fn let_go(&self, index: usize, revision: &Revision, empty: bool, message: String) -> Step {
        let mut state = self.state.clone();
        state.retired.remove(index);
        let text = if empty {
            format!("old revision {revision} is scaled down")
        } else {
            format!("old revision {revision} is scaled down at its deadline, sessions or not")
        };
        Step {
            state,
            wake: Some(self.now),
            notes: vec![Note {
                reason: "RevisionRetired",
                warning: !empty,
                text,
            }],
            message,
        }
    }

    /// A reserve for an instant way back is a matter of blue-green; under a canary it would only be in the way.
    pub(super) fn keep_until(&self, retired: &Retired) -> Millis {
        match self.spec.strategy {
            Strategy::BlueGreen { .. } => retired.keep_until,
            Strategy::Canary { .. } => retired.since.min(retired.keep_until),
        }
    }

    /// True when the traffic layer says that nothing goes there any more; pods behind a live route stay.
    fn unrouted(&self, revision: &Revision) -> bool {
        match (&self.spec.traffic, &self.seen.routed) {
            (Traffic::Service, _) => true,
            (Traffic::Gateway, Routed::Unknown) => false,
            (Traffic::Gateway, Routed::Known(weights)) => {
                weights.get(revision).is_none_or(|weight| *weight == 0)
            }
        }
    }
}
