//! What the tasks of a replica share. Locks are held for map operations only, never across an await.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Options;
use crate::document::{Refused, Rooms};

/// Deltas that may wait for one peer; more make the write fail for now.
pub(super) const PEER_QUEUE_MAX: usize = 1_024;
/// How long a write waits for another replica.
const HELD_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: Options,
    pub(super) replica: u64,
    rooms: Mutex<Rooms>,
    values: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    sessions: Mutex<BTreeMap<u64, SessionHandle>>,
    peers: Mutex<BTreeMap<u64, PeerHandle>>,
    order: Mutex<Standing>,
    stopping: AtomicBool,
    pub(super) changed: Notify,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) handshakes: AtomicU64,
    sessions: AtomicU64,
}

#[derive(Debug)]
struct SessionHandle {
    control: mpsc::Sender<Told>,
    told: Option<Instant>,
}

/// What a session's task is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Move { next: String },
    Cut,
}

#[derive(Clone, Debug)]
pub(super) struct PeerHandle {
    pub(super) queue: mpsc::Sender<Job>,
}

/// Something a peer must hold; `held` is answered when it does.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) delta: Arc<Rooms>,
    pub(super) held: oneshot::Sender<()>,
}

/// The order that stands, and until when.
#[derive(Clone, Debug, Default)]
struct Standing {
    order: Order,
    /// Orders are repeated while they stand, so one that is not has lost its operator. `None`: for ever.
    until: Option<Instant>,
}

/// The last order: a level, so that repeating it changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Order {
    /// Sessions that stay; `None`: all, there is no order.
    pub(super) keep: Option<u32>,
    /// Time between two sessions told to move.
    #[serde(default)]
    pub(super) interval_ms: u64,
    /// Revision that they move to.
    #[serde(default)]
    pub(super) to: String,
}

/// Why a write was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("no other replica holds the write yet; send it again")]
    NotHeld,
}

impl Hub {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            replica: rand::random::<u64>() >> 1,
            rooms: Mutex::default(),
            values: Mutex::default(),
            sessions: Mutex::default(),
            peers: Mutex::default(),
            order: Mutex::default(),
            stopping: AtomicBool::new(false),
            changed: Notify::new(),
            counts: Counts::default(),
        }
    }

    // === sessions ===

    /// Registers a session; `None` when there are too many.
    pub(super) fn open_session(&self) -> Option<(u64, mpsc::Receiver<Told>)> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.options.sessions_max {
            return None;
        }
        let id = self.counts.sessions.fetch_add(1, Ordering::Relaxed);
        // Two places: a session is told to move once and cut once.
        let (control, told) = mpsc::channel(2);
        sessions.insert(id, SessionHandle { control, told: None });
        drop(sessions);
        self.changed.notify_waiters();
        Some((id, told))
    }

    pub(super) fn close_session(&self, id: u64) {
        lock(&self.sessions).remove(&id);
        self.changed.notify_waiters();
    }

    pub(super) fn open(&self) -> usize {
        lock(&self.sessions).len()
    }

    pub(super) fn told(&self) -> usize {
        lock(&self.sessions)
            .values()
            .filter(|session| session.told.is_some())
            .count()
    }

    /// Tells one session more than the order keeps; nobody is told twice. False when there is none to tell.
    pub(super) fn tell_one(&self) -> bool {
        let order = self.order();
        let Some(keep) = order.keep.and_then(|keep| usize::try_from(keep).ok()) else {
            return false;
        };
        let mut sessions = lock(&self.sessions);
        let untold = sessions.values().filter(|session| session.told.is_none()).count();
        if untold <= keep {
            return false;
        }
        let Some(session) = sessions.values_mut().find(|session| session.told.is_none()) else {
            return false;
        };
        session.told = Some(Instant::now());
        if session.control.try_send(Told::Move { next: order.to }).is_ok() {
            self.counts.drained.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    pub(super) fn order(&self) -> Order {
        let standing = lock(&self.order);
        match standing.until {
            Some(until) if Instant::now() >= until => Order::default(),
            Some(_) | None => standing.order.clone(),
        }
    }

    /// Takes an order of the operator. A replica that ends has its own, which nobody takes back.
    pub(super) fn set_order(&self, order: Order) {
        if self.ready() {
            let until = Some(Instant::now() + self.options.order_within);
            *lock(&self.order) = Standing { order, until };
            self.changed.notify_waiters();
        } else if !order.to.is_empty() {
            // Where to is still worth knowing.
            lock(&self.order).order.to = order.to;
        }
    }

    pub(super) fn order_everybody_out(&self) {
        let to = lock(&self.order).order.to.clone();
        let interval_ms = u64::try_from(self.options.drain_interval.as_millis()).unwrap_or(u64::MAX);
        let order = Order {
            keep: Some(0),
            interval_ms,
            to,
        };
        *lock(&self.order) = Standing { order, until: None };
        self.changed.notify_waiters();
    }

    pub(super) fn cut_everybody(&self) {
        for session in lock(&self.sessions).values() {
            let _ = session.control.try_send(Told::Cut);
        }
    }

    pub(super) async fn wait_until_empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.open() == 0 {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    // === documents ===

    pub(super) fn value(&self, room: &str) -> u64 {
        lock(&self.rooms).value(room)
    }

    pub(super) fn writers(&self, room: &str) -> BTreeMap<String, u64> {
        lock(&self.rooms).counter(room).writers().clone()
    }

    pub(super) fn everything(&self) -> Arc<Rooms> {
        Arc::new(lock(&self.rooms).clone())
    }

    /// The value of a room from now on; only the newest is kept, so a slow reader costs nothing.
    pub(super) fn follow(&self, room: &str) -> watch::Receiver<u64> {
        let value = self.value(room);
        let mut values = lock(&self.values);
        values
            .entry(room.to_owned())
            .or_insert_with(|| watch::channel(value).0)
            .subscribe()
    }

    pub(super) fn merge(&self, delta: &Rooms) -> Result<(), Refused> {
        let changed = lock(&self.rooms).merge(delta)?;
        let values = lock(&self.values);
        for room in changed {
            if let Some(sender) = values.get(&room) {
                sender.send_replace(self.value(&room));
            }
        }
        Ok(())
    }

    /// Merges a write and waits until another replica holds it, when there is one.
    pub(super) async fn write(&self, delta: Rooms) -> Result<(), WriteError> {
        self.merge(&delta)?;
        let delta = Arc::new(delta);
        let peers: Vec<PeerHandle> = lock(&self.peers).values().cloned().collect();
        let mut waits = Vec::new();
        for peer in &peers {
            let (held, wait) = oneshot::channel();
            if peer
                .queue
                .try_send(Job {
                    delta: Arc::clone(&delta),
                    held,
                })
                .is_ok()
            {
                waits.push(wait);
            }
        }
        if peers.is_empty() {
            return Ok(());
        }
        if waits.is_empty() {
            return Err(WriteError::NotHeld);
        }
        match tokio::time::timeout(HELD_WITHIN, futures::future::select_ok(waits)).await {
            Ok(Ok(_)) => Ok(()),
            // Everyone left while we waited: then this replica is all there is.
            Ok(Err(_)) if self.peers() == 0 => Ok(()),
            Ok(Err(_)) | Err(_) => Err(WriteError::NotHeld),
        }
    }

    // === peers ===

    pub(super) fn add_peer(&self, replica: u64, handle: PeerHandle) {
        lock(&self.peers).insert(replica, handle);
    }

    pub(super) fn remove_peer(&self, replica: u64) {
        lock(&self.peers).remove(&replica);
    }

    pub(super) fn peers(&self) -> usize {
        lock(&self.peers).len()
    }

    pub(super) fn peer_handles(&self) -> Vec<PeerHandle> {
        lock(&self.peers).values().cloned().collect()
    }
}

/// Data behind these locks is whole between statements, so a poisoned lock is still usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
