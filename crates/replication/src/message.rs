//! What copies of a document say to each other. A connection keeps order and loses nothing while it lives; when it
//! breaks, everything on the way is lost.

use std::sync::Arc;

use pointsman_crdt::{Digest, Map, State};

/// One message about one document.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Something has changed; answered by `Held` or `Refused`.
    Delta {
        /// Chosen by the sender.
        id: u64,
        /// What.
        state: Arc<State<Map>>,
        /// The sender takes the receiver for a holder, and relies on it. Otherwise it is for a follower.
        hold: bool,
    },
    /// The delta is joined.
    Held {
        /// Of the delta.
        id: u64,
        /// It is stored as well: the answering one is a holder.
        stored: bool,
    },
    /// The delta was not joined; it may be later.
    Refused {
        /// Of the delta.
        id: u64,
    },
    /// What the sender has; answered by any number of `Part`s and `Filled`.
    Digest {
        /// Chosen by the sender.
        id: u64,
        /// What it has.
        digest: Digest,
        /// All of that is stored: the sender is a holder.
        stored: bool,
        /// It wants what it lacks. One that only hands over does not: it would never be done.
        fill: bool,
        /// It wants to hear of changes from now on.
        follow: bool,
    },
    /// Part of what the sender of a digest lacks. Needs no answer.
    Part {
        /// What.
        state: Arc<State<Map>>,
    },
    /// All parts were sent.
    Filled {
        /// Of the digest.
        id: u64,
        /// What the answering one has.
        digest: Digest,
        /// All of that is stored: the answering one is a holder.
        stored: bool,
    },
    /// The sender no longer wants to hear of changes.
    Leave,
}

impl Message {
    /// Whether a member without a copy has to open one. Everything else answers a copy that is closed meanwhile.
    #[must_use]
    pub fn opens(&self) -> bool {
        matches!(self, Self::Delta { .. } | Self::Digest { .. })
    }
}
