//! Who started an actor may watch it and end it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::StopError;
use crate::mailbox::Gate;

/// After an abort, an actor that awaits at all is gone within this.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

/// What an actor is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It has not started yet.
    Starting,
    /// It takes messages.
    Running,
    /// It has failed and waits for its next start; its mailbox takes messages.
    Restarting,
    /// It handles what its mailbox holds and takes no more.
    Draining,
    /// It has ended.
    Ended(Ending),
}

/// How an actor has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Somebody stopped it, or it stopped itself.
    Stopped,
    /// Nobody referred to it any more.
    Unreferenced,
    /// It was cut off: by the deadline of a stop, or with its place.
    Aborted,
    /// It failed and was not to start again.
    Failed(String),
}

/// How to end an actor. The deadline is for what it still does; then it is cut off where it awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It takes no more messages and handles those that wait.
    Drain(Duration),
    /// It ends after the message that it handles; those that wait are dropped.
    Now(Duration),
}

/// The order that stands; it only ever becomes more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    Drain(Instant),
    Now(Instant),
}

impl Order {
    pub(crate) fn of(stop: Stop) -> Self {
        let at = |within| Instant::now().checked_add(within).unwrap_or_else(far);
        match stop {
            Stop::Drain(within) => Self::Drain(at(within)),
            Stop::Now(within) => Self::Now(at(within)),
        }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Run => None,
            Self::Drain(at) | Self::Now(at) => Some(at),
        }
    }

    fn tighten(&mut self, other: Self) -> bool {
        let tighter = match (*self, other) {
            (Self::Run, other) => other,
            (same, Self::Run) => same,
            (Self::Drain(one), Self::Drain(two)) => Self::Drain(one.min(two)),
            (Self::Drain(one) | Self::Now(one), Self::Drain(two) | Self::Now(two)) => Self::Now(one.min(two)),
        };
        let changed = *self != tighter;
        *self = tighter;
        changed
    }
}

/// Thirty years from now, which every clock can tell.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 86_400)
}

/// Watches and ends an actor. Dropping it does neither.
#[derive(Clone)]
pub struct Handle {
    gate: Arc<Gate>,
    order: watch::Sender<Order>,
    state: watch::Receiver<State>,
    lost: Arc<AtomicU64>,
}

impl Handle {
    pub(crate) fn new(gate: Arc<Gate>) -> (Self, watch::Sender<State>) {
        let (state, seen) = watch::channel(State::Starting);
        let handle = Self {
            gate,
            order: watch::Sender::new(Order::Run),
            state: seen,
            lost: Arc::new(AtomicU64::new(0)),
        };
        (handle, state)
    }

    /// Name from the settings.
    pub fn name(&self) -> &str {
        &self.gate.name
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the state fulfils a condition, and gives that state; the last one when the actor has ended.
    pub async fn wait_for(&self, holds: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.clone();
        let found = state.wait_for(holds).await.map(|state| state.clone());
        found.unwrap_or_else(|_| self.state())
    }

    /// Waits until it has ended.
    pub async fn join(&self) -> Ending {
        match self.wait_for(|state| matches!(state, State::Ended(_))).await {
            State::Ended(ending) => ending,
            _ => Ending::Aborted,
        }
    }

    /// Asks it to end, without waiting; from now on it takes no more messages. A later order can only be more urgent.
    pub fn order_stop(&self, stop: Stop) {
        self.order
            .send_if_modified(|order| order.tighten(Order::of(stop)));
        self.gate.room.close();
        self.gate.ordered.wake();
    }

    /// Asks it to end and waits for it.
    pub async fn stop(&self, stop: Stop) -> Result<Ending, StopError> {
        self.order_stop(stop);
        let deadline = self.order.borrow().deadline().unwrap_or_else(far);
        let latest = deadline.checked_add(ABORT_WITHIN).unwrap_or(deadline);
        timeout_at(latest, self.join())
            .await
            .map_err(|_| StopError::Stuck)
    }

    /// Messages that went down with a worker process: sent and not reported as taken.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn lost_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Order> {
        self.order.subscribe()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Handle({}, {:?})", self.gate.name, self.state())
    }
}

/// Closes the mailbox and publishes the ending when it is dropped, however that comes: also with a runtime.
pub(crate) struct Closing {
    pub(crate) gate: Arc<Gate>,
    state: watch::Sender<State>,
    pub(crate) ending: Ending,
}

impl Closing {
    /// Without another word the ending is an abort.
    pub(crate) fn new(gate: Arc<Gate>, state: watch::Sender<State>) -> Self {
        Self {
            gate,
            state,
            ending: Ending::Aborted,
        }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_if_modified(|seen| {
            let changed = *seen != state;
            *seen = state;
            changed
        });
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.gate.room.close();
        self.state.send_replace(State::Ended(self.ending.clone()));
        self.gate.ended.cancel();
    }
}
