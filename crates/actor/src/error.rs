//! How things fail, and when doing them again may help.

use std::fmt;
use std::time::Duration;

/// When doing the same again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Later: nothing has been taken, so it cannot act twice.
    Later,
    /// Only if acting twice does no harm: it may have been handled.
    IfIdempotent,
    /// It fails again.
    Never,
}

/// Why a message cannot go to another process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is longer than the worker's `message_bytes_max`.
    #[error("{bytes} bytes are more than the worker's message_bytes_max of {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// It cannot be written as bytes.
    #[error("it cannot be serialised: {0}")]
    Unserialisable(String),
    /// Too many asks of that process are open.
    #[error("{0} reply addresses are open in that process; answer or drop some")]
    TooManyReplies(usize),
}

impl Refusal {
    fn retry(&self) -> Retry {
        match self {
            Self::TooManyReplies(_) => Retry::Later,
            Self::TooLarge { .. } | Self::Unserialisable(_) => Retry::Never,
        }
    }
}

/// Why a message was not sent. It holds the message. If that was for another process, its reply addresses may be spent.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// The actor has ended or takes no more.
    #[error("the actor takes no more messages")]
    Closed(M),
    /// The message cannot go to another process.
    #[error("the message cannot be sent: {1}")]
    Refused(M, Refusal),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Self::Closed(message) | Self::Refused(message, _) => message,
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Closed(_) => Retry::Never,
            Self::Refused(_, refusal) => refusal.retry(),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => formatter.write_str("Closed"),
            Self::Refused(_, refusal) => write!(formatter, "Refused({refusal:?})"),
        }
    }
}

/// Why a message was not sent at once. It holds the message. If that was for another process, its reply addresses may be
/// spent.
#[derive(thiserror::Error)]
pub enum TrySendError<M> {
    /// The mailbox has no room.
    #[error("the mailbox is full")]
    Full(M),
    /// The actor has ended or takes no more.
    #[error("the actor takes no more messages")]
    Closed(M),
    /// The message cannot go to another process.
    #[error("the message cannot be sent: {1}")]
    Refused(M, Refusal),
}

impl<M> TrySendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) | Self::Refused(message, _) => message,
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full(_) => Retry::Later,
            Self::Closed(_) => Retry::Never,
            Self::Refused(_, refusal) => refusal.retry(),
        }
    }
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => formatter.write_str("Full"),
            Self::Closed(_) => formatter.write_str("Closed"),
            Self::Refused(_, refusal) => write!(formatter, "Refused({refusal:?})"),
        }
    }
}

impl<M> From<SendError<M>> for TrySendError<M> {
    fn from(error: SendError<M>) -> Self {
        match error {
            SendError::Closed(message) => Self::Closed(message),
            SendError::Refused(message, refusal) => Self::Refused(message, refusal),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The mailbox had no room until the deadline; the question was not sent.
    #[error("the mailbox was full until the deadline; the question was not sent")]
    Full,
    /// The actor has ended or takes no more; the question was not sent.
    #[error("the actor takes no more messages; the question was not sent")]
    Closed,
    /// The question was sent and the deadline passed. It may be handled still.
    #[error("no answer until the deadline; the question may be handled still")]
    Deadline,
    /// The reply address is gone: dropped by the actor, by its failure or end, or with its process.
    #[error("the reply address was dropped; the question may have been handled")]
    NoAnswer,
    /// The question cannot go to another process.
    #[error("the question cannot be sent: {0}")]
    Refused(Refusal),
}

impl AskError {
    /// When to ask again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full => Retry::Later,
            Self::Closed => Retry::Never,
            Self::Deadline | Self::NoAnswer => Retry::IfIdempotent,
            Self::Refused(refusal) => refusal.retry(),
        }
    }
}

/// Why an answer did not go out. Never retry: the reply address is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nobody waits any more. An asker in another process may be gone without this error.
    #[error("nobody waits for the answer any more")]
    Gone,
    /// The answer cannot go to another process; the asker sees [`AskError::NoAnswer`].
    #[error("the answer cannot be sent: {0}")]
    Refused(Refusal),
}

/// Why an actor or a worker was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A setting cannot be used.
    #[error("settings: {field}: {fix}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// What is wrong with its value.
        fix: String,
    },
    /// There is no tokio runtime here.
    #[error("there is no tokio runtime here; call this from a task of one")]
    NoRuntime,
    /// The thread pool or the worker has ended.
    #[error("the place has ended: {0}")]
    PlaceEnded(String),
    /// The actor keeps as many children as its settings allow.
    #[error("the actor has {0} children already; raise settings.children or stop some")]
    TooManyChildren(usize),
    /// The start argument cannot go to another process.
    #[error("the start argument cannot be sent: {0}")]
    Refused(Refusal),
    /// The system refuses a thread, a runtime or a program.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Its words.
        source: std::io::Error,
    },
}

impl SpawnError {
    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TooManyChildren(_) | Self::System { .. } => Retry::Later,
            Self::Refused(refusal) => refusal.retry(),
            Self::Invalid { .. } | Self::NoRuntime | Self::PlaceEnded(_) => Retry::Never,
        }
    }
}

/// Why an actor cannot send itself a message later.
#[derive(thiserror::Error)]
pub enum TimerError<M> {
    /// As many are due as the settings allow. Retry later.
    #[error("{1} messages are due already; raise settings.timers or cancel some")]
    TooMany(M, usize),
    /// The delay is longer than the clock can tell. Never retry.
    #[error("a delay of {1:?} is too long")]
    TooLong(M, Duration),
}

impl<M> TimerError<M> {
    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TooMany(..) => Retry::Later,
            Self::TooLong(..) => Retry::Never,
        }
    }
}

impl<M> fmt::Debug for TimerError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why an actor has not ended. Never retry: only the end of its thread or process frees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The deadline has passed and its handler holds the thread without awaiting.
    #[error("the handler holds its thread beyond the deadline without awaiting")]
    Stuck,
}
