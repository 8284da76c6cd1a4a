//! What an actor may do about itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Factory, MessageOf};
use crate::error::{SpawnError, TimerError};
use crate::handle::{Ending, Handle, State, Stop};
use crate::mailbox::{ActorRef, WeakRef};
use crate::place::{Place, spawn};
use crate::settings::Settings;
use crate::timers::{Timer, Timers};

/// An actor's own name, reference, timers and children.
pub struct Context<M> {
    name: Arc<str>,
    this: WeakRef<M>,
    pub(crate) stopping: bool,
    pub(crate) timers: Timers<M>,
    children: Vec<Child>,
    children_max: usize,
    children_deadline: Duration,
}

/// Told to end when it is dropped, whatever ends the parent.
struct Child(Handle, Duration);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.order_stop(Stop::Now(self.1));
    }
}

impl<M: Send + 'static> Context<M> {
    pub(crate) fn new(name: Arc<str>, this: WeakRef<M>, settings: &Settings) -> Self {
        Self {
            name,
            this,
            stopping: false,
            timers: Timers::new(settings.timers),
            children: Vec::new(),
            children_max: settings.children,
            children_deadline: settings.children_deadline,
        }
    }

    /// Name from the settings.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The actor's own reference, which does not keep it alive.
    pub fn this(&self) -> WeakRef<M> {
        self.this.clone()
    }

    /// Ends the actor after this message; messages that wait are dropped.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Sends this actor a message later, past its mailbox. It is dropped when the actor restarts or ends; it does not
    /// keep the actor alive.
    pub fn send_after(&mut self, delay: Duration, message: M) -> Result<Timer, TimerError<M>> {
        self.timers.add(delay, message)
    }

    /// Takes back a message that is not due yet.
    pub fn cancel(&mut self, timer: Timer) -> Option<M> {
        self.timers.cancel(timer)
    }

    /// Spawns an actor that ends with this one, and before it restarts.
    pub fn spawn<F: Factory, P: Place<F>>(
        &mut self,
        place: P,
        settings: Settings,
        factory: F,
    ) -> Result<(ActorRef<MessageOf<F>>, Handle), SpawnError> {
        if self.children.len() >= self.children_max {
            self.children
                .retain(|child| !matches!(child.0.state(), State::Ended(_)));
        }
        if self.children.len() >= self.children_max {
            return Err(SpawnError::TooManyChildren(self.children_max));
        }
        let (actor, handle) = spawn(place, settings, factory)?;
        self.children.push(Child(handle.clone(), self.children_deadline));
        Ok((actor, handle))
    }

    /// Ends what belongs to one life of the actor. All children are told first, then awaited.
    pub(crate) async fn end_life(&mut self) {
        self.timers.clear();
        let children = std::mem::take(&mut self.children);
        for child in &children {
            child.0.order_stop(Stop::Now(child.1));
        }
        for child in &children {
            let ended = child.0.stop(Stop::Now(child.1)).await;
            if !matches!(
                ended,
                Ok(Ending::Stopped | Ending::Unreferenced | Ending::Failed(_))
            ) {
                tracing::warn!(actor = %self.name, child = %child.0.name(), ?ended, "a child did not end in order");
            }
        }
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Context({})", self.name)
    }
}
