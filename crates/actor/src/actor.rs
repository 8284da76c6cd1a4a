//! What an actor is, and how one is made.

use std::fmt;
use std::future::{Future, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;

const REASON_BYTES_MAX: usize = 4_096;

/// State that one message at a time may change.
pub trait Actor: Send + 'static {
    /// What it takes.
    type Message: Send + 'static;

    /// Called at each start and restart, before the first message.
    fn started(
        &mut self,
        context: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = context;
        ready(Ok(()))
    }

    /// Called with one message. The next one waits until this future has ended, wherever it awaits.
    ///
    /// After an error or a panic the supervision decides; the message is gone and is not tried again.
    fn handle(
        &mut self,
        message: Self::Message,
        context: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Called once when it ends in order: stopped, or nobody refers to it any more. Not after a failure, an abort or the
    /// death of its process.
    fn stopped(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Makes the actor at each start and restart. Every `Fn() -> impl Actor` is one.
pub trait Factory: Send + Sync + 'static {
    /// What it makes.
    type Actor: Actor;

    /// Makes one. A panic counts as a failed start.
    fn make(&self) -> Self::Actor;
}

impl<A: Actor, F: Fn() -> A + Send + Sync + 'static> Factory for F {
    type Actor = A;

    fn make(&self) -> A {
        self()
    }
}

/// A factory that another process can run: it travels there as its start argument and is found by its name.
pub trait Kind: Factory + Serialize + DeserializeOwned {
    /// Names the kind in a [`Registry`](crate::Registry). It must not change while two builds talk to each other.
    const NAME: &'static str;
}

/// What the actors of a factory take.
pub type MessageOf<F> = <<F as Factory>::Actor as Actor>::Message;

/// Why an actor could not handle a message. Any error becomes one by `?`.
#[derive(Debug)]
pub struct Failure {
    reason: String,
}

impl Failure {
    /// With a reason for people, cut to 4 KiB.
    pub fn new(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self { reason }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Self::new(reason)
    }
}
