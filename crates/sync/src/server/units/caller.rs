//! Who calls, and what can be done for him.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::events::EVENT_BYTES_MAX;
use super::{Fault, Registry};
use crate::server::authentication::{Access, AuthenticationError, Identity, authenticate};
use crate::server::documents::{Documents, now_ms, room_name};
use crate::server::hub::{Hub, lock};
use crate::server::session::{Ask, Connection};
use crate::server::streams::{Blob, Blobs, Upload};

/// Who calls: a session, or one request over HTTP.
#[derive(Clone)]
pub struct Caller {
    pub(in crate::server) hub: Arc<Hub>,
    pub(in crate::server) connection: Arc<Connection>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Caller")
            .field("writer", &self.writer())
            .finish()
    }
}

/// How long a document waits for its replica to be a member.
const MEMBER_WITHIN: Duration = Duration::from_secs(5);

impl Caller {
    /// Name of the session as a writer in documents; everybody may read it.
    #[must_use]
    pub fn writer(&self) -> String {
        self.connection.who().key.writer()
    }

    /// Who has signed in.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.connection.identity()
    }

    /// Tells everybody who has a session, at any replica.
    pub fn publish(&self, name: &str, data: &Value) -> Result<(), Fault> {
        let payload = event(data)?;
        let peers = &self.hub.peers;
        self.hub
            .service
            .events
            .publish(peers.me(), name, payload, |event| peers.tell(event));
        Ok(())
    }

    /// Tells this session.
    pub fn emit(&self, name: &str, data: &Value) -> Result<(), Fault> {
        let (name, payload) = (name.to_owned(), event(data)?);
        self.connection.ask(Ask::Event { name, payload })
    }

    /// Sends a file as a stream; the answer is its id, which the client knows by then.
    pub async fn send(&self, name: &str, blob: Blob) -> Result<Value, Fault> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        self.connection.ask(Ask::Send { name, blob, answer })?;
        answered.await.unwrap_or_else(|_| Err(over()))
    }

    /// The files of this replica.
    #[must_use]
    pub fn blobs(&self) -> &dyn Blobs {
        self.hub.service.blobs.as_ref()
    }

    /// Takes the stream that the client has begun with that id.
    pub(in crate::server) async fn take(&self, stream: Value) -> Result<Upload, Fault> {
        let (answer, answered) = oneshot::channel();
        self.connection.ask(Ask::Take { stream, answer })?;
        answered.await.unwrap_or_else(|_| Err(over()))
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.hub.service.registry
    }

    /// The documents of this replica.
    #[must_use]
    pub fn documents(&self) -> &Arc<Documents> {
        &self.hub.documents
    }

    /// Opens a document for exchange in deltas.
    pub(super) async fn open_document(&self, name: &str) -> Result<Value, Fault> {
        if !self.connection.has_socket() {
            return Err(Fault::new(
                400,
                "documents are opened over a WebSocket; use document/read here",
            ));
        }
        let schema = self.hub.documents.schema(name)?;
        // A replica that has just started is a member in a moment.
        let member = self.hub.peers.is_member();
        let _ = tokio::time::timeout(MEMBER_WITHIN, member).await;
        let token = self.connection.who().token;
        let opened = &self.connection.documents;
        let Some(writer) = opened.writer(&self.hub, &token) else {
            return Err(Fault::new(503, "this replica is no member yet; try again"));
        };
        let writes = self.needs(name, Access::Write).is_ok();
        let document = opened.open(&self.hub, name, writes).await?;
        let writer = json!({"slot": writer.slot(), "incarnation": writer.incarnation()});
        let now_ms = now_ms();
        Ok(json!({"document": document, "schema": schema.to_json(), "writer": writer, "nowMs": now_ms}))
    }

    /// Closes a document of this session; `false` when it is not open.
    pub(super) fn close_document(&self, document: u64) -> bool {
        self.connection.documents.close(&self.hub, document)
    }

    /// Fails unless the caller may do that with the document.
    pub fn needs(&self, document: &str, access: Access) -> Result<(), Fault> {
        let identity = self.connection.identity();
        let granted = self.hub.service.permissions.access(identity.as_deref(), document);
        if granted >= access {
            return Ok(());
        }
        let what = if access == Access::Write { "change" } else { "read" };
        Err(Fault::new(403, format!("you may not {what} {document}")))
    }

    /// Checks a token, and is that identity from now on.
    pub(super) async fn sign_in(&self, token: &str) -> Result<(), Fault> {
        match authenticate(self.hub.service.authenticator.as_ref(), token).await {
            Ok(Some(identity)) => {
                self.connection.identify(Arc::new(identity));
                Ok(())
            }
            Ok(None) => Err(Fault::new(
                501,
                "no keys are set up (--jwt-key-file, --jwks-file)",
            )),
            Err(error @ AuthenticationError::Refused(_)) => Err(Fault::new(401, error.to_string())),
            Err(error @ AuthenticationError::Unavailable(_)) => Err(Fault::new(503, error.to_string())),
        }
    }

    /// The value of a room, told from now on when it changes; `None` when the session follows so many already.
    pub(super) async fn follow(&self, room: &str, rooms_max: usize) -> Result<Option<u64>, Fault> {
        let documents = &self.hub.documents;
        if self.connection.has_socket() {
            let changes = documents.watch(&room_name(room)).await?;
            let mut rooms = lock(&self.connection.rooms);
            if rooms.len() >= rooms_max && !rooms.contains_key(room) {
                return Ok(None);
            }
            rooms.entry(room.to_owned()).or_insert(changes);
        }
        Ok(Some(documents.counter_value(room).await?))
    }
}

fn event(data: &Value) -> Result<Bytes, Fault> {
    let payload = Bytes::from(data.to_string());
    if payload.len() > EVENT_BYTES_MAX {
        let text = format!("an event has at most {EVENT_BYTES_MAX} bytes");
        return Err(Fault::new(413, text));
    }
    Ok(payload)
}

fn over() -> Fault {
    Fault::new(503, "the session has ended")
}
