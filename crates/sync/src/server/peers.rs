//! Replication: this replica dials every other one and sends it all state at first, then each delta as it happens.
//!
//! A connection carries state one way; the other replica dials back for its own. What a replica learns from one peer
//! it passes on in its next full push, so a delta that reached only some survives the death of its writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_wire::Packet;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::control::{allowed, refuse};
use super::hub::{Hub, Job, PEER_QUEUE_MAX, PeerHandle};
use super::session::{Socket, config, switch};
use crate::document::Rooms;

/// Subprotocol between replicas.
const PROTOCOL: &str = "pointsman.peer.v1";
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PUSH_EVERY: Duration = Duration::from_secs(5);
const STEP_WITHIN: Duration = Duration::from_secs(5);
const PEERS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Protocol(&'static str),
}

/// Keeps one dialling task for every address that is a peer now.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut tasks: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut wanted: BTreeSet<String> = hub.options.peers.iter().cloned().collect();
        if let Some(name) = &hub.options.peers_dns {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(found) => wanted.extend(found.map(|address| address.to_string())),
                // Unknown is not "nobody": keep whom we have.
                Err(_) => wanted.extend(tasks.keys().cloned()),
            }
        }
        tasks.retain(|address, task| {
            let keep = wanted.contains(address);
            if !keep {
                task.abort();
            }
            keep
        });
        for address in wanted.into_iter().take(PEERS_MAX) {
            tasks
                .entry(address.clone())
                .or_insert_with(|| tokio::spawn(dial(Arc::clone(&hub), address)));
        }
    }
}

async fn dial(hub: Arc<Hub>, address: String) {
    loop {
        if let Err(error) = link(&hub, &address).await {
            tracing::debug!(address, %error, "peer is not reached");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

type PeerSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(hub: &Hub, address: &str) -> Result<PeerSocket, PeerError> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let mut request = format!("ws://{address}/peer").into_client_request()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    if let Some(file) = &hub.options.control_token_file
        && let Ok(token) = tokio::fs::read_to_string(file).await
        && let Ok(value) = HeaderValue::from_str(&format!(
            "Bearer {}",
            token.lines().next().unwrap_or_default().trim()
        ))
    {
        request.headers_mut().insert("authorization", value);
    }
    let connected = tokio_tungstenite::connect_async_with_config(request, Some(config()), true);
    let (socket, _) = tokio::time::timeout(STEP_WITHIN, connected).await??;
    Ok(socket)
}

/// One connection, from greeting to end. The peer is live once it holds all that we have.
async fn link(hub: &Arc<Hub>, address: &str) -> Result<(), PeerError> {
    let mut socket = connect(hub, address).await?;
    let replica = greeting(&mut socket).await?;
    if replica == hub.replica {
        // Ourselves. Hold the line until the name is no longer ours, so that we do not dial again and again.
        while let Some(Ok(_)) = socket.next().await {}
        return Ok(());
    }
    let (queue, mut jobs) = mpsc::channel(PEER_QUEUE_MAX);
    let (held, first) = oneshot::channel();
    let mut waiting: BTreeMap<i64, oneshot::Sender<()>> = BTreeMap::new();
    let mut id = 1;
    send(&mut socket, id, &hub.everything()).await?;
    waiting.insert(id, held);
    let live = Live {
        hub: Arc::clone(hub),
        replica,
    };
    let mut first = Some(first);
    let mut pushes = tokio::time::interval(PUSH_EVERY);
    pushes.tick().await;
    loop {
        tokio::select! {
            job = jobs.recv(), if waiting.len() < PEER_QUEUE_MAX => {
                let Some(Job { delta, held }) = job else { return Ok(()) };
                id += 1;
                waiting.insert(id, held);
                send(&mut socket, id, &delta).await?;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Ok(Packet::Callback { id, status: 0, .. }) = Packet::decode(&bytes)
                        && let Some(held) = waiting.remove(&id)
                    {
                        let _ = held.send(());
                    }
                    if let Some(mut waiting_for) = first.take() {
                        match waiting_for.try_recv() {
                            Ok(()) => live.hub.add_peer(replica, PeerHandle { queue: queue.clone() }),
                            Err(_) => first = Some(waiting_for),
                        }
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(PeerError::Protocol("closed")),
            },
            _ = pushes.tick() => {
                id += 1;
                send(&mut socket, id, &hub.everything()).await?;
            }
        }
    }
}

/// The peer counts as live until this is dropped, however its task ends.
struct Live {
    hub: Arc<Hub>,
    replica: u64,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hub.remove_peer(self.replica);
    }
}

async fn greeting(socket: &mut PeerSocket) -> Result<u64, PeerError> {
    match tokio::time::timeout(STEP_WITHIN, socket.next()).await? {
        Some(Ok(Message::Binary(bytes))) => match Packet::decode(&bytes) {
            Ok(Packet::Event { payload, .. }) => std::str::from_utf8(&payload)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(PeerError::Protocol("greeting names no replica")),
            Ok(_) | Err(_) => Err(PeerError::Protocol("no greeting")),
        },
        Some(Ok(_)) | None => Err(PeerError::Protocol("no greeting")),
        Some(Err(error)) => Err(error.into()),
    }
}

async fn send(socket: &mut PeerSocket, id: i64, delta: &Rooms) -> Result<(), PeerError> {
    let payload =
        Bytes::from(serde_json::to_vec(delta).map_err(|_| PeerError::Protocol("state has no JSON"))?);
    let bytes = Packet::Delta { id, payload }
        .encode()
        .map_err(|_| PeerError::Protocol("state is too large for one packet"))?;
    tokio::time::timeout(STEP_WITHIN, socket.send(Message::Binary(bytes))).await??;
    Ok(())
}

/// Hands everything to every live peer and waits until each holds it.
pub(super) async fn push_everything(hub: &Arc<Hub>) {
    let everything = hub.everything();
    let mut waits = Vec::new();
    for peer in hub.peer_handles() {
        let (held, wait) = oneshot::channel();
        if peer
            .queue
            .send(Job {
                delta: Arc::clone(&everything),
                held,
            })
            .await
            .is_ok()
        {
            waits.push(wait);
        }
    }
    futures::future::join_all(waits).await;
}

/// The other end: merges what comes and says that it is held.
pub(super) async fn accept(State(hub): State<Arc<Hub>>, headers: HeaderMap, request: Request) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    switch(request, PROTOCOL, move |socket| receive(hub, socket))
}

async fn receive(hub: Arc<Hub>, mut socket: Socket) {
    let payload = Bytes::from(hub.replica.to_string());
    let greeting = Packet::Event {
        sequence: 1,
        name: "peer/greeting".to_owned(),
        payload,
    };
    let Ok(greeting) = greeting.encode() else { return };
    if socket.send(Message::Binary(greeting)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Ok(Packet::Delta { id, payload }) = Packet::decode(&bytes) else {
            continue;
        };
        let merged = serde_json::from_slice::<Rooms>(&payload)
            .ok()
            .is_some_and(|delta| hub.merge(&delta).is_ok());
        let status = if merged { 0 } else { 400 };
        let Ok(answer) = (Packet::Callback {
            id,
            status,
            payload: Bytes::new(),
        })
        .encode() else {
            return;
        };
        if socket.send(Message::Binary(answer)).await.is_err() {
            return;
        }
    }
}
