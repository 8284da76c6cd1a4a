//! One reconcile can neither hang nor take the others down: kube-runtime ends a whole controller when one panics.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;

/// How a guarded future did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guarded {
    /// It panicked: a bug. The panic message is in the log.
    #[error("panicked; this is a bug, please report it with the log")]
    Panicked,
    /// It took too long.
    #[error("took longer than {0:?}")]
    Timeout(Duration),
}

/// Runs a future with a limit, and turns its panic into an error.
pub async fn guarded<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, Guarded> {
    match tokio::time::timeout(limit, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(Guarded::Panicked),
        Err(_) => Err(Guarded::Timeout(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn panics_and_hangs_become_errors() {
        let limit = Duration::from_secs(1);
        assert_eq!(guarded(limit, async { 1 }).await, Ok(1));
        assert_eq!(
            guarded(limit, async { panic!("on purpose") }).await,
            Err::<(), _>(Guarded::Panicked)
        );
        let hangs = std::future::pending::<()>();
        assert_eq!(guarded(limit, hangs).await, Err(Guarded::Timeout(limit)));
    }
}
