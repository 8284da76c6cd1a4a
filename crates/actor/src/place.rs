//! Where actors run.

mod threads;

use crate::actor::{Factory, MessageOf};
use crate::error::SpawnError;
use crate::handle::Handle;
use crate::mailbox::ActorRef;
use crate::runner;
use crate::settings::Settings;

pub use threads::ThreadPool;

/// Where an actor runs. It is the one argument of [`spawn`] that says so.
pub trait Place<F: Factory> {
    /// Starts an actor there; see [`spawn`].
    fn spawn(self, settings: Settings, factory: F) -> Result<(ActorRef<MessageOf<F>>, Handle), SpawnError>;
}

/// Starts an actor. Returns before it has started: messages wait in its mailbox meanwhile.
///
/// It runs until it is stopped, fails for good, its place ends or nobody refers to it.
pub fn spawn<F: Factory, P: Place<F>>(
    place: P,
    settings: Settings,
    factory: F,
) -> Result<(ActorRef<MessageOf<F>>, Handle), SpawnError> {
    settings.check()?;
    place.spawn(settings, factory)
}

/// A task of the tokio runtime of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Task;

impl<F: Factory> Place<F> for Task {
    fn spawn(self, settings: Settings, factory: F) -> Result<(ActorRef<MessageOf<F>>, Handle), SpawnError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        let (actor, handle, seat) = runner::open(settings, None);
        runtime.spawn(runner::run(factory, seat));
        Ok((actor, handle))
    }
}
