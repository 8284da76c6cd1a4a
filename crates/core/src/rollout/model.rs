//! The values that go in and out of the state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Milliseconds since the Unix epoch. The shell reads the clock once per reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub i64);

impl Millis {
    /// This time plus `span_ms`, saturating.
    #[must_use]
    pub fn plus(self, span_ms: i64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }
}

/// A revision: the versioned hash of a pod template, safe in object names and label values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A rollout as its owner wants it, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Revision of the pod template that the spec holds now.
    pub target: Revision,
    /// Pods at full size; zero is a legal wish.
    pub replicas: u32,
    /// How to get from one revision to the next.
    pub strategy: Strategy,
    /// What carries the traffic.
    pub traffic: Traffic,
    /// Set when the workload implements the session contract, so live sessions can be counted and moved.
    pub sessions: Option<Drain>,
    /// A candidate that is not ready after this long is aborted.
    pub progress_deadline_ms: i64,
    /// Old revisions kept at zero replicas, for undo.
    pub revision_history_limit: u32,
    /// While true no edge is taken but abort, no session is moved, and the clocks of the rollout stand still.
    pub paused: bool,
    /// The owner's order to go on, fenced by revision.
    pub promotion: Option<Promotion>,
    /// The owner's order to go back, fenced by revision.
    pub abort: Option<Abort>,
    /// The owner's order to try an aborted revision again.
    pub retry: Option<Retry>,
}

/// How a new revision takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Step by step.
    Canary {
        /// The steps, in order; none means straight to promotion.
        steps: Vec<CanaryStep>,
    },
    /// At once, after a preview.
    BlueGreen {
        /// Size of the preview before promotion; full size when absent.
        preview_replicas: Option<u32>,
        /// Promote as soon as the preview is ready.
        auto_promote: bool,
        /// The old side stays up this long after the switch, so that going back is instant.
        scale_down_delay_ms: i64,
    },
}

/// One step of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryStep {
    /// Give the candidate this share.
    SetWeight {
        /// 0 to 100.
        percent: u8,
        /// What the share is counted in.
        of: WeightUnit,
    },
    /// Hold: for a time, or until promoted when absent.
    Pause {
        /// How long.
        duration_ms: Option<i64>,
    },
}

/// What a weight is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUnit {
    /// Live sessions: they are moved until the share is met.
    Sessions,
    /// New connections only: nobody is moved.
    Connections,
}

/// What carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// An HTTPRoute that we own: exact weights, one pinned rule per live revision.
    Gateway,
    /// Plain Services: a selector switch, and the ratio of replicas for a canary. A session that is moved lands by
    /// chance while both revisions are selected, so the steps of a canary move nobody: the promotion does, once.
    Service,
}

/// How sessions are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Sessions told to move per second, over all pods together; at least 1.
    pub rate_per_second: u32,
    /// A move that is not done after this long is given up, and says so.
    pub deadline_ms: i64,
}

/// The owner's order to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Only this candidate is promoted.
    pub revision: Revision,
    /// How far.
    pub through: Through,
}

/// How far a promotion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Past the step with this index (and all before it); level-based, so it never acts twice.
    Step(u32),
    /// To the end.
    Full,
}

/// The owner's order to go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Only this candidate is aborted.
    pub revision: Revision,
    /// Why, in the owner's words.
    pub reason: String,
}

/// The owner's order to try an aborted revision again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Only this revision is tried again.
    pub revision: Revision,
    /// Acts when greater than [`State::attempt`].
    pub attempt: u32,
}

/// All that a rollout remembers: exactly what `.status` stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where the rollout is.
    pub phase: Phase,
    /// The revision that served last when everything was well.
    pub stable: Option<Revision>,
    /// The revision on its way in (or, when aborted, the one that failed).
    pub candidate: Option<Revision>,
    /// Revisions on their way out, oldest first.
    pub retired: Vec<Retired>,
    /// How often the present candidate was tried; the fence of [`Retry`].
    pub attempt: u32,
    /// Set while paused by [`Spec::paused`]: every time above stands still since then.
    pub paused_since: Option<Millis>,
}

/// Where a rollout is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Never looked at.
    #[default]
    Pending,
    /// The first revision (the candidate) is coming up; there is no stable one to protect.
    Initializing {
        /// Since when.
        since: Millis,
    },
    /// The spec's revision is the stable one.
    Stable,
    /// A canary is at a step.
    Stepping {
        /// Index of the step.
        step: u32,
        /// What the step waits for.
        stage: Stage,
        /// Since when.
        since: Millis,
    },
    /// Blue-green: the candidate is coming up or waits for promotion; it has no traffic.
    Previewing {
        /// True once the preview was ready.
        ready: bool,
        /// Since when.
        since: Millis,
    },
    /// The candidate takes all.
    Promoting {
        /// What the promotion waits for.
        stage: Stage,
        /// The share that stays in force while the candidate grows to full size.
        weight: u8,
        /// Since when.
        since: Millis,
    },
    /// Everything goes back to the stable revision.
    Aborting {
        /// Why.
        reason: String,
        /// The share that the candidate had, which its pods must carry until it is empty.
        weight: u8,
        /// Since when.
        since: Millis,
    },
    /// The candidate is gone and stays gone until the spec changes or a retry is asked for.
    Aborted {
        /// Why.
        reason: String,
    },
}

/// What a step or a promotion waits for: scaling, then routing (behind a gateway), then moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Enough candidate pods to be ready; routes are those of the step before.
    Scaling,
    /// The gateway to take the route of this weight. Nobody is moved before, or he would not land where he is sent.
    Routing,
    /// Sessions to be where the weight says (for a pause: the time to pass).
    Moving,
    /// The candidate lost every ready pod while it had traffic: new connections go to the stable revision until its
    /// pods are back (then the stage starts over) or the progress deadline passes (then it is aborted).
    Recovering,
}

/// A revision on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Which.
    pub revision: Revision,
    /// Since when.
    pub since: Millis,
    /// Kept until then, so that going back is instant.
    pub keep_until: Millis,
    /// Pods it keeps while it is on its way out.
    pub replicas: u32,
}

/// What the shell saw. Whatever it could not see is `Unknown`, which is never taken for good news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Pods per revision; a revision without a workload is absent.
    pub pods: BTreeMap<Revision, Pods>,
    /// Live sessions per revision. Absent or `Unknown`: nobody could count them. A pod without a running container
    /// has no sessions and counts as an answer of 0; otherwise one pod that never starts could hold up a promotion.
    pub sessions: BTreeMap<Revision, Count>,
    /// The weights that are in force, as the gateway reports them.
    pub routed: Routed,
}

/// A count that may not be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Every pod of the revision answered.
    Known(u32),
    /// At least one pod did not answer.
    #[default]
    Unknown,
}

/// Pods of one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Pods that exist, terminating ones included.
    pub total: u32,
    /// Pods that take traffic.
    pub ready: u32,
}

/// What the traffic layer reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Routed {
    /// Not accepted yet, or not readable.
    #[default]
    Unknown,
    /// Accepted and in force.
    Known(BTreeMap<Revision, u8>),
}

/// The outcome of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state to persist; equal to the old one when nothing moved.
    pub state: State,
    /// Look again at this time, even if nothing happens.
    pub wake: Option<Millis>,
    /// What happened, for events and metrics; empty when nothing moved.
    pub notes: Vec<Note>,
    /// One line for people: why the rollout is where it is and what happens next.
    pub message: String,
}

/// Something that happened. The shell makes Events and metrics of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// CamelCase reason, bounded set.
    pub reason: &'static str,
    /// True when somebody should look.
    pub warning: bool,
    /// A sentence.
    pub text: String,
}

/// The whole world the shell must apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Replicas per live revision. A workload of ours that is not named here goes to zero replicas, and is deleted
    /// beyond the history limit.
    pub workloads: BTreeMap<Revision, u32>,
    /// Weights of the route; they add up to 100, or the map is empty when nothing may be routed yet.
    pub weights: BTreeMap<Revision, u8>,
    /// Revisions with a rule of their own, so that a moved session lands at its first try. A revision that is being
    /// emptied has none: a client of it that reconnects goes where the weights say.
    pub pinned: BTreeSet<Revision>,
    /// The one revision that the main Service selects; `None` selects every revision (a canary by replica ratio, and
    /// only while no third revision has pods).
    pub selected: Option<Revision>,
    /// The revision that the preview Service selects (blue-green); `None`: no preview.
    pub preview: Option<Revision>,
    /// Sessions to move; at most one order per revision. A pod of a revision without an order keeps what it has.
    pub moves: Vec<Move>,
}

/// An order to move sessions off a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whose pods shed.
    pub from: Revision,
    /// Where the sessions go.
    pub to: Revision,
    /// Share of the live sessions of `from` and `to` together that stays on `from`, 0 to 100. A third revision on its
    /// way out does not count here, so it cannot push more sessions to the candidate than its share of the two; a step
    /// is done only when the share of *all* live sessions is right, that third revision included.
    pub keep_percent: u8,
}
