//! The documents of a replica: each open one is an actor that owns a copy.

mod copy;
mod counters;
mod owner;
mod standing;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pointsman_actor::{ActorRef, ReplyTo, Settings, Supervision, Task, spawn};
use pointsman_crdt::{Digest, Document, Map, Replica, Schema, State};
use pointsman_replication::Message as CopyMessage;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

pub use self::counters::{ROOM_BYTES_MAX, room_name};
use self::owner::{Ask, Owner};
use self::standing::Standing;
use super::hub::lock;
use super::peers::{Around, Peers};
use super::units::Fault;
use crate::spaces::{NameError, Spaces};
use crate::store::Store;

/// Documents that a replica has open at most.
const OPEN_MAX: usize = 100_000;
/// Messages that wait for one document.
const MAILBOX: usize = 4_096;
/// How long a write waits for other replicas, or a read for a document to open.
const WITHIN: Duration = Duration::from_secs(8);

/// Why a document did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// There is no such document.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not possible here and now; the text names the field and the fix.
    #[error("{0}")]
    Refused(String),
    /// The dots of the client's delta are neither its own nor known.
    #[error("{0}")]
    Foreign(String),
    /// The writer of the client was retired.
    #[error("{0}")]
    Retired(String),
    /// Not enough other replicas have it yet. The same may be sent again.
    #[error("no other replica holds the write yet; send it again")]
    NotHeld,
    /// Too much at once, or the replica ends.
    #[error("the document is busy; try again")]
    Busy,
}

impl From<DocumentError> for Fault {
    fn from(error: DocumentError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

impl DocumentError {
    /// Like HTTP's.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Name(_) => 404,
            Self::Refused(_) | Self::Foreign(_) => 400,
            Self::Retired(_) => 410,
            Self::NotHeld | Self::Busy => 503,
        }
    }
}

/// What a subscriber hears.
#[derive(Clone, Debug)]
pub struct DocumentEvent {
    /// The subscriber's own number for the document.
    pub document: u64,
    /// An encoded delta, or part of the state.
    pub payload: Bytes,
}

/// Who wants to hear of each change.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Different for each.
    pub id: u64,
    /// The subscriber's own number for the document.
    pub document: u64,
    /// Where to. When it is full, the whole state follows once there is room.
    pub events: mpsc::Sender<DocumentEvent>,
}

/// What answers a digest.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Parts of what the asking one lacks.
    pub parts: Vec<Bytes>,
    /// What is here.
    pub digest: Digest,
}

/// Gives operations in JSON after a look at the document; none to wait only until what is there is acknowledged.
pub type Act = Box<dyn FnOnce(&Document) -> Result<Vec<Value>, String> + Send>;

/// What all documents of a replica share.
#[derive(Debug)]
pub struct Documents {
    pub(super) spaces: Spaces,
    pub(super) store: Arc<dyn Store>,
    pub(super) peers: Arc<Peers>,
    pub(super) around: watch::Receiver<Option<Around>>,
    open: Mutex<BTreeMap<Arc<str>, Open>>,
    opened: AtomicU64,
    /// The last sequence that this process used in each document that it wrote to; a copy goes on after it.
    written: Mutex<BTreeMap<Arc<str>, u64>>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    actor: ActorRef<Ask>,
    standing: Arc<Standing>,
}

impl Documents {
    pub(super) fn new(spaces: Spaces, store: Arc<dyn Store>, peers: Arc<Peers>) -> Arc<Self> {
        Arc::new(Self {
            around: peers.around(),
            spaces,
            store,
            peers,
            open: Mutex::default(),
            opened: AtomicU64::new(1),
            written: Mutex::default(),
        })
    }

    // === what sessions do ===

    /// Fields of a document.
    ///
    /// # Errors
    /// When there can be no such document.
    pub fn schema(&self, name: &str) -> Result<Schema, DocumentError> {
        Ok(self.spaces.find(name)?.schema.clone())
    }

    /// Looks at a document, once it is open.
    ///
    /// # Errors
    /// When there is none, or it does not open in time.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        look: impl FnOnce(&Document) -> T + Send + 'static,
    ) -> Result<T, DocumentError> {
        let look = move |reply: ReplyTo<T>| {
            Ask::Look(Box::new(move |document| {
                // Nobody has to wait for it.
                let _ = reply.answer(look(document));
            }))
        };
        self.ask(name, look).await
    }

    /// Changes a document. Returns once the change is acknowledged: stored here, when this is a holder, and held by
    /// another one when there is one.
    ///
    /// # Errors
    /// When it is refused, or not acknowledged in time; then it may be acknowledged later.
    pub async fn transact(self: &Arc<Self>, name: &str, act: Act) -> Result<(), DocumentError> {
        self.ask(name, |reply| Ask::Transact { act, reply }).await?
    }

    /// Joins the delta of a client; returns once it is acknowledged.
    ///
    /// # Errors
    /// When it is refused, or not acknowledged in time.
    pub async fn join(
        self: &Arc<Self>,
        name: &str,
        writer: Replica,
        delta: State<Map>,
    ) -> Result<(), DocumentError> {
        let join = |reply| Ask::Join { writer, delta, reply };
        self.ask(name, join).await?
    }

    /// What the owner of the digest lacks.
    ///
    /// # Errors
    /// When there is no such document, or it does not open in time.
    pub async fn fill(self: &Arc<Self>, name: &str, digest: Digest) -> Result<Filled, DocumentError> {
        self.ask(name, |reply| Ask::Fill { digest, reply }).await
    }

    /// Tells the subscriber of each change from now on, until `unsubscribe` or its channel ends.
    ///
    /// # Errors
    /// When there is no such document, or it is busy.
    pub async fn subscribe(
        self: &Arc<Self>,
        name: &str,
        subscriber: Subscriber,
    ) -> Result<(), DocumentError> {
        self.ask(name, |reply| Ask::Subscribe { subscriber, reply }).await
    }

    /// Stops telling the subscriber.
    pub fn unsubscribe(&self, name: &str, id: u64) {
        if let Some(open) = lock(&self.open).get(name) {
            // A full mailbox: the end of its channel says the same.
            let _ = open.actor.try_send(Ask::Unsubscribe { id });
        }
    }

    /// A number that changes with the document. Holding it keeps the document open.
    ///
    /// # Errors
    /// When there is no such document, or it is busy.
    pub async fn watch(self: &Arc<Self>, name: &str) -> Result<watch::Receiver<u64>, DocumentError> {
        self.ask(name, |reply| Ask::Watch { reply }).await
    }

    /// Documents that are open here.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }

    async fn ask<T>(
        self: &Arc<Self>,
        name: &str,
        make: impl FnOnce(ReplyTo<T>) -> Ask,
    ) -> Result<T, DocumentError> {
        let actor = self.actor(name)?;
        // An error: it is late, or its copy closed just then.
        actor.ask(WITHIN, make).await.map_err(|_| DocumentError::Busy)
    }

    // === actors ===

    /// The owner of a document, opened if need be.
    fn actor(self: &Arc<Self>, name: &str) -> Result<ActorRef<Ask>, DocumentError> {
        let mut open = lock(&self.open);
        if let Some(open) = open.get(name).filter(|open| !open.actor.is_closed()) {
            return Ok(open.actor.clone());
        }
        self.spaces.find(name)?;
        if open.len() >= OPEN_MAX {
            return Err(DocumentError::Busy);
        }
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let name: Arc<str> = name.into();
        let (documents, owned) = (Arc::downgrade(self), Arc::clone(&name));
        let settings = Settings::new("document", MAILBOX).supervision(Supervision::restart());
        let standing = Arc::new(Standing::default());
        let told = Arc::clone(&standing);
        let factory = move || Owner::new(documents.clone(), Arc::clone(&owned), id, Arc::clone(&told));
        let Ok((actor, _)) = spawn(Task, settings, factory) else {
            return Err(DocumentError::Busy);
        };
        let kept = actor.clone();
        open.insert(
            name,
            Open {
                id,
                actor: kept,
                standing,
            },
        );
        Ok(actor)
    }

    /// Forgets an actor that ends.
    fn closed(&self, name: &str, id: u64) {
        let mut open = lock(&self.open);
        if open.get(name).is_some_and(|open| open.id == id) {
            open.remove(name);
        }
    }

    fn every(&self) -> Vec<ActorRef<Ask>> {
        lock(&self.open).values().map(|open| open.actor.clone()).collect()
    }

    /// Opens everything that is stored here, so that it is handed over or brought up to date.
    pub(super) fn open_stored(self: &Arc<Self>) {
        match self.store.names() {
            Ok(names) => {
                for name in names {
                    if let Err(error) = self.actor(&name) {
                        tracing::warn!(name, %error, "a stored document stays closed");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "stored documents are not found"),
        }
    }

    /// The members have changed, or a connection to one of them.
    pub(super) fn look(&self) {
        for actor in self.every() {
            // An owner with a full mailbox looks before each message anyway.
            let _ = actor.try_send(Ask::LookAround);
        }
    }

    /// Time passes.
    pub(super) fn tick(&self) {
        for actor in self.every() {
            let _ = actor.try_send(Ask::Tick);
        }
    }

    /// A member says something about a document.
    pub(super) async fn peer(self: &Arc<Self>, name: &str, from: Replica, link: u64, message: CopyMessage) {
        let actor = if message.opens() {
            self.actor(name).ok()
        } else {
            lock(&self.open).get(name).map(|open| open.actor.clone())
        };
        if let Some(actor) = actor {
            // Waits when the document is busy: the connection carries back-pressure to the peer.
            let _ = actor.send(Ask::Peer { from, link, message }).await;
        }
    }

    /// Waits until nothing is open that this replica alone has; for the end of a replica that drains.
    pub(super) async fn handed_over(&self) {
        let idle = |open: &Open| open.standing.is_idle();
        while !lock(&self.open).values().all(idle) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_sequence(&self, name: &str) -> u64 {
        lock(&self.written).get(name).copied().unwrap_or(0)
    }

    fn wrote(&self, name: &Arc<str>, sequence: u64) {
        let mut written = lock(&self.written);
        match written.get_mut(name) {
            Some(last) => *last = sequence.max(*last),
            None => {
                written.insert(Arc::clone(name), sequence);
            }
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
