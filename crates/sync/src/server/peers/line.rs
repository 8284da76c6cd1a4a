//! One connection to a peer that we dialled: packets out, acknowledgements in.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use pointsman_wire::Packet;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::{GREETING, Held, PROTOCOL, PeerError, SILENT_WITHIN, STEP_WITHIN, WHOLE};
use crate::document::Rooms;
use crate::server::control::tokens;
use crate::server::documents::Documents;
use crate::server::handshake::config;
use crate::server::hub::Hub;

/// Well below the bound of a packet.
pub(super) const PART_BYTES_MAX: usize = 192 * 1024;
/// Deltas that may wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Line {
    socket: WebSocketStream<TcpStream>,
    next_id: i64,
    waiting: BTreeMap<i64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    holders: Vec<Held>,
}

impl Line {
    /// Dials with the token of that place in the file, beginning again after the last.
    pub(super) async fn connect(hub: &Hub, address: &str, token: usize) -> Result<Self, PeerError> {
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let mut request = format!("ws://{address}/peer").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        let tokens = tokens(hub).await;
        if let Some(token) = tokens.get(token % tokens.len().max(1)) {
            let value = HeaderValue::from_bytes(&[b"Bearer ", token.as_slice()].concat());
            headers.insert("authorization", value.map_err(|_| PeerError::Token)?);
        }
        let handshake = async {
            let stream = TcpStream::connect(address).await.map_err(SocketError::Io)?;
            let _ = stream.set_nodelay(true);
            tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await
        };
        match tokio::time::timeout(STEP_WITHIN, handshake).await? {
            Ok((socket, _)) => Ok(Self {
                socket,
                next_id: 1,
                waiting: BTreeMap::new(),
            }),
            Err(SocketError::Http(answer)) if answer.status() == http::StatusCode::UNAUTHORIZED => {
                Err(PeerError::Token)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next packet. Kinds that are not known are passed over.
    pub(super) async fn receive(&mut self) -> Result<Packet, PeerError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Ok(packet) = Packet::decode(&bytes) {
                        return Ok(packet);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(PeerError::Protocol("closed")),
            }
        }
    }

    /// Number of the replica at the other end.
    pub(super) async fn greeting(&mut self) -> Result<u64, PeerError> {
        match tokio::time::timeout(STEP_WITHIN, self.receive()).await?? {
            Packet::Event { name, payload, .. } if name == GREETING => std::str::from_utf8(&payload)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(PeerError::Protocol("greeting names no replica")),
            _ => Err(PeerError::Protocol("no greeting")),
        }
    }

    /// Stays connected until the other end closes.
    pub(super) async fn hold(&mut self) -> Result<(), PeerError> {
        let mut shown = tokio::time::interval(SILENT_WITHIN / 3);
        loop {
            tokio::select! {
                packet = self.receive() => { packet?; }
                _ = shown.tick() => self.send(&Rooms::default(), Vec::new()).await?,
            }
            self.waiting.clear();
        }
    }

    /// Learns all that the peer knows.
    pub(super) async fn take_over(&mut self, documents: &Documents, replica: u64) -> Result<(), PeerError> {
        loop {
            match tokio::time::timeout(STEP_WITHIN, self.receive()).await?? {
                Packet::PeerDelta { payload, .. } => {
                    let delta = serde_json::from_slice::<Rooms>(&payload)
                        .map_err(|_| PeerError::Protocol("state is malformed"))?;
                    if let Err(error) = documents.learn(&delta, Some(replica)) {
                        tracing::warn!(%error, "state of a peer is not taken");
                    }
                }
                Packet::Event { name, .. } if name == WHOLE => return Ok(()),
                _ => {}
            }
        }
    }

    /// Says who we are, and sends all that we know, a part at a time; each is held before the next goes.
    pub(super) async fn hand_over(&mut self, documents: &Documents, replica: u64) -> Result<(), PeerError> {
        let payload = Bytes::from(replica.to_string());
        let name = GREETING.to_owned();
        let greeting = Packet::Event {
            sequence: 1,
            name,
            origin: None,
            payload,
        };
        self.write(&greeting).await?;
        let mut after = None;
        loop {
            let (part, next) = documents.part(after.as_ref(), PART_BYTES_MAX);
            self.deliver(&part).await?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn deliver(&mut self, delta: &Rooms) -> Result<(), PeerError> {
        let (held, mut answer) = tokio::sync::oneshot::channel();
        self.send(delta, vec![held]).await?;
        let until = Instant::now() + STEP_WITHIN;
        loop {
            let packet = tokio::time::timeout_at(until, self.receive()).await??;
            self.acknowledged(&packet);
            match answer.try_recv() {
                Ok(()) => return Ok(()),
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {}
                Err(tokio::sync::oneshot::error::TryRecvError::Closed) => {
                    return Err(PeerError::Protocol("refuses our state"));
                }
            }
        }
    }

    /// True when another delta may go.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < UNACKNOWLEDGED_MAX
    }

    /// When the oldest acknowledgement is late.
    pub(super) fn late(&self) -> Instant {
        self.waiting
            .first_key_value()
            .map_or_else(|| Instant::now() + SILENT_WITHIN, |(_, waiting)| waiting.until)
    }

    /// Takes an acknowledgement; a delta that is refused is not held.
    pub(super) fn acknowledged(&mut self, packet: &Packet) {
        if let Packet::Callback { id, status, .. } = packet
            && let Some(waiting) = self.waiting.remove(id)
        {
            if *status == 0 {
                for held in waiting.holders {
                    let _ = held.send(());
                }
            } else {
                tracing::warn!(status, "a peer refuses a delta");
            }
        }
    }

    /// Sends a delta of any size, in parts; the last one is acknowledged last.
    pub(super) async fn send_all(&mut self, delta: &Rooms, holders: Vec<Held>) -> Result<(), PeerError> {
        let mut after = None;
        loop {
            let (part, next) = delta.part(after.as_ref(), PART_BYTES_MAX);
            after = next;
            if after.is_none() {
                return self.send(&part, holders).await;
            }
            self.send(&part, Vec::new()).await?;
        }
    }

    pub(super) async fn send(&mut self, delta: &Rooms, holders: Vec<Held>) -> Result<(), PeerError> {
        let id = self.next_id;
        self.next_id += 1;
        let payload = serde_json::to_vec(delta).map_err(|_| PeerError::Protocol("state has no JSON"))?;
        let until = Instant::now() + STEP_WITHIN;
        self.waiting.insert(id, Waiting { until, holders });
        let payload = Bytes::from(payload);
        let name = String::new();
        self.write(&Packet::PeerDelta { id, name, payload }).await
    }

    async fn write(&mut self, packet: &Packet) -> Result<(), PeerError> {
        let bytes = packet
            .encode()
            .map_err(|_| PeerError::Protocol("state is too large for one packet"))?;
        tokio::time::timeout(STEP_WITHIN, self.socket.send(Message::Binary(bytes))).await??;
        Ok(())
    }
}
