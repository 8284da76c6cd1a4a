//! Events for everybody who has a session here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::broadcast;

/// Events that a slow session may be behind; it is told how many it missed beyond that.
const BEHIND_MAX: usize = 1_024;
/// Bytes of one event at most: times [`BEHIND_MAX`] they are held in memory.
pub(in crate::server) const EVENT_BYTES_MAX: usize = 32 * 1024;

/// One event.
#[derive(Debug)]
pub(in crate::server) struct Published {
    pub(in crate::server) name: String,
    /// JSON.
    pub(in crate::server) payload: Bytes,
    /// Its place among the events that began here.
    pub(in crate::server) position: u64,
}

/// Every session listens; one copy of an event serves all.
#[derive(Debug)]
pub(in crate::server) struct Events {
    sender: broadcast::Sender<Arc<Published>>,
    position: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BEHIND_MAX),
            position: AtomicU64::new(0),
        }
    }
}

impl Events {
    /// Tells everybody. Positions count up from 1 on each replica.
    pub(in crate::server) fn publish(&self, name: &str, payload: Bytes) {
        let position = self.position.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // An error says that nobody listens.
        let _ = self.sender.send(Arc::new(Published {
            name: name.to_owned(),
            payload,
            position,
        }));
    }

    pub(in crate::server) fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.sender.subscribe()
    }
}
