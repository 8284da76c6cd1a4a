//! References to actors, and the room in their mailboxes.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{AskError, SendError, TrySendError};
use crate::handle::far;
use crate::reply::ReplyTo;

/// What a mailbox shares with its actor, without keeping it alive.
pub(crate) struct Gate {
    pub(crate) name: Arc<str>,
    /// One permit for each message that still fits. A permit comes back when the actor takes a message. Closed when no
    /// more are taken.
    pub(crate) room: Semaphore,
    /// Wakes the actor for an order.
    pub(crate) ordered: AtomicWaker,
    pub(crate) ended: CancellationToken,
}

impl Gate {
    pub(crate) fn new(name: &str, mailbox: usize) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::from(name),
            room: Semaphore::new(mailbox),
            ordered: AtomicWaker::new(),
            ended: CancellationToken::new(),
        })
    }
}

/// Takes messages to an actor in another process; dropped with the last reference.
pub(crate) trait Outbox<M>: Send + Sync {
    fn push(&self, message: M) -> Result<(), SendError<M>>;
}

pub(crate) enum Queue<M> {
    /// Bounded by the permits of the gate.
    Here(mpsc::UnboundedSender<M>),
    There(Box<dyn Outbox<M>>),
}

pub(crate) struct Mailbox<M> {
    gate: Arc<Gate>,
    queue: Queue<M>,
}

impl<M> Mailbox<M> {
    /// Uses up the permit, unless nothing is sent.
    fn push(&self, permit: SemaphorePermit<'_>, message: M) -> Result<(), SendError<M>> {
        match &self.queue {
            Queue::Here(queue) => queue.send(message).map_err(|error| SendError::Closed(error.0))?,
            Queue::There(outbox) => outbox.push(message)?,
        }
        permit.forget();
        Ok(())
    }
}

/// Refers to an actor, wherever it is, and keeps it alive. Cheap to clone.
///
/// Messages of one sender arrive in their order. Each is handled at most once.
pub struct ActorRef<M>(Arc<Mailbox<M>>);

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ActorRef({})", self.0.gate.name)
    }
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) fn new(gate: Arc<Gate>, queue: Queue<M>) -> Self {
        Self(Arc::new(Mailbox { gate, queue }))
    }

    /// Name from the settings.
    pub fn name(&self) -> &str {
        &self.0.gate.name
    }

    /// Sends; waits for room in the mailbox. Who waits first is served first.
    ///
    /// Dropping the future before it ends sends nothing. That it is sent does not mean that it will be handled: see
    /// [`Handle::lost`](crate::Handle::lost).
    pub async fn send(&self, message: M) -> Result<(), SendError<M>> {
        match self.0.gate.room.acquire().await {
            Ok(permit) => self.0.push(permit, message),
            Err(_closed) => Err(SendError::Closed(message)),
        }
    }

    /// Sends at once or not at all.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        match self.0.gate.room.try_acquire() {
            Ok(permit) => Ok(self.0.push(permit, message)?),
            Err(TryAcquireError::NoPermits) => Err(TrySendError::Full(message)),
            Err(TryAcquireError::Closed) => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends what `make` makes of a reply address, and waits for the answer; both within the deadline.
    pub async fn ask<R>(
        &self,
        deadline: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, AskError> {
        let (reply, answer) = ReplyTo::channel();
        let mut timeout = pin!(sleep_until(
            Instant::now().checked_add(deadline).unwrap_or_else(far)
        ));
        let sent = tokio::select! {
            biased;
            sent = self.send(make(reply)) => sent,
            () = &mut timeout => return Err(AskError::Full),
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Closed(_)) => return Err(AskError::Closed),
            Err(SendError::Refused(_, refusal)) => return Err(AskError::Refused(refusal)),
        }
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| AskError::NoAnswer),
            () = &mut timeout => Err(AskError::Deadline),
        }
    }

    /// A reference that does not keep the actor alive.
    pub fn downgrade(&self) -> WeakRef<M> {
        WeakRef(Arc::downgrade(&self.0))
    }

    /// Whether it takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.0.gate.room.is_closed()
    }

    /// Waits until it has ended.
    pub async fn closed(&self) {
        self.0.gate.ended.cancelled().await;
    }
}

/// Refers to an actor without keeping it alive.
pub struct WeakRef<M>(pub(crate) Weak<Mailbox<M>>);

impl<M> WeakRef<M> {
    /// A reference, while anybody else has one.
    pub fn upgrade(&self) -> Option<ActorRef<M>> {
        self.0.upgrade().map(ActorRef)
    }
}

impl<M> Clone for WeakRef<M> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<M> fmt::Debug for WeakRef<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WeakRef")
    }
}
