//! Three ways to bring replicas together over one trait set; `docs/CRDT.md` §5. Sans I/O: messages in, messages out.
//!
//! The caller makes the state durable before it sends what an engine gives out. Links may lose, repeat and reorder.

use crate::clock::Clock;
use crate::context::Context;
use crate::dot::Replica;
use crate::error::{LimitError, OperationError, Retry, SkewError};
use crate::state::State;
use crate::store::Crdt;

mod delta;
mod operation;
mod state;

pub use delta::{DeltaEngine, DeltaMessage};
pub use operation::{OperationEngine, OperationMessage};
pub use state::StateEngine;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this is.
    pub replica: Replica,
    /// Different at each start of the process, such as a stamp.
    pub epoch: u64,
    /// How far another replica's clock may be ahead, in milliseconds.
    pub skew_max_ms: u64,
    /// Bound on deltas kept for neighbours, or operations kept in the log or waiting.
    pub buffer_max: usize,
}

impl Settings {
    /// Usual bounds.
    #[must_use]
    pub fn new(replica: Replica, epoch: u64) -> Self {
        Self {
            replica,
            epoch,
            skew_max_ms: 500,
            buffer_max: 4096,
        }
    }
}

/// Why a message was not taken. The state is unchanged and nothing was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// A clock is ahead; the same message may be taken later.
    #[error(transparent)]
    Skew(#[from] SkewError),
    /// A bound was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl ReceiveError {
    /// What to do about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Skew(_) => Retry::Later,
            Self::Limit(_) => Retry::Never,
        }
    }
}

/// One replica of one state.
pub trait Engine<S: Crdt> {
    /// What goes to other replicas.
    type Message: Clone + std::fmt::Debug;

    /// Starts from a stored state; an empty one for a new replica.
    fn start(settings: Settings, state: State<S>) -> Self;

    /// The state.
    fn state(&self) -> &State<S>;

    /// Makes stamps; tick it for registers.
    fn clock(&mut self) -> &mut Clock;

    /// Applies an operation. What it gives may be sent to every neighbour at once.
    ///
    /// # Errors
    /// When the operation is not possible here and now.
    fn update(&mut self, operation: &S::Operation) -> Result<Vec<Self::Message>, OperationError>;

    /// What to send to a neighbour now; called after changes and from time to time, so lost messages are made good.
    fn poll(&mut self, neighbour: Replica) -> Vec<Self::Message>;

    /// Takes a neighbour's message; gives the answers to it.
    ///
    /// # Errors
    /// When the message may not be joined.
    fn receive(
        &mut self,
        neighbour: Replica,
        message: &Self::Message,
        now_ms: u64,
    ) -> Result<Vec<Self::Message>, ReceiveError>;

    /// The neighbour is gone for good.
    fn forget(&mut self, neighbour: Replica);

    /// Every member holds all that a slot's incarnation did, and it does no more.
    fn retire(&mut self, replica: Replica);

    /// Collects what nobody needs once the context is stable.
    fn collect(&mut self, stable: &Context);
}
