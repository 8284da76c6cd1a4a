//! One connection to another replica, from its first packet to its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use pointsman_crdt::Replica;
use pointsman_replication::members::Hello;
use pointsman_wire::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::discovery::Trying;
use super::{CLAIM, PROTOCOL, STEP_WITHIN, hello, talk};
use crate::server::control::{allowed, refuse};
use crate::server::handshake::switch;
use crate::server::hub::{Hub, lock};

/// Packets that wait to be written; a peer that does not keep up begins afresh.
const QUEUE_MAX: usize = 16_384;
/// Answers that are waited for.
const WAITS_MAX: usize = 65_536;
/// A connection says something this often, and is dead when the other end says nothing for longer.
const PING_EVERY: Duration = Duration::from_secs(1);
const SILENT_WITHIN: Duration = Duration::from_secs(5);

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Waits {
    Delta(Arc<str>, u64),
    Digest(Arc<str>, u64),
    Call(oneshot::Sender<(u64, Bytes)>),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Different for each of this process.
    pub(super) number: u64,
    /// This process made it.
    pub(super) dialled: bool,
    process: OnceLock<u64>,
    replica: Mutex<Option<Replica>>,
    queue: mpsc::Sender<Bytes>,
    ended: CancellationToken,
    waits: Mutex<(i64, BTreeMap<i64, Waits>)>,
    /// It has what it missed of the events that began here; what is new may go.
    caught_up: AtomicBool,
}

impl Link {
    fn new(number: u64, dialled: bool, ended: CancellationToken) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let link = Self {
            number,
            dialled,
            process: OnceLock::new(),
            replica: Mutex::new(None),
            queue,
            ended,
            waits: Mutex::new((1, BTreeMap::new())),
            caught_up: AtomicBool::new(false),
        };
        (Arc::new(link), queued)
    }

    pub(super) fn process(&self) -> Option<u64> {
        self.process.get().copied()
    }

    pub(super) fn replica(&self) -> Option<Replica> {
        *lock(&self.replica)
    }

    pub(super) fn set_peer(&self, hello: &Hello) {
        let _ = self.process.set(hello.process);
        *lock(&self.replica) = hello.replica;
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    pub(super) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Sends a packet; what does not fit ends the connection, and both ends begin afresh.
    pub(super) fn send(&self, packet: &Packet) {
        match packet.encode() {
            Ok(bytes) => {
                if self.queue.try_send(bytes).is_err() {
                    self.end();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a packet for a peer is not sent");
                self.end();
            }
        }
    }

    /// An id for something that is answered.
    pub(super) fn wait(&self, waits: Waits) -> i64 {
        let mut waiting = lock(&self.waits);
        let id = waiting.0;
        // Ids fit into 32 bits; a connection that used them all begins afresh.
        if waiting.1.len() >= WAITS_MAX || id >= i64::from(u32::MAX) {
            self.end();
        }
        waiting.0 += 1;
        waiting.1.insert(id, waits);
        id
    }

    pub(super) fn answered(&self, id: i64) -> Option<Waits> {
        lock(&self.waits).1.remove(&id)
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// How a connection that was dialled went.
pub(super) enum Run {
    /// It lived and has ended.
    Ended,
    /// It leads to this process itself, or to one that is connected already.
    Needless(Arc<Link>),
}

/// Runs a connection to its end. A dialled one speaks first. `trying` is dropped once the other end is known; `None` when
/// that never was.
pub(super) async fn run<S>(
    hub: &Arc<Hub>,
    socket: WebSocketStream<S>,
    dialled: bool,
    trying: &mut Option<Trying>,
) -> Option<Run>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peers = &hub.peers;
    let (link, queued) = Link::new(peers.next_link(), dialled, hub.ended.child_token());
    let (sink, mut stream) = socket.split();
    tokio::spawn(write(Arc::clone(&link), sink, queued));
    if dialled {
        let hello = peers.hello(&lock(&peers.state).members);
        link.send(&hello);
    }
    let first = tokio::time::timeout(STEP_WITHIN, receive(&mut stream)).await;
    let hello = match first {
        Ok(Some(Packet::Event { name, payload, .. })) if name == hello::HELLO => hello::parse(&payload),
        _ => None,
    };
    let Some((hello, points)) = hello else {
        link.end();
        return None;
    };
    if hello.process == peers.process {
        if !dialled {
            // Answered, so that the other end of it knows as well.
            link.send(&hello::packet(&hello, &points));
        }
        *trying = None;
        hold(&link, &mut stream).await;
        return Some(Run::Ended);
    }
    if !peers.heard(&link, &hello) {
        if !dialled {
            // So that the other end knows that it is connected already, and does not dial again and again.
            let hello = peers.hello(&lock(&peers.state).members);
            link.send(&hello);
        }
        link.end();
        *trying = None;
        let other = lock(&peers.state).links.get(&hello.process).cloned();
        return Some(other.map_or(Run::Ended, Run::Needless));
    }
    *trying = None;
    hub.documents.look();
    let events = &hub.service.events;
    events.catch_up(
        peers.me(),
        &points,
        |packet| link.send(packet),
        || link.set_caught_up(),
    );
    serve(hub, &link, &mut stream).await;
    link.end();
    peers.ended(&link);
    hub.documents.look();
    Some(Run::Ended)
}

/// A connection to ourselves: kept, so that it is not dialled again and again.
async fn hold<S>(link: &Link, stream: &mut SplitStream<WebSocketStream<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let packets = async { while receive(stream).await.is_some() {} };
    tokio::select! {
        () = packets => {}
        () = link.ended() => {}
    }
    link.end();
}

async fn serve<S>(hub: &Arc<Hub>, link: &Arc<Link>, stream: &mut SplitStream<WebSocketStream<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let packet = tokio::select! {
            packet = tokio::time::timeout(SILENT_WITHIN, receive(stream)) => packet,
            () = link.ended() => return,
        };
        let Ok(Some(packet)) = packet else { return };
        if !take(hub, link, packet).await {
            return;
        }
    }
}

/// Does what a packet asks; `false` when the connection is over.
async fn take(hub: &Arc<Hub>, link: &Arc<Link>, packet: Packet) -> bool {
    match packet {
        Packet::Ping { .. } | Packet::Pong { .. } => {}
        Packet::Event {
            name,
            payload,
            origin: Some(origin),
            ..
        } => hub.service.events.heard(origin, name, payload),
        Packet::Event { name, payload, .. } => match name.as_str() {
            hello::HELLO => {
                let Some((hello, _)) = hello::parse(&payload) else {
                    return false;
                };
                if Some(hello.process) != link.process() || !hub.peers.heard(link, &hello) {
                    return false;
                }
                hub.documents.look();
            }
            hello::BYE => {
                if let Some(process) = link.process() {
                    hub.peers.left(process);
                }
                return false;
            }
            _ => tracing::debug!(name, "an event of a peer is not known here"),
        },
        Packet::Call { id, method, payload } => call(hub, link, id, method, payload),
        packet => {
            if let Some((name, message)) = talk::message(link, packet)
                && let Some(from) = link.replica()
            {
                hub.documents.peer(&name, from, link.number, message).await;
            }
        }
    }
    true
}

fn call(hub: &Arc<Hub>, link: &Arc<Link>, id: i64, method: String, payload: Bytes) {
    let answer = |status, payload| Packet::Callback { id, status, payload };
    if method == CLAIM {
        let packet = match hub.peers.claimed(link) {
            Some(payload) => answer(0, payload),
            None => answer(503, Bytes::new()),
        };
        link.send(&packet);
        return;
    }
    let (Some(handler), Some(from)) = (hub.peers.handler.get(), link.replica()) else {
        link.send(&answer(404, Bytes::new()));
        return;
    };
    let handled = handler(from, method, payload);
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let (status, payload) = handled.await;
        link.send(&Packet::Callback { id, status, payload });
    });
}

/// The next packet. Kinds that are not known are passed over.
async fn receive<S>(stream: &mut SplitStream<WebSocketStream<S>>) -> Option<Packet>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match stream.next().await? {
            Ok(Message::Binary(bytes)) => {
                if let Ok(packet) = Packet::decode(&bytes) {
                    return Some(packet);
                }
            }
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Writes what is queued; what is there already goes out together.
async fn write<S>(
    link: Arc<Link>,
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut queued: mpsc::Receiver<Bytes>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The first thing that is said is who one is.
    let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ping = Packet::Ping { seen: 0 }.encode().unwrap_or_default();
    loop {
        let bytes = tokio::select! {
            biased;
            bytes = queued.recv() => bytes,
            _ = pings.tick() => Some(ping.clone()),
            () = link.ended() => break,
        };
        let Some(bytes) = bytes else { break };
        let all = async {
            sink.feed(Message::Binary(bytes)).await?;
            while let Ok(more) = queued.try_recv() {
                sink.feed(Message::Binary(more)).await?;
            }
            sink.flush().await
        };
        if !matches!(tokio::time::timeout(STEP_WITHIN, all).await, Ok(Ok(()))) {
            break;
        }
    }
    link.end();
    let _ = tokio::time::timeout(STEP_WITHIN, sink.close()).await;
}

/// A replica dials.
pub(in crate::server) async fn accept(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let Ok(place) = Arc::clone(&hub.peer_places).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no more peers here\n").into_response();
    };
    let ended = hub.ended.clone();
    switch(request, PROTOCOL, ended, move |socket| async move {
        if let Some(socket) = socket {
            run(&hub, socket, false, &mut None).await;
        }
        drop(place);
    })
}
