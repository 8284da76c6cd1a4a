//! Replication: this replica dials every other one, takes over all state, hands over its own, and then sends each write
//! as it happens.
//!
//! After the first exchange a connection carries state one way; the other replica dials back for its own. What a
//! replica learns from one peer it relays to the others a little later, so a write that reached only some survives the
//! death of its replica. A relay carries what changed since the last, never all state.

mod line;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use pointsman_wire::Packet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use self::line::{Line, PART_BYTES_MAX};
use super::control::{allowed, refuse};
use super::documents::{Job, Outbox, PEER_QUEUE_MAX};
use super::handshake::{Socket, switch};
use super::hub::Hub;
use crate::document::Rooms;

/// Subprotocol between replicas.
const PROTOCOL: &str = "pointsman.peer.v1";
/// Event that tells the number of the replica.
const GREETING: &str = "peer/greeting";
/// Event after which all state of the replica was sent.
const WHOLE: &str = "peer/whole";
const LOOK_EVERY: Duration = Duration::from_secs(1);
const DIAL_EVERY: Duration = Duration::from_millis(500);
/// Ready without the others' state after this long: they may be gone.
const JOIN_WITHIN: Duration = Duration::from_secs(5);
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// A peer sends its relay every few seconds, be it empty; one that is silent for longer is gone.
const SILENT_WITHIN: Duration = Duration::from_secs(30);
const PEERS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("refuses our token")]
    Token,
    #[error("{0}")]
    Protocol(&'static str),
}

/// A task that dials one address.
struct Dialler {
    /// False once the address is nobody's: then its link lives until it breaks, and is not made again.
    wanted: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Dropped when an address was reached, or cannot be.
type Trying = mpsc::Sender<Infallible>;

/// Keeps one dialling task for every address that is a peer now.
pub(super) async fn run(hub: Arc<Hub>) {
    let (trying, tried) = mpsc::channel::<Infallible>(1);
    let mut trying = Some(trying);
    tokio::spawn(join(Arc::clone(&hub), tried));
    let mut diallers: BTreeMap<String, Dialler> = BTreeMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut wanted = hub.options.peers.clone();
        let mut found_all = true;
        if let Some(name) = &hub.options.peers_dns {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(found) => wanted.extend(found.map(|address| address.to_string())),
                // Unknown is not "nobody": keep whom we have.
                Err(error) => {
                    tracing::debug!(name, %error, "peers are not found");
                    wanted.extend(diallers.keys().cloned());
                    found_all = false;
                }
            }
        }
        wanted.truncate(PEERS_MAX);
        for (address, dialler) in &diallers {
            dialler.wanted.store(wanted.contains(address), Ordering::Relaxed);
        }
        diallers.retain(|_, dialler| !dialler.task.is_finished());
        for address in wanted {
            diallers.entry(address).or_insert_with_key(|address| {
                let wanted = Arc::new(AtomicBool::new(true));
                let dial = dial(
                    Arc::clone(&hub),
                    address.clone(),
                    Arc::clone(&wanted),
                    trying.clone(),
                );
                Dialler {
                    wanted,
                    task: tokio::spawn(ending(Arc::clone(&hub), dial)),
                }
            });
        }
        if found_all {
            trying = None;
        }
    }
}

/// Runs a task until the replica ends.
async fn ending(hub: Arc<Hub>, task: impl Future<Output = ()>) {
    hub.ended.run_until_cancelled(task).await;
}

/// Calls the replica joined once every peer of the first look was tried.
async fn join(hub: Arc<Hub>, mut tried: mpsc::Receiver<Infallible>) {
    if tokio::time::timeout(JOIN_WITHIN, tried.recv()).await.is_err() {
        tracing::warn!("not every peer answered; ready without");
    }
    hub.set_joined();
}

async fn dial(hub: Arc<Hub>, address: String, wanted: Arc<AtomicBool>, mut trying: Option<Trying>) {
    // The first token of the file, and after a refusal the next: the peer's file may be older or newer than ours.
    let mut token = 0;
    while wanted.load(Ordering::Relaxed) {
        match link(&hub, &address, token, &mut trying).await {
            Ok(()) => tracing::debug!(address, "peer has left"),
            Err(error) => {
                token = if matches!(error, PeerError::Token) {
                    token + 1
                } else {
                    0
                };
                tracing::debug!(address, %error, "peer is not reached");
            }
        }
        trying = None;
        tokio::time::sleep(DIAL_EVERY).await;
    }
}

/// One connection, from greeting to end. The peer is live once it holds all that we have.
async fn link(
    hub: &Arc<Hub>,
    address: &str,
    token: usize,
    trying: &mut Option<Trying>,
) -> Result<(), PeerError> {
    let mut line = Line::connect(hub, address, token).await?;
    let replica = line.greeting().await?;
    if replica == hub.replica {
        *trying = None;
        // Ourselves. Hold the line, so that we do not dial again and again.
        return line.hold().await;
    }
    line.take_over(&hub.documents, replica).await?;
    let (queue, mut jobs) = mpsc::channel(PEER_QUEUE_MAX);
    let attached = hub.documents.attach(replica, queue);
    line.hand_over(&hub.documents, hub.replica).await?;
    attached.outbox.set_live();
    *trying = None;
    tracing::debug!(address, replica, "peer is live");
    serve(hub, &mut line, &attached.outbox, &mut jobs).await
}

async fn serve(
    hub: &Hub,
    line: &mut Line,
    outbox: &Outbox,
    jobs: &mut mpsc::Receiver<Job>,
) -> Result<(), PeerError> {
    let mut relays = tokio::time::interval(hub.options.relay_every);
    relays.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let late = line.late();
        tokio::select! {
            job = jobs.recv(), if line.has_room() => match job {
                Some(Job::Write { delta, held }) => {
                    let (delta, holders, flush) = together(&delta, held, jobs);
                    line.send(&delta, holders).await?;
                    if let Some(held) = flush {
                        line.send_all(&outbox.take_deferred(), vec![held]).await?;
                    }
                }
                Some(Job::Flush { held }) => line.send_all(&outbox.take_deferred(), vec![held]).await?,
                None => return Ok(()),
            },
            message = line.receive() => line.acknowledged(&message?),
            _ = relays.tick(), if line.has_room() => {
                // An empty one shows that both ends live.
                line.send_all(&outbox.take_deferred(), Vec::new()).await?;
            }
            () = tokio::time::sleep_until(late) => return Err(PeerError::Protocol("does not acknowledge")),
        }
    }
}

type Held = tokio::sync::oneshot::Sender<()>;

/// Writes that wait already go in one packet; a flush ends the gathering.
fn together(
    first: &Arc<Rooms>,
    held: Held,
    jobs: &mut mpsc::Receiver<Job>,
) -> (Rooms, Vec<Held>, Option<Held>) {
    let mut delta = Rooms::clone(first);
    let mut holders = vec![held];
    // 100 entries of any names fit into a packet.
    while holders.len() < 100 {
        match jobs.try_recv() {
            // Part of our own state, so it is within the same bounds.
            Ok(Job::Write { delta: more, held }) => {
                let _ = delta.merge(&more);
                holders.push(held);
            }
            Ok(Job::Flush { held }) => return (delta, holders, Some(held)),
            Err(_) => break,
        }
    }
    (delta, holders, None)
}

/// The other end: sends all state, then merges what comes and says that it is held.
pub(super) async fn accept(State(hub): State<Arc<Hub>>, headers: HeaderMap, request: Request) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let Ok(place) = Arc::clone(&hub.peer_places).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no more peers here\n").into_response();
    };
    let ended = hub.ended.clone();
    switch(request, PROTOCOL, ended, move |socket| async move {
        if let Some(mut socket) = socket {
            let _: Option<()> = receive(&hub, &mut socket, place).await;
        }
    })
}

/// Places for the peers that dial us.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PEERS_MAX))
}

/// `None` once the socket has ended.
async fn receive(hub: &Hub, socket: &mut Socket, _place: OwnedSemaphorePermit) -> Option<()> {
    let event = |sequence, name: &str, payload: String| Packet::Event {
        sequence,
        name: name.to_owned(),
        origin: None,
        payload: Bytes::from(payload),
    };
    send(socket, &event(1, GREETING, hub.replica.to_string())).await?;
    let mut after = None;
    loop {
        let (part, next) = hub.documents.part(after.as_ref(), PART_BYTES_MAX);
        let payload = Bytes::from(serde_json::to_vec(&part).ok()?);
        let name = String::new();
        send(socket, &Packet::PeerDelta { id: 0, name, payload }).await?;
        after = next;
        if after.is_none() {
            break;
        }
    }
    send(socket, &event(2, WHOLE, String::new())).await?;
    let mut from = None;
    loop {
        let message = tokio::time::timeout(SILENT_WITHIN, socket.next())
            .await
            .ok()??
            .ok()?;
        let Message::Binary(bytes) = message else { continue };
        match Packet::decode(&bytes) {
            Ok(Packet::PeerDelta { id, payload, .. }) => {
                let delta = serde_json::from_slice::<Rooms>(&payload).ok();
                let learnt = delta.and_then(|delta| hub.documents.learn(&delta, from).ok());
                let status = if learnt.is_some() { 0 } else { 400 };
                let payload = Bytes::new();
                send(socket, &Packet::Callback { id, status, payload }).await?;
            }
            Ok(Packet::Event { name, payload, .. }) if name == GREETING => {
                from = std::str::from_utf8(&payload).ok()?.parse().ok();
            }
            // A later version may say more.
            Ok(_) | Err(_) => {}
        }
    }
}

async fn send(socket: &mut Socket, packet: &Packet) -> Option<()> {
    let bytes = packet.encode().ok()?;
    let sent = tokio::time::timeout(STEP_WITHIN, socket.send(Message::Binary(bytes))).await;
    sent.ok()?.ok()
}
