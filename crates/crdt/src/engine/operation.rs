//! Operations: causal broadcast with a log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Engine, ReceiveError, Settings};
use crate::clock::Clock;
use crate::context::Context;
use crate::dot::Replica;
use crate::error::{LimitError, OperationError};
use crate::state::State;
use crate::store::{Crdt, Join};

mod bytes;

/// What replicas send each other.
#[derive(Debug)]
pub enum OperationMessage<S: Crdt> {
    /// An effect, with its new dots and what its origin had seen before.
    Operation {
        /// Dots that name the operation.
        dots: Context,
        /// Everything that has to be delivered before.
        after: Context,
        /// What to do.
        effect: S::Effect,
    },
    /// Asks for what this context lacks.
    Ask {
        /// What the asker has.
        context: Context,
    },
    /// Answers when the log does not reach back far enough.
    State(State<S>),
}

/// Delivers effects once and in causal order.
#[derive(Debug)]
pub struct OperationEngine<S: Crdt> {
    settings: Settings,
    clock: Clock,
    state: State<S>,
    /// Delivered operations in an order that respects causality.
    log: VecDeque<Arc<OperationMessage<S>>>,
    /// Operations ahead of a gap, by their dots.
    waiting: BTreeMap<Context, Arc<OperationMessage<S>>>,
}

impl<S: Crdt> OperationEngine<S> {
    fn remember(&mut self, message: Arc<OperationMessage<S>>) {
        self.log.push_back(message);
        if self.log.len() > self.settings.buffer_max {
            self.log.pop_front();
        }
    }

    /// Delivers what can be; each delivery may free others. What is there in the order of dots goes in one pass.
    fn deliver(&mut self) {
        let mut delivered = true;
        while std::mem::take(&mut delivered) {
            for (dots, message) in std::mem::take(&mut self.waiting) {
                let OperationMessage::Operation { after, .. } = message.as_ref() else {
                    continue;
                };
                if self.is_known(&dots) {
                    continue;
                }
                if after.is_subset(&self.state.context) {
                    // What is beyond a bound is left out; it is asked for again.
                    delivered |= self.accept(&dots, message).is_ok();
                } else {
                    self.waiting.insert(dots, message);
                }
            }
        }
    }

    /// Whether any of the dots was seen: then the operation was delivered, or nothing that its origin may have sent.
    fn is_known(&self, dots: &Context) -> bool {
        dots.is_empty() || self.state.context.overlap(dots) > 0
    }

    /// Applies an operation whose turn it is.
    fn accept(&mut self, dots: &Context, message: Arc<OperationMessage<S>>) -> Result<(), LimitError> {
        if let OperationMessage::Operation { effect, .. } = message.as_ref() {
            let join = Join {
                mine: &self.state.context,
                theirs: dots,
                dropped: 0,
            };
            self.state.store.fits(&S::fragment(effect), &join)?;
            self.state.effect(effect);
            self.state.context.join(dots);
        }
        self.remember(message);
        Ok(())
    }

    /// What brings the owner of the context up to date.
    fn answer(&self, context: &Context) -> Vec<Arc<OperationMessage<S>>> {
        let mut lacks = self.state.context.difference(context);
        let mut messages = Vec::new();
        for message in &self.log {
            if let OperationMessage::Operation { dots, .. } = message.as_ref()
                && !dots.is_subset(context)
            {
                lacks = lacks.difference(dots);
                messages.push(message.clone());
            }
        }
        if lacks.is_empty() {
            messages
        } else {
            vec![Arc::new(OperationMessage::State(self.state.clone()))]
        }
    }
}

impl<S: Crdt> Engine<S> for OperationEngine<S> {
    type Message = Arc<OperationMessage<S>>;

    fn start(settings: Settings, state: State<S>) -> Self {
        let clock = Clock::after(settings.skew_max_ms, state.newest_stamp());
        Self {
            settings,
            clock,
            state,
            log: VecDeque::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn state(&self) -> &State<S> {
        &self.state
    }

    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn update(&mut self, operation: &S::Operation) -> Result<Vec<Self::Message>, OperationError> {
        let Some(effect) = self.state.prepare(self.settings.replica, operation)? else {
            return Ok(Vec::new());
        };
        let after = self.state.context.clone();
        self.state.effect(&effect);
        let dots = self.state.context.difference(&after);
        let message = Arc::new(OperationMessage::Operation { dots, after, effect });
        self.remember(message.clone());
        Ok(vec![message])
    }

    fn poll(&mut self, _neighbour: Replica) -> Vec<Self::Message> {
        vec![Arc::new(OperationMessage::Ask {
            context: self.state.context.clone(),
        })]
    }

    fn receive(
        &mut self,
        _neighbour: Replica,
        message: &Self::Message,
        now_ms: u64,
    ) -> Result<Vec<Self::Message>, ReceiveError> {
        match message.as_ref() {
            OperationMessage::Operation { dots, after, effect } => {
                if let Some(stamp) = State::<S>::delta_of(effect).newest_stamp() {
                    self.clock.observe(stamp, now_ms)?;
                }
                if self.is_known(dots) {
                    return Ok(Vec::new());
                }
                if after.is_subset(&self.state.context) {
                    self.accept(dots, message.clone())?;
                    self.deliver();
                } else if self.waiting.len() < self.settings.buffer_max {
                    // What does not fit is asked for again.
                    self.waiting.insert(dots.clone(), message.clone());
                }
                Ok(Vec::new())
            }
            OperationMessage::Ask { context } => Ok(self.answer(context)),
            OperationMessage::State(state) => {
                if let Some(stamp) = state.newest_stamp() {
                    self.clock.observe(stamp, now_ms)?;
                }
                self.state.join(state)?;
                self.deliver();
                Ok(Vec::new())
            }
        }
    }

    fn forget(&mut self, _neighbour: Replica) {}

    fn retire(&mut self, replica: Replica) {
        self.state.retire(replica);
        self.deliver();
    }

    fn collect(&mut self, stable: &Context) {
        self.state.collect(stable);
        self.log.retain(
            |message| !matches!(message.as_ref(), OperationMessage::Operation { dots, .. } if dots.is_subset(stable)),
        );
    }
}
