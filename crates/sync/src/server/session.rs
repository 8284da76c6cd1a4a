//! One session: a task that owns its socket.

mod calls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_wire::{DecodeError, Packet, SUBPROTOCOL};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::handshake::{Socket, switch};
use super::hub::{Hub, Told};

/// Changed values are sent at most this often.
const CHANGES_EVERY: Duration = Duration::from_millis(100);
/// A socket that takes nothing for this long is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// A client that is silent for so long is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that is silent for so long is gone, whatever TCP says.
const SILENT_WITHIN: Duration = Duration::from_secs(90);
const TOKEN_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
pub(super) struct Parameters {
    token: Option<String>,
}

/// A handshake until it is greeted; counted as failed when it never is.
struct Handshake(Arc<Hub>, bool);

impl Handshake {
    fn begin(hub: &Arc<Hub>) -> Self {
        hub.counts.handshakes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(hub), false)
    }

    fn greeted(mut self) {
        self.1 = true;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.counts.handshakes.fetch_sub(1, Ordering::Relaxed);
        if !self.1 {
            self.0.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) async fn upgrade(
    State(hub): State<Arc<Hub>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let handshake = Handshake::begin(&hub);
    let Some((id, told)) = hub.open_session() else {
        let text = "no more sessions here; try again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let guard = Open {
        hub: Arc::clone(&hub),
        id,
    };
    let token = parameters.token.filter(|token| is_token(token));
    let ended = hub.ended.clone();
    switch(request, SUBPROTOCOL, ended, move |socket| async move {
        if let Some(socket) = socket {
            let session = Session::new(Arc::clone(&guard.hub), socket, token);
            session.run(told, handshake).await;
        }
        drop(guard);
    })
}

/// Tokens go into URLs as they are.
fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Counts the session until it is dropped, wherever its task ends.
struct Open {
    hub: Arc<Hub>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hub.close_session(self.id);
    }
}

struct Session {
    hub: Arc<Hub>,
    socket: Socket,
    /// Whoever shows it is the same writer.
    token: String,
    /// Name of the writer in documents, which everybody may read; so it must not tell the token.
    writer: String,
    resumed: bool,
    sequence: u64,
    rooms: BTreeMap<String, watch::Receiver<u64>>,
}

/// Why a session ended.
enum End {
    Gone,
    Close(CloseCode, &'static str),
}

impl Session {
    fn new(hub: Arc<Hub>, socket: Socket, shown: Option<String>) -> Self {
        let resumed = shown.is_some();
        let token = shown.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let digest = Sha256::digest(token.as_bytes());
        let writer = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            hub,
            socket,
            token,
            writer,
            resumed,
            sequence: 0,
            rooms: BTreeMap::new(),
        }
    }

    async fn run(mut self, mut told: mpsc::Receiver<Told>, handshake: Handshake) {
        let end = match self.greet().await {
            Ok(()) => {
                handshake.greeted();
                self.serve(&mut told).await
            }
            Err(end) => end,
        };
        if let End::Close(code, reason) = end {
            let reason = reason.into();
            let close = self.socket.close(Some(CloseFrame { code, reason }));
            let _ = tokio::time::timeout(WRITE_WITHIN, close).await;
        }
    }

    async fn greet(&mut self) -> Result<(), End> {
        let greeting = json!({
            "revision": self.hub.options.revision, "replica": self.hub.replica.to_string(),
            "token": self.token, "writer": self.writer, "resumed": self.resumed,
        });
        self.event("session/greeting", &greeting).await
    }

    async fn serve(&mut self, told: &mut mpsc::Receiver<Told>) -> End {
        let mut changes = tokio::time::interval(CHANGES_EVERY);
        changes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut heard = Instant::now();
        let mut leave_at: Option<Instant> = None;
        loop {
            let step = tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    self.message(message).await
                }
                order = told.recv() => match order {
                    Some(Told::Move { next }) => {
                        leave_at = Some(Instant::now() + self.hub.options.moved_within);
                        let token = self.token.clone();
                        self.send(&Packet::Drain { delay_ms: 0, next, token, slot: 0 }).await
                    }
                    Some(Told::Close) => Err(End::Close(CloseCode::Restart, "this replica ends: make a new connection")),
                    Some(Told::Cut) | None => Err(End::Gone),
                },
                _ = changes.tick(), if !self.rooms.is_empty() => self.changes().await,
                _ = pings.tick() => match heard.elapsed() {
                    silent if silent >= SILENT_WITHIN => Err(End::Gone),
                    silent if silent >= PING_EVERY => self.send(&Packet::Ping { seen: 0 }).await,
                    _ => Ok(()),
                },
                () = until(leave_at) => Err(End::Close(CloseCode::Restart, "moved: make a new connection")),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn message(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), End> {
        let bytes = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                let reason = "packets of this dialect are binary";
                return Err(End::Close(CloseCode::Unsupported, reason));
            }
            Some(Err(SocketError::Capacity(_))) => {
                return Err(End::Close(CloseCode::Size, "packet is too large"));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        match Packet::decode(&bytes) {
            Ok(Packet::Call { id, method, payload }) => {
                let (status, value) = self.call(&method, &payload).await;
                self.answer(id, status, &value).await
            }
            Ok(Packet::Ping { .. }) => self.send(&Packet::Pong { seen: 0 }).await,
            Ok(_) | Err(DecodeError::Kind { .. }) => Ok(()),
            Err(_) => Err(End::Close(CloseCode::Protocol, "packet is malformed")),
        }
    }

    async fn answer(&mut self, id: i64, status: u64, value: &Value) -> Result<(), End> {
        let packet = |status, value: &Value| Packet::Callback {
            id,
            status,
            payload: Bytes::from(value.to_string()),
        };
        let mut bytes = packet(status, value).encode();
        if bytes.is_err() {
            let error = json!({"error": "the answer does not fit into one packet; ask for less"});
            bytes = packet(413, &error).encode();
        }
        match bytes {
            Ok(bytes) => self.write(bytes).await,
            Err(_) => Err(End::Close(CloseCode::Size, "answer is too large")),
        }
    }

    async fn changes(&mut self) -> Result<(), End> {
        let changed: Vec<String> = self
            .rooms
            .iter_mut()
            .filter(|(_, changes)| changes.has_changed().unwrap_or(false))
            .map(|(room, changes)| {
                changes.borrow_and_update();
                room.clone()
            })
            .collect();
        for room in changed {
            // A room that does not answer now is looked at again with its next change.
            let Ok(value) = self.hub.documents.counter_value(&room).await else {
                continue;
            };
            let change = json!({"room": room, "value": value});
            self.event("counter/changed", &change).await?;
        }
        Ok(())
    }

    async fn event(&mut self, name: &str, value: &Value) -> Result<(), End> {
        self.sequence = self.sequence.saturating_add(1);
        let payload = Bytes::from(value.to_string());
        self.send(&Packet::Event {
            sequence: self.sequence,
            name: name.to_owned(),
            origin: None,
            payload,
        })
        .await
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), End> {
        match packet.encode() {
            Ok(bytes) => self.write(bytes).await,
            Err(_) => Err(End::Close(CloseCode::Size, "packet is too large")),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), End> {
        match tokio::time::timeout(WRITE_WITHIN, self.socket.send(Message::Binary(bytes))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

/// Never, when there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
