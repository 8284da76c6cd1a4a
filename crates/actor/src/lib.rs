//! Actors with one interface over three places: a task of this runtime, a pool of threads, another process.
//!
//! The place is the one argument of [`spawn`] that changes. `docs/ACTORS.md` states what each place promises.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod actor;
mod context;
mod error;
mod handle;
mod mailbox;
mod place;
mod process;
mod reply;
mod runner;
mod settings;
mod supervision;
mod timers;

pub use actor::{Actor, Factory, Failure, Kind, MessageOf};
pub use context::Context;
pub use error::{
    AnswerError, AskError, Refusal, Retry, SendError, SpawnError, StopError, TimerError, TrySendError,
};
pub use handle::{Ending, Handle, State, Stop};
pub use mailbox::{ActorRef, WeakRef};
pub use place::{Place, Task, ThreadPool, spawn};
pub use process::{Registry, ServeError, Worker, WorkerSettings, is_worker, serve};
pub use reply::ReplyTo;
pub use settings::{Backoff, MAILBOX_MAX, Restart, Settings, Supervision};
pub use timers::Timer;

/// Keeps the example of the page compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/ACTORS.md")]
struct Page;
