//! Starts the process again and again, as its supervision allows.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::link::{Link, Out};
use super::session::{self, Left};
use super::{VARIABLE, WorkerSettings};
use crate::handle::Ending;
use crate::supervision::Restarts;

/// A process that has closed its socket ends by itself within this, and tells how; else it is killed.
const STATUS_WITHIN: Duration = Duration::from_millis(100);

/// What waits to be written; it outlives connections.
pub(super) struct Waiting {
    pub(super) queue: mpsc::UnboundedReceiver<Out>,
    /// Taken from the queue, not written yet.
    pub(super) batch: VecDeque<Out>,
}

pub(super) async fn supervise(
    link: Arc<Link>,
    queue: mpsc::UnboundedReceiver<Out>,
    settings: WorkerSettings,
) {
    // However this future ends, also with its runtime, the references close.
    let mut closing = CloseLink {
        link: Arc::clone(&link),
        ending: Ending::Aborted,
        reason: "its runtime has ended".to_owned(),
    };
    let mut waiting = Waiting {
        queue,
        batch: VecDeque::new(),
    };
    let mut restarts = Restarts::new(&settings.supervision);
    loop {
        let left = once(&link, &mut waiting, &settings).await;
        link.process_id.store(0, Ordering::Relaxed);
        let Left::Failed(reason) = left else {
            closing.ending = Ending::Aborted;
            closing.reason = "the worker was stopped".to_owned();
            return;
        };
        link.disconnected(&reason);
        let Some(wait) = restarts.next(Instant::now()) else {
            tracing::error!(%reason, "a worker process ended and does not start again");
            closing.ending = Ending::Failed(format!("its process ended: {reason}"));
            closing.reason = reason;
            return;
        };
        tracing::warn!(%reason, ?wait, "a worker process ended and starts again");
        tokio::select! {
            () = sleep(wait) => {}
            () = link.stop.cancelled() => {
                closing.reason = "the worker was stopped".to_owned();
                return;
            }
        }
    }
}

struct CloseLink {
    link: Arc<Link>,
    ending: Ending,
    reason: String,
}

impl Drop for CloseLink {
    fn drop(&mut self) {
        self.link.close(&self.ending, &self.reason);
    }
}

/// One process from its start to its end.
async fn once(link: &Arc<Link>, waiting: &mut Waiting, settings: &WorkerSettings) -> Left {
    let (mut child, socket) = match start(settings) {
        Ok(started) => started,
        Err(error) => return Left::Failed(format!("{}: {error}", settings.program.display())),
    };
    link.process_id.store(child.id().unwrap_or(0), Ordering::Relaxed);
    link.starts.fetch_add(1, Ordering::Relaxed);
    let left = session::run(link, waiting, settings, socket, &mut child).await;
    let within = match left {
        Left::Stopped => settings.stop_within,
        Left::Failed(_) => STATUS_WITHIN,
    };
    match (timeout(within, child.wait()).await, left) {
        (Ok(Ok(status)), Left::Failed(reason)) => Left::Failed(format!("{reason} ({status})")),
        (Ok(Ok(_)), Left::Stopped) => Left::Stopped,
        (_, left) => {
            // An error means that it is gone already.
            let _ = child.kill().await;
            left
        }
    }
}

fn start(settings: &WorkerSettings) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(&settings.program)
        .args(&settings.arguments)
        .env(VARIABLE, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // Standard output may be a protocol of this program.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}
