//! Documents that a session has open: deltas and digests come in, changes go out.
//!
//! What a client sends is worked on beside the session's calls, so a write that waits for other replicas holds nothing up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures::SinkExt as _;
use futures::future::BoxFuture;
use pointsman_crdt::{Digest, Replica, State};
use pointsman_wire::Packet;
use tokio::sync::mpsc;

use super::outgoing::message;
use super::{End, Session, WRITE_WITHIN};
use crate::server::authentication::{Access, Identity};
use crate::server::documents::{DocumentError, DocumentEvent, Filled, Subscriber};
use crate::server::hub::{Hub, lock};
use crate::server::units::Fault;

/// Documents that one session may have open.
const OPEN_MAX: usize = 256;
/// Changes that a slow client may be behind; then it gets the whole document again.
const EVENTS_MAX: usize = 1_024;
/// Changes that go out together.
const TOGETHER_MAX: usize = 256;
/// Deltas and digests of one client that are worked on; more are answered with 503.
const EXCHANGES_MAX: usize = 256;

static SUBSCRIBERS: AtomicU64 = AtomicU64::new(1);

/// A document that a session has open.
#[derive(Clone, Debug)]
pub(in crate::server) struct Opened {
    name: Arc<str>,
    subscriber: u64,
    writes: bool,
}

/// All documents that a session has open.
#[derive(Debug, Default)]
pub(in crate::server) struct Documents {
    opened: Mutex<BTreeMap<u64, Opened>>,
    /// The last number that a document got.
    last: AtomicU64,
    /// Made with the first document: most sessions have none, and a channel costs two kilobytes.
    events: OnceLock<mpsc::Sender<DocumentEvent>>,
    told: Mutex<Option<mpsc::Receiver<DocumentEvent>>>,
    writer: OnceLock<Replica>,
}

impl Documents {
    /// Where the changes come out, once there are any; it is given once.
    pub(in crate::server) fn told(&self) -> Option<mpsc::Receiver<DocumentEvent>> {
        lock(&self.told).take()
    }

    fn events(&self) -> mpsc::Sender<DocumentEvent> {
        let made = self.events.get_or_init(|| {
            let (events, told) = mpsc::channel(EVENTS_MAX);
            *lock(&self.told) = Some(told);
            events
        });
        made.clone()
    }

    /// The replica whose dots this session's client makes: the token's, or a new one for a token that names none.
    pub(in crate::server) fn writer(&self, hub: &Hub, token: &str) -> Option<Replica> {
        if let Some(writer) = self.writer.get() {
            return Some(*writer);
        }
        let writer = hub.writer_of(token).or_else(|| hub.lease_writer())?;
        Some(*self.writer.get_or_init(|| writer))
    }

    /// Opens a document; gives the session's number for it.
    pub(in crate::server) async fn open(&self, hub: &Hub, name: &str, writes: bool) -> Result<u64, Fault> {
        if lock(&self.opened).len() >= OPEN_MAX {
            let text = format!("a session has at most {OPEN_MAX} documents open; close one");
            return Err(Fault::new(400, text));
        }
        let document = self.last.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let subscriber = Subscriber {
            id: SUBSCRIBERS.fetch_add(1, Ordering::Relaxed),
            document,
            events: self.events(),
        };
        let opened = Opened {
            name: name.into(),
            subscriber: subscriber.id,
            writes,
        };
        hub.documents.subscribe(name, subscriber).await?;
        lock(&self.opened).insert(document, opened);
        Ok(document)
    }

    /// Closes a document; `false` when it is not open.
    pub(in crate::server) fn close(&self, hub: &Hub, document: u64) -> bool {
        let closed = lock(&self.opened).remove(&document);
        if let Some(closed) = &closed {
            hub.documents.unsubscribe(&closed.name, closed.subscriber);
        }
        closed.is_some()
    }

    /// Closes all, when the session ends.
    pub(in crate::server) fn close_all(&self, hub: &Hub) {
        for (_, closed) in std::mem::take(&mut *lock(&self.opened)) {
            hub.documents.unsubscribe(&closed.name, closed.subscriber);
        }
    }

    /// Looks again at who may do what, after the session has become somebody else, or nobody.
    pub(in crate::server) fn recheck(&self, hub: &Hub, identity: Option<&Identity>) {
        let service = &hub.service;
        let nobody = hub.options.authentication.required && identity.is_none();
        let mut lost = Vec::new();
        for (document, opened) in lock(&self.opened).iter_mut() {
            let access = service.permissions.access(identity, &opened.name);
            opened.writes = access >= Access::Write;
            if nobody || access < Access::Read {
                lost.push(*document);
            }
        }
        for document in lost {
            self.close(hub, document);
        }
    }

    fn get(&self, document: u64) -> Option<Opened> {
        lock(&self.opened).get(&document).cloned()
    }
}

/// What has become of a delta or digest.
pub(super) enum Exchanged {
    Joined {
        id: i64,
        joined: Result<(), DocumentError>,
    },
    Filled {
        id: i64,
        document: u64,
        filled: Result<Filled, DocumentError>,
    },
}

pub(super) type Exchange = BoxFuture<'static, Exchanged>;

impl Session {
    pub(super) async fn delta(&mut self, id: i64, document: u64, payload: &Bytes) -> Result<(), End> {
        let opened = match self.opened(document) {
            Ok(opened) if opened.writes => opened,
            Ok(opened) => {
                return self
                    .deny(id, 403, &format!("you may not change {}", opened.name))
                    .await;
            }
            Err((status, text)) => return self.deny(id, status, &text).await,
        };
        let delta = match State::decode(payload) {
            Ok(delta) => delta,
            Err(error) => return self.deny(id, 400, &format!("delta: {error}")).await,
        };
        let token = self.connection.who().token;
        let Some(writer) = self.connection.documents.writer(&self.hub, &token) else {
            return self
                .deny(id, 503, "this replica is no member yet; try again")
                .await;
        };
        let documents = Arc::clone(&self.hub.documents);
        self.exchanges.push(Box::pin(async move {
            let joined = documents.join(&opened.name, writer, delta).await;
            Exchanged::Joined { id, joined }
        }));
        Ok(())
    }

    pub(super) async fn digest(&mut self, id: i64, document: u64, payload: &Bytes) -> Result<(), End> {
        let opened = match self.opened(document) {
            Ok(opened) => opened,
            Err((status, text)) => return self.deny(id, status, &text).await,
        };
        let digest = if payload.is_empty() {
            Ok(Digest::default())
        } else {
            Digest::decode(payload)
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(error) => return self.deny(id, 400, &format!("digest: {error}")).await,
        };
        let documents = Arc::clone(&self.hub.documents);
        self.exchanges.push(Box::pin(async move {
            let filled = documents.fill(&opened.name, digest).await;
            Exchanged::Filled { id, document, filled }
        }));
        Ok(())
    }

    fn opened(&self, document: u64) -> Result<Opened, (u64, String)> {
        if self.exchanges.len() >= EXCHANGES_MAX {
            return Err((
                503,
                "too much of this session is on its way; try again".to_owned(),
            ));
        }
        let opened = self.connection.documents.get(document);
        opened.ok_or_else(|| {
            (
                404,
                format!("document {document} is not open; call document/open"),
            )
        })
    }

    async fn deny(&mut self, id: i64, status: u64, text: &str) -> Result<(), End> {
        let payload = Bytes::from(serde_json::json!({"error": text}).to_string());
        self.send(&Packet::Callback { id, status, payload }).await
    }

    pub(super) async fn exchanged(&mut self, exchanged: Exchanged) -> Result<(), End> {
        match exchanged {
            Exchanged::Joined { id, joined: Ok(()) } => {
                let (status, payload) = (0, Bytes::new());
                self.send(&Packet::Callback { id, status, payload }).await
            }
            Exchanged::Filled {
                id,
                document,
                filled: Ok(filled),
            } => {
                for payload in filled.parts {
                    self.change(document, payload).await?;
                }
                let (status, payload) = (0, Bytes::from(filled.digest.encode()));
                self.send(&Packet::Callback { id, status, payload }).await
            }
            Exchanged::Joined {
                id,
                joined: Err(error),
            }
            | Exchanged::Filled {
                id,
                filled: Err(error),
                ..
            } => self.deny(id, u64::from(error.status()), &error.to_string()).await,
        }
    }

    async fn change(&mut self, document: u64, payload: Bytes) -> Result<(), End> {
        let packet = self.next_delta(document, payload);
        self.send(&packet).await
    }

    fn next_delta(&mut self, document: u64, payload: Bytes) -> Packet {
        self.sequence = self.sequence.saturating_add(1);
        Packet::Delta {
            id: i64::try_from(self.sequence).unwrap_or(i64::MAX).saturating_neg(),
            document,
            payload,
        }
    }

    /// Tells the client of a change, and of all that wait behind it, in one go.
    pub(super) async fn changed(&mut self, first: DocumentEvent) -> Result<(), End> {
        let mut next = Some(first);
        let mut frames = Vec::new();
        while let Some(event) = next {
            let packet = self.next_delta(event.document, event.payload);
            match self.codec.write(&packet, None) {
                Ok(frame) => frames.push(message(frame)),
                Err(error) => tracing::debug!(%error, "a change cannot be written"),
            }
            next = if frames.len() < TOGETHER_MAX {
                self.told.as_mut().and_then(|told| told.try_recv().ok())
            } else {
                None
            };
        }
        let socket = &mut self.socket;
        let all = async {
            for frame in frames {
                socket.feed(frame).await?;
            }
            socket.flush().await
        };
        match tokio::time::timeout(WRITE_WITHIN, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
