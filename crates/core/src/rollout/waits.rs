//! What the phases wait for.

use std::collections::BTreeMap;

use super::advance::{Look, MOVING_POLL_MS, SCALING_POLL_MS, Verdict, hold};
use super::desired::desired;
use super::model::{
    Desired, Millis, Move, Note, Observed, Phase, Revision, Routed, Spec, Stage, State, Through, Traffic,
};
use super::sizes::{candidate_size, weight};
use super::text::span;

impl Look<'_> {
    pub(super) fn promotion(&self) -> Option<Through> {
        let candidate = self.candidate();
        self.spec
            .promotion
            .as_ref()
            .filter(|order| order.revision == candidate)
            .map(|order| order.through)
    }

    pub(super) fn promoted_fully(&self) -> bool {
        self.promotion() == Some(Through::Full)
    }

    /// `None` once the candidate has the pods that this state asks for.
    pub(super) fn scaled(&self, since: Millis, place: &str) -> Option<Verdict> {
        let candidate = self.candidate();
        let (ready, asked) = (self.ready(&candidate), candidate_size(self.spec, self.state));
        if ready >= asked {
            return None;
        }
        let end = since.plus(self.spec.progress_deadline_ms);
        if self.now >= end {
            let after = span(self.spec.progress_deadline_ms);
            return Some(self.abort(format!(
                "candidate {candidate}: {ready} of {asked} pods ready after {after}"
            )));
        }
        let wake = self.now.plus(SCALING_POLL_MS).min(end);
        Some(hold(
            format!("{place}{ready} of {asked} candidate pods ready"),
            Some(wake),
        ))
    }

    /// True when the candidate has traffic and not one ready pod, while the stable revision could take it.
    pub(super) fn lost(&self) -> bool {
        let ready =
            |revision: &Option<Revision>| revision.as_ref().is_some_and(|revision| self.ready(revision) > 0);
        weight(self.spec, self.state) > 0
            && candidate_size(self.spec, self.state) > 0
            && !ready(&self.state.candidate)
            && ready(&self.state.stable)
    }

    /// Takes new connections away from a candidate that was lost.
    pub(super) fn stop_traffic(&self, phase: Phase) -> Verdict {
        let state = State {
            phase,
            ..self.state.clone()
        };
        let note = Note {
            reason: "CandidateLost",
            warning: true,
            text: format!(
                "no pod of candidate {} is ready; new connections go to the stable revision until it is back",
                self.candidate()
            ),
        };
        Verdict::Go { state, note }
    }

    /// A hold while pods that were ready are not any more: nothing goes on, nothing is promoted.
    pub(super) fn short_of_pods(&self, place: &str) -> Option<Verdict> {
        let (ready, asked) = (
            self.ready(&self.candidate()),
            candidate_size(self.spec, self.state),
        );
        (ready < asked).then(|| {
            hold(
                format!("{place}: holding, {ready} of {asked} candidate pods ready"),
                Some(self.now.plus(SCALING_POLL_MS)),
            )
        })
    }

    /// The stage after the pods are ready.
    pub(super) fn after_scaling(&self) -> Stage {
        match self.spec.traffic {
            Traffic::Gateway => Stage::Routing,
            Traffic::Service => Stage::Moving,
        }
    }

    /// A hold while a route that was in force is not any more, or cannot be read: whoever is moved now may land
    /// anywhere. No deadline: not to know is no reason to go back.
    pub(super) fn unrouted_hold(&self, place: &str) -> Option<Verdict> {
        (!self.in_force()).then(|| {
            hold(
                format!("{place}: holding until the gateway reports the route again"),
                Some(self.now.plus(MOVING_POLL_MS)),
            )
        })
    }

    /// `None` once the weights of this state are in force.
    pub(super) fn routed(&self, since: Millis, place: &str) -> Option<Verdict> {
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

    pub(super) fn in_force(&self) -> bool {
        in_force(self.spec, &desired(self.spec, self.state), self.seen)
    }
}

fn in_force(spec: &Spec, desired: &Desired, seen: &Observed) -> bool {
    let weighty = |weights: &BTreeMap<Revision, u8>| -> BTreeMap<Revision, u8> {
        weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(revision, weight)| (revision.clone(), *weight))
            .collect()
    };
    match (&spec.traffic, &seen.routed) {
        // A Service has no report of its own: ready pods behind its selector are all there is.
        (Traffic::Service, _) => true,
        (Traffic::Gateway, Routed::Unknown) => false,
        (Traffic::Gateway, Routed::Known(weights)) => weighty(weights) == weighty(&desired.weights),
    }
}

/// The orders of `desired` that may be given now: the route that brings a moved session to its new revision is in
/// force, and a pod is ready there. Orders are levels, so one that is held back does no harm. An abort does not wait
/// for the gateway: the stable revision mostly had its own rule before, and whoever comes back is told again.
#[must_use]
pub fn movable(spec: &Spec, state: &State, desired: &Desired, seen: &Observed) -> Vec<Move> {
    let back = matches!(state.phase, Phase::Aborting { .. });
    if !back && !in_force(spec, desired, seen) {
        return Vec::new();
    }
    let ready = |revision: &Revision| seen.pods.get(revision).is_some_and(|pods| pods.ready > 0);
    desired
        .moves
        .iter()
        .filter(|order| ready(&order.to))
        .cloned()
        .collect()
}
