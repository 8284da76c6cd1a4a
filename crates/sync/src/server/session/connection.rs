//! What a session's task and the calls that it runs share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, oneshot, watch};

use super::documents::Documents;
use super::ledger::Key;
use crate::server::authentication::Identity;
use crate::server::hub::{Hub, lock};
use crate::server::streams::{Blob, Upload};
use crate::server::units::Fault;

/// What calls may ask for before the task looks.
const ASKS_MAX: usize = 64;

/// What a call asks of the task that owns the socket.
pub(in crate::server) enum Ask {
    /// To tell the client something.
    Event { name: String, payload: Bytes },
    /// The stream that the client named so.
    Take {
        stream: Value,
        answer: oneshot::Sender<Result<Upload, Fault>>,
    },
    /// To send a file; answered with the id of the stream, once the client was told of it.
    Send {
        name: String,
        blob: Blob,
        answer: oneshot::Sender<Result<Value, Fault>>,
    },
}

/// Who calls.
#[derive(Clone, Debug)]
pub(in crate::server) struct Who {
    /// Whoever shows it is the same writer.
    pub(in crate::server) token: String,
    pub(in crate::server) key: Key,
    pub(in crate::server) identity: Option<Arc<Identity>>,
}

impl Who {
    pub(in crate::server) fn new(token: String) -> Self {
        let key = Key::of(&token);
        Self {
            token,
            key,
            identity: None,
        }
    }

    /// Somebody new.
    pub(in crate::server) fn stranger(hub: &Hub) -> Self {
        Self::new(hub.new_token())
    }
}

/// The part of a session that calls see. A caller over HTTP has one too, without a socket behind it.
pub(in crate::server) struct Connection {
    hub: Arc<Hub>,
    who: Mutex<Who>,
    socket: bool,
    /// Calls below this id may have been sent before, to another replica.
    repeats_below: AtomicI64,
    asks: Mutex<VecDeque<Ask>>,
    /// Something was asked.
    pub(in crate::server) asked: Notify,
    pub(in crate::server) documents: Documents,
    pub(in crate::server) rooms: Mutex<BTreeMap<String, watch::Receiver<u64>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let key = lock(&self.who).key;
        self.hub.service.ledger.detach(key);
        self.documents.close_all(&self.hub);
    }
}

impl Connection {
    /// The connection, and the highest call of the session that is remembered.
    pub(in crate::server) fn new(hub: &Arc<Hub>, mut who: Who, socket: bool) -> (Self, i64) {
        let (known, last_call) = hub.service.ledger.attach(who.key);
        match &who.identity {
            Some(identity) => hub.service.ledger.identify(who.key, Arc::clone(identity)),
            None => who.identity = known,
        }
        let connection = Self {
            hub: Arc::clone(hub),
            who: Mutex::new(who),
            socket,
            repeats_below: AtomicI64::new(0),
            asks: Mutex::default(),
            asked: Notify::new(),
            documents: Documents::default(),
            rooms: Mutex::default(),
        };
        (connection, last_call)
    }

    pub(in crate::server) fn who(&self) -> Who {
        lock(&self.who).clone()
    }

    /// Who it is, unless that has ended.
    pub(in crate::server) fn identity(&self) -> Option<Arc<Identity>> {
        let identity = lock(&self.who).identity.clone()?;
        (!identity.is_over()).then_some(identity)
    }

    pub(in crate::server) fn identify(&self, identity: Arc<Identity>) {
        let mut who = lock(&self.who);
        self.hub.service.ledger.identify(who.key, Arc::clone(&identity));
        who.identity = Some(identity);
    }

    /// Becomes another session: its writer, and its identity where that is known here.
    pub(in crate::server) fn become_session(&self, token: &str) {
        let mut next = Who::new(token.to_owned());
        (next.identity, _) = self.hub.service.ledger.attach(next.key);
        let left = std::mem::replace(&mut *lock(&self.who), next);
        self.hub.service.ledger.detach(left.key);
    }

    pub(super) fn repeats_below(&self) -> i64 {
        self.repeats_below.load(Ordering::Relaxed)
    }

    pub(super) fn set_repeats_below(&self, id: i64) {
        self.repeats_below.store(id, Ordering::Relaxed);
    }

    pub(in crate::server) fn has_socket(&self) -> bool {
        self.socket
    }

    /// Asks the task of the socket.
    pub(in crate::server) fn ask(&self, ask: Ask) -> Result<(), Fault> {
        if !self.socket {
            return Err(Fault::new(
                400,
                "this needs a WebSocket; it does not work over HTTP",
            ));
        }
        let mut asks = lock(&self.asks);
        if asks.len() >= ASKS_MAX {
            return Err(Fault::new(503, "the session is busy"));
        }
        asks.push_back(ask);
        drop(asks);
        self.asked.notify_one();
        Ok(())
    }

    pub(in crate::server) fn next_ask(&self) -> Option<Ask> {
        lock(&self.asks).pop_front()
    }
}
