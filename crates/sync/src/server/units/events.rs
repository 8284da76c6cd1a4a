//! Events for everybody who has a session here.

use std::sync::Arc;

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
}

/// Every session listens; one copy of an event serves all.
#[derive(Debug)]
pub(in crate::server) struct Events {
    sender: broadcast::Sender<Arc<Published>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BEHIND_MAX),
        }
    }
}

impl Events {
    /// Tells everybody.
    pub(in crate::server) fn publish(&self, name: &str, payload: Bytes) {
        // An error says that nobody listens.
        let _ = self.sender.send(Arc::new(Published {
            name: name.to_owned(),
            payload,
        }));
    }

    pub(in crate::server) fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.sender.subscribe()
    }
}
