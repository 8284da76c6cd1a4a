//! What the tasks of a replica share. Locks are held for map operations only, never across an await.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::documents::Documents;
use super::leases::Leases;
use super::peers::Peers;
use super::{Options, is_revision};
use crate::store::Store;

/// Slower than that is not a drain.
const INTERVAL_MS_MAX: u64 = 600_000;

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: Options,
    pub(super) replica: u64,
    pub(super) documents: Arc<Documents>,
    pub(super) peers: Arc<Peers>,
    pub(super) leases: Leases,
    sessions: Mutex<Sessions>,
    order: Mutex<Standing>,
    /// All the state there was has been asked for, so that a client that moves here finds its own writes.
    joined: AtomicBool,
    stopping: AtomicBool,
    /// Sessions or the order have changed.
    pub(super) changed: Notify,
    /// Ends every task of this replica.
    pub(super) ended: CancellationToken,
    pub(super) peer_places: Arc<Semaphore>,
    pub(super) counts: Counts,
    pub(super) service: super::service::Service,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    sessions: AtomicU64,
}

/// Open sessions, oldest first.
#[derive(Debug, Default)]
struct Sessions {
    untold: BTreeMap<u64, mpsc::Sender<Told>>,
    /// Told to move and still here.
    told: BTreeMap<u64, mpsc::Sender<Told>>,
}

impl Sessions {
    fn open(&self) -> usize {
        self.untold.len() + self.told.len()
    }
}

/// What a session's task is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// To make a new socket somewhere else.
    Move { next: String },
    /// That it is over now.
    Close,
    /// To vanish without a word.
    Cut,
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
    /// Revision that they move to; empty when any will do.
    #[serde(default)]
    pub(super) to: String,
}

impl Order {
    /// What is wrong with it, naming the field.
    pub(super) fn fault(&self) -> Option<String> {
        if self.interval_ms > INTERVAL_MS_MAX {
            return Some(format!("intervalMs: at most {INTERVAL_MS_MAX}"));
        }
        if !self.to.is_empty() && !is_revision(&self.to) {
            return Some("to: at most 63 letters, digits, '-', '_' and '.', or empty".to_owned());
        }
        None
    }
}

impl Hub {
    /// With documents that are kept in memory.
    #[cfg(test)]
    pub(super) fn new(options: Options) -> Self {
        let service = super::service::Service::plain(&options.limits);
        Self::with(options, service, Arc::new(crate::store::Memory::default()))
    }

    pub(super) fn with(options: Options, service: super::service::Service, store: Arc<dyn Store>) -> Self {
        let replica = rand::random::<u64>() >> 1;
        let peers = Peers::new(replica, service.events.clone());
        let documents = Documents::new(options.spaces.clone(), store, Arc::clone(&peers));
        Self {
            service,
            options,
            replica,
            documents,
            peers,
            leases: Leases::default(),
            sessions: Mutex::default(),
            order: Mutex::default(),
            joined: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            peer_places: Self::peer_places(),
            counts: Counts::default(),
        }
    }

    // === sessions ===

    /// Registers a session; `None` when there are too many.
    pub(super) fn open_session(&self) -> Option<(u64, mpsc::Receiver<Told>)> {
        let mut sessions = lock(&self.sessions);
        if sessions.open() >= self.options.sessions_max {
            return None;
        }
        let id = self.counts.sessions.fetch_add(1, Ordering::Relaxed);
        // Two places: a session is told to move once, and once that it is over.
        let (control, told) = mpsc::channel(2);
        sessions.untold.insert(id, control);
        drop(sessions);
        self.changed.notify_waiters();
        Some((id, told))
    }

    pub(super) fn close_session(&self, id: u64) {
        let mut sessions = lock(&self.sessions);
        if sessions.untold.remove(&id).is_none() {
            sessions.told.remove(&id);
        }
        drop(sessions);
        self.changed.notify_waiters();
    }

    pub(super) fn open(&self) -> usize {
        lock(&self.sessions).open()
    }

    pub(super) fn told(&self) -> usize {
        lock(&self.sessions).told.len()
    }

    /// True when more sessions stay than the order keeps.
    pub(super) fn keeps_too_many(&self, order: &Order) -> bool {
        let keep = order.keep.and_then(|keep| usize::try_from(keep).ok());
        keep.is_some_and(|keep| lock(&self.sessions).untold.len() > keep)
    }

    /// Tells the oldest session that was not told yet to move; nobody is told twice.
    pub(super) fn tell_one(&self, order: &Order) {
        let mut sessions = lock(&self.sessions);
        let Some((id, control)) = sessions.untold.pop_first() else {
            return;
        };
        let next = order.to.clone();
        if control.try_send(Told::Move { next }).is_ok() {
            self.counts.drained.fetch_add(1, Ordering::Relaxed);
        }
        sessions.told.insert(id, control);
    }

    pub(super) fn tell_everybody(&self, what: &Told) {
        let sessions = lock(&self.sessions);
        for session in sessions.untold.values().chain(sessions.told.values()) {
            let _ = session.try_send(what.clone());
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

    // === orders ===

    pub(super) fn order(&self) -> Order {
        let standing = lock(&self.order);
        match standing.until {
            Some(until) if Instant::now() >= until => Order::default(),
            Some(_) | None => standing.order.clone(),
        }
    }

    /// Takes an order of the operator, which stands anew even when it is the same. A replica that ends has its own, which
    /// nobody takes back.
    pub(super) fn set_order(&self, order: Order) {
        if order != self.order() {
            tracing::info!(
                keep = order.keep,
                interval_ms = order.interval_ms,
                to = order.to,
                "drain order"
            );
        }
        let mut standing = lock(&self.order);
        if !self.stopping() {
            let until = Some(Instant::now() + self.options.order_within);
            *standing = Standing { order, until };
        } else if !order.to.is_empty() {
            // Where to is still worth knowing.
            standing.order.to = order.to;
        }
        drop(standing);
        self.changed.notify_waiters();
    }

    /// The drain of a shutdown: it never expires, and tells everybody well before the deadline.
    pub(super) fn order_everybody_out(&self) {
        let share = self.options.drain_deadline.saturating_mul(3) / 4;
        let open = u32::try_from(self.open()).unwrap_or(u32::MAX).max(1);
        let interval = self.options.drain_interval.min(share / open);
        let mut standing = lock(&self.order);
        let order = Order {
            keep: Some(0),
            interval_ms: millis(interval),
            to: standing.order.to.clone(),
        };
        *standing = Standing { order, until: None };
        drop(standing);
        self.changed.notify_waiters();
    }

    // === life ===

    pub(super) fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn set_joined(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    pub(super) fn joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// New sessions a second that it says it can take; `None` when it sets no limit.
    pub(super) fn capacity_per_second(&self) -> Option<u32> {
        let room = self.options.sessions_max.saturating_sub(self.open());
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        match self.options.handshakes_per_second {
            Some(most) => Some(most.min(room)),
            None => (room == 0).then_some(0),
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Data behind these locks is whole between statements, so a poisoned lock is still usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn order(keep: Option<u32>, to: &str) -> Order {
        Order {
            keep,
            interval_ms: 1,
            to: to.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_stands_as_long_as_it_is_repeated() {
        let hub = Hub::new(Options::local("a"));
        for _ in 0..4 {
            hub.set_order(order(Some(3), "b"));
            tokio::time::advance(20 * SECOND).await;
            assert_eq!(hub.order(), order(Some(3), "b"));
        }
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(hub.order(), Order::default());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_of_a_shutdown_never_expires_and_nobody_takes_it_back() {
        let mut options = Options::local("a");
        options.drain_interval = Duration::from_millis(50);
        let hub = Hub::new(options);
        hub.set_order(order(Some(3), "b"));
        tokio::time::advance(60 * SECOND).await;
        hub.stop_being_ready();
        hub.order_everybody_out();
        let everybody_out = Order {
            interval_ms: 50,
            ..order(Some(0), "b")
        };
        assert_eq!(hub.order(), everybody_out);
        hub.set_order(order(None, ""));
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(hub.order(), everybody_out);
        hub.set_order(order(Some(9), "c"));
        assert_eq!(
            hub.order(),
            Order {
                to: "c".to_owned(),
                ..everybody_out
            }
        );
    }

    #[test]
    fn a_shutdown_hastens_when_its_pace_would_miss_the_deadline() {
        let mut options = Options::local("a");
        options.drain_interval = SECOND;
        options.drain_deadline = 4 * SECOND;
        let hub = Hub::new(options);
        let _sessions: Vec<_> = (0..30).map(|_| hub.open_session().unwrap()).collect();
        hub.order_everybody_out();
        assert_eq!(hub.order().interval_ms, 100);
    }
}
