//! What a replica knows, who follows it here, and what each other replica has yet to hear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::hub::lock;
use crate::document::{Cursor, Refused, Rooms};

/// Jobs that may wait for one peer; what does not fit goes with the next relay.
pub(super) const PEER_QUEUE_MAX: usize = 1_024;
/// How long a write waits for another replica.
const HELD_WITHIN: Duration = Duration::from_secs(2);

/// Why a write was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("no other replica holds the write yet; send it again")]
    NotHeld,
}

#[derive(Debug, Default)]
pub(super) struct Documents {
    rooms: Mutex<Rooms>,
    /// One for each room that a session here follows.
    values: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    outboxes: Mutex<BTreeMap<u64, Arc<Outbox>>>,
    outboxes_made: AtomicU64,
}

/// What one link has yet to carry to its peer.
#[derive(Debug)]
pub(super) struct Outbox {
    replica: u64,
    queue: mpsc::Sender<Job>,
    /// Set once the peer holds all that was known when the link was made.
    live: AtomicBool,
    /// Goes with the next relay. Every change is either here, or in the queue, or was there before the first push.
    deferred: Mutex<Rooms>,
}

/// Something that a peer must hold; `held` is answered when it does, and dropped when it does not.
#[derive(Debug)]
pub(super) enum Job {
    /// A write that somebody waits for.
    Write {
        delta: Arc<Rooms>,
        held: oneshot::Sender<()>,
    },
    /// All that is deferred.
    Flush { held: oneshot::Sender<()> },
}

impl Outbox {
    fn live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    pub(super) fn set_live(&self) {
        self.live.store(true, Ordering::Release);
    }

    fn defer(&self, delta: &Rooms) {
        // Part of our own state, so it is within the same bounds.
        let _ = lock(&self.deferred).merge(delta);
    }

    pub(super) fn take_deferred(&self) -> Rooms {
        std::mem::take(&mut *lock(&self.deferred))
    }
}

/// A link's outbox until this is dropped, however the link ends.
pub(super) struct Attached<'a> {
    documents: &'a Documents,
    id: u64,
    pub(super) outbox: Arc<Outbox>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        lock(&self.documents.outboxes).remove(&self.id);
    }
}

impl Documents {
    pub(super) fn value(&self, room: &str) -> u64 {
        lock(&self.rooms).value(room)
    }

    pub(super) fn writers(&self, room: &str) -> BTreeMap<String, u64> {
        let rooms = lock(&self.rooms);
        rooms
            .counter(room)
            .map(|counter| counter.writers().clone())
            .unwrap_or_default()
    }

    /// A part of everything; the lock is held for that part only.
    pub(super) fn part(&self, after: Option<&Cursor>, bytes_max: usize) -> (Rooms, Option<Cursor>) {
        lock(&self.rooms).part(after, bytes_max)
    }

    /// The value of a room from now on; only the newest is kept, so a slow reader costs nothing.
    pub(super) fn follow(&self, room: &str) -> watch::Receiver<u64> {
        let mut values = lock(&self.values);
        // Read behind the lock: a change comes either before, or finds the channel.
        let value = self.value(room);
        values
            .entry(room.to_owned())
            .or_insert_with(|| watch::channel(value).0)
            .subscribe()
    }

    /// Forgets rooms that nobody follows any more.
    pub(super) fn unfollow(&self, rooms: BTreeMap<String, watch::Receiver<u64>>) {
        let names: BTreeSet<String> = rooms.into_keys().collect();
        let mut values = lock(&self.values);
        for name in names {
            if values
                .get(&name)
                .is_some_and(|sender| sender.receiver_count() == 0)
            {
                values.remove(&name);
            }
        }
    }

    fn merge(&self, delta: &Rooms) -> Result<Rooms, Refused> {
        let grown = lock(&self.rooms).merge(delta)?;
        let values = lock(&self.values);
        for room in grown.names() {
            if let Some(sender) = values.get(room) {
                sender.send_replace(self.value(room));
            }
        }
        Ok(grown)
    }

    fn outboxes(&self) -> Vec<Arc<Outbox>> {
        lock(&self.outboxes).values().cloned().collect()
    }

    /// Merges what a peer sent. What is news goes to the others with their next relay, so that a write which reached
    /// only some of them survives its replica.
    pub(super) fn learn(&self, delta: &Rooms, from: Option<u64>) -> Result<(), Refused> {
        let grown = self.merge(delta)?;
        if !grown.is_empty() {
            for outbox in self
                .outboxes()
                .iter()
                .filter(|outbox| Some(outbox.replica) != from)
            {
                outbox.defer(&grown);
            }
        }
        Ok(())
    }

    /// Merges a write and waits until another replica holds it, when there is one.
    pub(super) async fn write(&self, delta: Rooms) -> Result<(), WriteError> {
        self.merge(&delta)?;
        let delta = Arc::new(delta);
        let mut waits = Vec::new();
        for outbox in self.outboxes() {
            let (held, wait) = oneshot::channel();
            let job = Job::Write {
                delta: Arc::clone(&delta),
                held,
            };
            if outbox.live() && outbox.queue.try_send(job).is_ok() {
                waits.push(wait);
            } else {
                outbox.defer(&delta);
            }
        }
        if waits.is_empty() {
            return if self.peers() == 0 {
                Ok(())
            } else {
                Err(WriteError::NotHeld)
            };
        }
        match tokio::time::timeout(HELD_WITHIN, futures::future::select_ok(waits)).await {
            Ok(Ok(_)) => Ok(()),
            // Everyone left while we waited: then this replica is all there is.
            Ok(Err(_)) if self.peers() == 0 => Ok(()),
            Ok(Err(_)) | Err(_) => Err(WriteError::NotHeld),
        }
    }

    /// Registers a link before its first push, so that nothing falls between the two.
    pub(super) fn attach(&self, replica: u64, queue: mpsc::Sender<Job>) -> Attached<'_> {
        let id = self.outboxes_made.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox {
            replica,
            queue,
            live: AtomicBool::new(false),
            deferred: Mutex::default(),
        });
        lock(&self.outboxes).insert(id, Arc::clone(&outbox));
        Attached {
            documents: self,
            id,
            outbox,
        }
    }

    /// Other replicas that hold what we have and hear what we learn.
    pub(super) fn peers(&self) -> usize {
        let replicas: BTreeSet<u64> = self
            .outboxes()
            .iter()
            .filter(|outbox| outbox.live())
            .map(|outbox| outbox.replica)
            .collect();
        replicas.len()
    }

    /// Waits until every live peer holds all that we know.
    pub(super) async fn flush(&self) {
        let mut waits = Vec::new();
        for outbox in self.outboxes().iter().filter(|outbox| outbox.live()) {
            let (held, wait) = oneshot::channel();
            if outbox.queue.send(Job::Flush { held }).await.is_ok() {
                waits.push(wait);
            }
        }
        futures::future::join_all(waits).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_is_taken_once_a_peer_holds_it_or_when_nobody_else_is_there() {
        let documents = Documents::default();
        let write = |count| Rooms::delta("a", "x", count).unwrap();
        documents.write(write(1)).await.unwrap();
        let (queue, mut jobs) = mpsc::channel(1);
        let attached = documents.attach(7, queue);
        // Not live yet: it hears of the write with the next relay.
        documents.write(write(2)).await.unwrap();
        assert_eq!(attached.outbox.take_deferred(), write(2));
        attached.outbox.set_live();
        let (written, ()) = tokio::join!(documents.write(write(3)), async {
            match jobs.recv().await {
                Some(Job::Write { held, .. }) => held.send(()).unwrap(),
                other => panic!("{other:?}"),
            }
        });
        written.unwrap();
        let (written, ()) = tokio::join!(documents.write(write(4)), async { drop(jobs.recv().await) });
        assert!(matches!(written, Err(WriteError::NotHeld)));
        drop(attached);
        documents.write(write(5)).await.unwrap();
        assert_eq!(documents.value("a"), 5);
    }

    #[tokio::test]
    async fn a_write_that_does_not_fit_into_the_queue_is_not_held_yet_and_goes_with_the_relay() {
        let documents = Documents::default();
        let (queue, _jobs) = mpsc::channel(1);
        let (held, _wait) = oneshot::channel();
        queue.try_send(Job::Flush { held }).unwrap();
        let attached = documents.attach(7, queue);
        attached.outbox.set_live();
        let write = Rooms::delta("a", "x", 1).unwrap();
        let written = documents.write(write.clone()).await;
        assert!(matches!(written, Err(WriteError::NotHeld)));
        assert_eq!(attached.outbox.take_deferred(), write);
    }

    #[tokio::test]
    async fn news_go_on_to_the_others_and_not_back() {
        let documents = Documents::default();
        let (queue, _jobs) = mpsc::channel(1);
        let (one, two) = (documents.attach(1, queue.clone()), documents.attach(2, queue));
        let news = Rooms::delta("a", "x", 1).unwrap();
        documents.learn(&news, Some(1)).unwrap();
        documents.learn(&news, Some(2)).unwrap();
        assert!(one.outbox.take_deferred().is_empty());
        assert_eq!(two.outbox.take_deferred(), news);
    }

    #[tokio::test]
    async fn rooms_that_nobody_follows_are_forgotten() {
        let documents = Documents::default();
        let (first, second) = (documents.follow("a"), documents.follow("a"));
        documents.unfollow([("a".to_owned(), first)].into());
        assert_eq!(lock(&documents.values).len(), 1);
        documents.write(Rooms::delta("a", "x", 1).unwrap()).await.unwrap();
        assert_eq!(*second.borrow(), 1);
        documents.unfollow([("a".to_owned(), second)].into());
        assert!(lock(&documents.values).is_empty());
    }
}
