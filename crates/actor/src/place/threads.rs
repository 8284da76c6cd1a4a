//! A pool of threads with a runtime each.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle as Runtime};
use tokio_util::sync::CancellationToken;

use super::Place;
use crate::actor::{Factory, MessageOf};
use crate::error::SpawnError;
use crate::handle::Handle;
use crate::mailbox::ActorRef;
use crate::runner;
use crate::settings::Settings;

const THREADS_MAX: usize = 1_024;

/// Threads of the operating system, each with a runtime of its own. An actor stays on its thread for life.
///
/// Dropping it cuts off its actors where they await, and their references close.
pub struct ThreadPool {
    runtimes: Vec<Runtime>,
    threads: Vec<thread::JoinHandle<()>>,
    next: AtomicUsize,
    ended: CancellationToken,
}

impl ThreadPool {
    /// Starts 1 to 1,024 threads, named after the pool.
    pub fn new(name: &str, threads: usize) -> Result<Self, SpawnError> {
        if !(1..=THREADS_MAX).contains(&threads) || name.contains('\0') {
            return Err(SpawnError::Invalid {
                field: "threads or name",
                fix: format!("{threads} is not between 1 and {THREADS_MAX}, or the name has a zero byte"),
            });
        }
        let mut pool = Self {
            runtimes: Vec::new(),
            threads: Vec::new(),
            next: AtomicUsize::new(0),
            ended: CancellationToken::new(),
        };
        for number in 0..threads {
            let failed = |what: &str| {
                let what = format!("{what} {number} of pool {name}");
                move |source: io::Error| SpawnError::System { what, source }
            };
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(failed("runtime"))?;
            let (handle, ended) = (runtime.handle().clone(), pool.ended.clone());
            // The runtime is dropped on its own thread, and its actors with it.
            let thread = thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || runtime.block_on(ended.cancelled()))
                .map_err(failed("thread"))?;
            pool.runtimes.push(handle);
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Ends the threads and waits for them, which may take as long as a handler goes without awaiting. Not to be called
    /// from one of its own actors.
    pub fn shut_down(mut self) {
        self.ended.cancel();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ThreadPool({})", self.runtimes.len())
    }
}

impl<F: Factory> Place<F> for &ThreadPool {
    fn spawn(self, settings: Settings, factory: F) -> Result<(ActorRef<MessageOf<F>>, Handle), SpawnError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.runtimes.len().max(1);
        let Some(runtime) = self.runtimes.get(turn) else {
            return Err(SpawnError::PlaceEnded("the pool has no threads".to_owned()));
        };
        let (actor, handle, seat) = runner::open(settings, None);
        runtime.spawn(runner::run(factory, seat));
        Ok((actor, handle))
    }
}
