//! One session: a task that owns its socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pointsman_wire::{DecodeError, PACKET_BYTES_MAX, Packet, SUBPROTOCOL};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::hub::{Hub, Told, WriteError};
use crate::document::Rooms;

/// Changed values are sent at most this often.
const CHANGES_EVERY: Duration = Duration::from_millis(100);
/// A session that was told to move is closed after this long.
const MOVED_WITHIN: Duration = Duration::from_secs(10);
/// A socket that takes nothing for this long is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const ROOMS_PER_SESSION_MAX: usize = 256;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

#[derive(Deserialize)]
pub(super) struct Parameters {
    token: Option<String>,
}

pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(1024 * 1024)
        .max_message_size(Some(PACKET_BYTES_MAX))
        .max_frame_size(Some(PACKET_BYTES_MAX))
}

/// Answers the handshake; the socket itself goes to a task of its own.
pub(super) fn switch<F>(
    mut request: Request,
    protocol: &'static str,
    run: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let offered = |name: &str| {
        let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim() == name))
    };
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let Some(key) = key.filter(|_| offered(protocol)) else {
        let text = format!("this path is a WebSocket; offer the subprotocol {protocol}\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => {
                run(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config())).await)
                    .await
            }
            Err(error) => tracing::debug!(%error, "handshake not finished"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

pub(super) async fn upgrade(
    State(hub): State<Arc<Hub>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let Some((id, told)) = hub.open_session() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "no more sessions here; try again\n",
        )
            .into_response();
    };
    let guard = Open {
        hub: Arc::clone(&hub),
        id,
    };
    let resumed = parameters.token.filter(|token| (1..=64).contains(&token.len()));
    switch(request, SUBPROTOCOL, move |socket| async move {
        let session = Session {
            greeting: resumed.is_some(),
            token: resumed.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>())),
            hub: Arc::clone(&guard.hub),
            socket,
            sequence: 0,
            rooms: BTreeMap::new(),
        };
        session.run(told).await;
        drop(guard);
    })
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
    token: String,
    greeting: bool,
    sequence: u64,
    rooms: BTreeMap<String, watch::Receiver<u64>>,
}

/// Why a session ended.
enum End {
    Gone,
    Close(CloseCode, &'static str),
}

impl Session {
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        let end = self.serve(&mut told).await;
        if let End::Close(code, reason) = end {
            let _ = tokio::time::timeout(
                WRITE_WITHIN,
                self.socket.close(Some(CloseFrame {
                    code,
                    reason: reason.into(),
                })),
            )
            .await;
        }
    }

    async fn serve(&mut self, told: &mut mpsc::Receiver<Told>) -> End {
        let greeting = json!({
            "revision": self.hub.options.revision, "replica": self.hub.replica.to_string(),
            "token": self.token, "resumed": self.greeting,
        });
        if let Err(end) = self.event("session/greeting", &greeting).await {
            return end;
        }
        let mut changes = tokio::time::interval(CHANGES_EVERY);
        changes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let leave = tokio::time::sleep(Duration::MAX / 4);
        tokio::pin!(leave);
        loop {
            let step = tokio::select! {
                message = self.socket.next() => self.message(message).await,
                order = told.recv() => match order {
                    Some(Told::Move { next }) => {
                        leave.as_mut().reset(tokio::time::Instant::now() + MOVED_WITHIN);
                        let token = self.token.clone();
                        self.send(&Packet::Drain { delay_ms: 0, next, token, slot: 0 }).await
                    }
                    Some(Told::Cut) | None => Err(End::Gone),
                },
                _ = changes.tick(), if !self.rooms.is_empty() => self.changes().await,
                () = &mut leave => Err(End::Close(CloseCode::Restart, "moved: make a new connection")),
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
                return Err(End::Close(
                    CloseCode::Unsupported,
                    "packets of this dialect are binary",
                ));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        match Packet::decode(&bytes) {
            Ok(Packet::Call { id, method, payload }) => {
                let (status, value) = self.call(&method, &payload).await;
                let payload = Bytes::from(value.to_string());
                self.send(&Packet::Callback { id, status, payload }).await
            }
            Ok(Packet::Ping { .. }) => self.send(&Packet::Pong { seen: 0 }).await,
            Ok(_) | Err(DecodeError::Kind { .. }) => Ok(()),
            Err(_) => Err(End::Close(CloseCode::Protocol, "packet is malformed")),
        }
    }

    async fn call(&mut self, method: &str, payload: &Bytes) -> (u64, Value) {
        let number = self.hub.counts.requests.fetch_add(1, Ordering::Relaxed);
        let rate = u64::from(self.hub.options.fail_rate_percent.min(100));
        // Evenly spread, so that a demonstration does not hang on luck.
        let fails = number.wrapping_add(1).wrapping_mul(rate) / 100 != number.wrapping_mul(rate) / 100;
        let (status, value) = if fails {
            (500, json!({"error": "failed on purpose (--fail-rate)"}))
        } else {
            match serde_json::from_slice::<Value>(payload) {
                Ok(arguments) => self.answer(method, arguments).await,
                Err(error) => (400, json!({"error": format!("arguments are not JSON: {error}")})),
            }
        };
        if status >= 500 {
            self.hub.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        (status, value)
    }

    async fn answer(&mut self, method: &str, arguments: Value) -> (u64, Value) {
        if method == "echo" {
            return (0, arguments);
        }
        let Some(room) = arguments.get("room").and_then(Value::as_str).map(str::to_owned) else {
            return (400, json!({"error": "room: give the name of a room as text"}));
        };
        match method {
            "room/join" => {
                if self.rooms.len() >= ROOMS_PER_SESSION_MAX || room.len() > crate::document::NAME_BYTES_MAX {
                    return (
                        400,
                        json!({"error": format!("room: at most {ROOMS_PER_SESSION_MAX} rooms a session, with short names")}),
                    );
                }
                let value = self.hub.value(&room);
                let values = self.hub.follow(&room);
                self.rooms.insert(room, values);
                (0, json!({"value": value}))
            }
            "counter/set" => {
                let Some(count) = arguments.get("count").and_then(Value::as_u64) else {
                    return (
                        400,
                        json!({"error": "count: give a whole number, this writer's own total"}),
                    );
                };
                let written = match Rooms::delta(&room, &self.token, count) {
                    Ok(delta) => self.hub.write(delta).await,
                    Err(refused) => Err(refused.into()),
                };
                match written {
                    Ok(()) => (0, json!({"value": self.hub.value(&room)})),
                    Err(error @ WriteError::Refused(_)) => (400, json!({"error": error.to_string()})),
                    Err(error @ WriteError::NotHeld) => (503, json!({"error": error.to_string()})),
                }
            }
            "counter/get" => {
                let mut answer = json!({"value": self.hub.value(&room)});
                if arguments.get("entries").and_then(Value::as_bool) == Some(true)
                    && let Some(fields) = answer.as_object_mut()
                {
                    fields.insert("entries".to_owned(), json!(self.hub.writers(&room)));
                }
                (0, answer)
            }
            _ => (404, json!({"error": format!("no method {method}")})),
        }
    }

    async fn changes(&mut self) -> Result<(), End> {
        let changed: Vec<(String, u64)> = self
            .rooms
            .iter_mut()
            .filter(|(_, values)| values.has_changed().unwrap_or(false))
            .map(|(room, values)| (room.clone(), *values.borrow_and_update()))
            .collect();
        for (room, value) in changed {
            self.event("counter/changed", &json!({"room": room, "value": value}))
                .await?;
        }
        Ok(())
    }

    async fn event(&mut self, name: &str, value: &Value) -> Result<(), End> {
        self.sequence = self.sequence.saturating_add(1);
        let payload = Bytes::from(value.to_string());
        self.send(&Packet::Event {
            sequence: self.sequence,
            name: name.to_owned(),
            payload,
        })
        .await
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), End> {
        let bytes = packet
            .encode()
            .map_err(|_| End::Close(CloseCode::Size, "answer is too large"))?;
        match tokio::time::timeout(WRITE_WITHIN, self.socket.send(Message::Binary(bytes))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
