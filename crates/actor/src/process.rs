//! Actors in another process, over a pair of connected Unix sockets: one end is the worker's standard input.
//!
//! The pair has no name in the file system, so there is nothing to protect, to clean up or to connect to.

mod frame;
mod host;
mod link;
mod serve;
mod session;
mod supervisor;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::actor::{Kind, MessageOf};
use crate::error::{Refusal, SpawnError};
use crate::handle::Handle;
use crate::mailbox::{ActorRef, Gate, Outbox, Queue};
use crate::place::Place;
use crate::settings::{Settings, Supervision};
use link::{Link, Out, RemoteOutbox};

pub use serve::{Registry, ServeError, is_worker, serve};

/// Set for a worker, so that the program knows what it is started for.
const VARIABLE: &str = "POINTSMAN_ACTOR_WORKER";
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// How a worker process is started and kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// A program that calls [`serve`] when [`is_worker`] says so. It is of the same build as this one: messages carry no
    /// description of themselves.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What happens when the process ends by itself. Its actors start again with it, unless they never restart.
    pub supervision: Supervision,
    /// The longest message, start argument or answer as bytes, 1 to 1 GiB. A mailbox may hold so much for each message.
    pub message_bytes_max: usize,
    /// How long the process has to say that it is there.
    pub start_within: Duration,
    /// How long the process has to end its actors, before it is killed.
    pub stop_within: Duration,
}

impl WorkerSettings {
    /// A worker from this program, which restarts after failures.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            supervision: Supervision::restart(),
            message_bytes_max: 1 << 20,
            start_within: Duration::from_secs(10),
            stop_within: Duration::from_secs(5),
        }
    }

    /// A worker from the program that is running.
    pub fn same_program() -> Result<Self, SpawnError> {
        let found = std::env::current_exe();
        let program = found.map_err(|source| SpawnError::System {
            what: "path of this program".to_owned(),
            source,
        })?;
        Ok(Self::new(program))
    }

    fn check(&self) -> Result<(), SpawnError> {
        if !(1..=MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            return Err(SpawnError::Invalid {
                field: "message_bytes_max",
                fix: format!(
                    "{} is not between 1 and {MESSAGE_BYTES_MAX}",
                    self.message_bytes_max
                ),
            });
        }
        self.supervision.check()
    }
}

/// A process that runs actors. It is started at once, and again after its failures.
///
/// Dropping it ends the process and its actors in the background. When this process ends, however it does, the worker
/// reads the end of its socket and ends too.
pub struct Worker {
    link: Arc<Link>,
}

impl Worker {
    /// Starts supervising a process on the tokio runtime of the caller. Returns before the process is there: messages
    /// wait meanwhile.
    pub fn start(settings: WorkerSettings) -> Result<Self, SpawnError> {
        settings.check()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        let (sender, queue) = mpsc::unbounded_channel();
        let link = Arc::new(Link::new(sender, settings.message_bytes_max, runtime.clone()));
        runtime.spawn(supervisor::supervise(Arc::clone(&link), queue, settings));
        Ok(Self { link })
    }

    /// Number of the process that runs now, if one does.
    pub fn process_id(&self) -> Option<u32> {
        Some(self.link.process_id.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }

    /// How often a process has been started.
    pub fn starts(&self) -> u64 {
        self.link.starts.load(Ordering::Relaxed)
    }

    /// Whether no process runs here any more, nor will.
    pub fn is_ended(&self) -> bool {
        self.link.ended.is_cancelled()
    }

    /// Waits until no process runs here any more, nor will.
    pub async fn ended(&self) {
        self.link.ended.cancelled().await;
    }

    /// Ends its actors in order, then the process. After `stop_within` it is killed.
    pub async fn stop(&self) {
        self.link.stop.cancel();
        self.ended().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.link.stop.cancel();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Worker({:?})", self.process_id())
    }
}

impl<K: Kind> Place<K> for &Worker
where
    MessageOf<K>: Serialize,
{
    fn spawn(self, settings: Settings, factory: K) -> Result<(ActorRef<MessageOf<K>>, Handle), SpawnError> {
        let argument = postcard::to_allocvec(&factory)
            .map_err(|error| SpawnError::Refused(Refusal::Unserialisable(error.to_string())))?;
        let (bytes, max) = (argument.len(), self.link.message_bytes_max);
        if bytes > max {
            return Err(SpawnError::Refused(Refusal::TooLarge { bytes, max }));
        }
        let gate = Gate::new(&settings.name, settings.mailbox);
        let (handle, state) = Handle::new(Arc::clone(&gate));
        let number = self
            .link
            .add(K::NAME, settings, argument, &gate, state, &handle)?;
        let outbox: Box<dyn Outbox<MessageOf<K>>> =
            Box::new(RemoteOutbox::new(number, Arc::clone(&self.link)));
        self.link.push(Out::Start(number));
        Ok((ActorRef::new(gate, Queue::There(outbox)), handle))
    }
}
