//! State: sends all of it.

use std::sync::Arc;

use super::{Engine, ReceiveError, Settings};
use crate::clock::Clock;
use crate::context::Context;
use crate::dot::Replica;
use crate::error::OperationError;
use crate::state::State;
use crate::store::Crdt;

/// Sends the whole state, whenever asked.
#[derive(Debug)]
pub struct StateEngine<S> {
    settings: Settings,
    clock: Clock,
    state: Arc<State<S>>,
}

impl<S: Crdt> Engine<S> for StateEngine<S> {
    type Message = Arc<State<S>>;

    fn start(settings: Settings, state: State<S>) -> Self {
        Self {
            clock: Clock::after(settings.skew_max_ms, state.newest_stamp()),
            settings,
            state: Arc::new(state),
        }
    }

    fn state(&self) -> &State<S> {
        &self.state
    }

    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn update(&mut self, operation: &S::Operation) -> Result<Vec<Self::Message>, OperationError> {
        Arc::make_mut(&mut self.state).update(self.settings.replica, operation)?;
        Ok(Vec::new())
    }

    fn poll(&mut self, _neighbour: Replica) -> Vec<Self::Message> {
        vec![self.state.clone()]
    }

    fn receive(
        &mut self,
        _neighbour: Replica,
        message: &Self::Message,
        now_ms: u64,
    ) -> Result<Vec<Self::Message>, ReceiveError> {
        if let Some(stamp) = message.newest_stamp() {
            self.clock.observe(stamp, now_ms)?;
        }
        Arc::make_mut(&mut self.state).join(message)?;
        Ok(Vec::new())
    }

    fn forget(&mut self, _neighbour: Replica) {}

    fn retire(&mut self, replica: Replica) {
        Arc::make_mut(&mut self.state).retire(replica);
    }

    fn collect(&mut self, stable: &Context) {
        Arc::make_mut(&mut self.state).collect(stable);
    }
}
