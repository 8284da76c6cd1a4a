//! A client that has a document open: it writes to it, sees its changes, and moves when it is told to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_crdt::{Digest, Document, Map, Operation, Replica, Schema, SetOperation, State, Value};
use pointsman_wire::Packet;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::service::LIMIT;

/// What a watcher has come to know.
#[derive(Debug, Default)]
pub struct Watched {
    /// Each change that became visible, in the order of becoming so.
    pub seen: Mutex<Vec<String>>,
    /// What its counter says.
    pub likes: AtomicUsize,
    /// Its own writes that were acknowledged.
    pub acknowledged: AtomicUsize,
    /// Sockets that it made after the first.
    pub disconnects: AtomicUsize,
    /// What happened to it last.
    pub last: Mutex<String>,
    over: AtomicBool,
}

/// A watcher that runs.
pub struct Watcher {
    pub watched: Arc<Watched>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub fn start(gateway: SocketAddr, name: &str, document: &str) -> Self {
        let watched = Arc::new(Watched::default());
        let client = Client {
            gateway,
            name: name.to_owned(),
            document: document.to_owned(),
            copy: Document::new(schema()),
            token: None,
            writer: Replica::new(0, 1).unwrap(),
            next_id: 1,
            unacknowledged: None,
            visible: BTreeSet::new(),
            watched: Arc::clone(&watched),
        };
        let task = tokio::spawn(client.run());
        Self { watched, task }
    }

    /// Stops to write, once the last write is acknowledged; goes on to watch.
    pub fn write_no_more(&self) {
        self.watched.over.store(true, Ordering::Relaxed);
    }

    /// What it asserts must have held.
    pub fn check(&self) {
        assert!(!self.task.is_finished(), "a watcher has failed");
    }

    pub fn end(self) {
        self.check();
        self.task.abort();
    }
}

fn schema() -> Schema {
    Schema::new([("likes", "g-counter"), ("tags", "2p-set")]).unwrap()
}

struct Socket {
    stream: WebSocketStream<TcpStream>,
    document: u64,
}

struct Client {
    gateway: SocketAddr,
    name: String,
    document: String,
    copy: Document,
    token: Option<String>,
    writer: Replica,
    next_id: i64,
    unacknowledged: Option<(i64, State<Map>)>,
    visible: BTreeSet<String>,
    watched: Arc<Watched>,
}

impl Client {
    async fn run(mut self) {
        let mut socket = self.open("").await;
        let mut number = 0;
        loop {
            if self.unacknowledged.is_none() && !self.watched.over.load(Ordering::Relaxed) {
                number += 1;
                self.write(&mut socket, number).await;
            }
            match tokio::time::timeout(Duration::from_millis(20), next(&mut socket.stream)).await {
                Ok(Some(packet)) => self.take(packet, &mut socket).await,
                Ok(None) => {
                    self.watched.disconnects.fetch_add(1, Ordering::Relaxed);
                    socket = self.open("").await;
                }
                Err(_) => {}
            }
        }
    }

    /// A write is one tag and one like: whoever sees one sees both.
    async fn write(&mut self, socket: &mut Socket, number: usize) {
        let tag = Value::text(&format!("{}/{number}", self.name));
        let add = Operation::TwoPhaseSet(SetOperation::Add(tag));
        let delta = self.copy.update(self.writer, "tags", add);
        let mut delta = delta.unwrap().unwrap();
        let like = self.copy.update(self.writer, "likes", Operation::GCounter(1));
        delta.join(&like.unwrap().unwrap()).unwrap();
        self.look();
        self.send_delta(socket, delta).await;
    }

    async fn send_delta(&mut self, socket: &mut Socket, delta: State<Map>) {
        let id = self.id();
        let payload = Bytes::from(delta.encode());
        self.unacknowledged = Some((id, delta));
        let document = socket.document;
        self.note(&format!("sends delta {id}"));
        send(
            &mut socket.stream,
            &Packet::Delta {
                id,
                document,
                payload,
            },
        )
        .await;
    }

    fn note(&self, what: &str) {
        *self.watched.last.lock().unwrap() = format!("{}: {what}", self.name);
    }

    async fn take(&mut self, packet: Packet, socket: &mut Socket) {
        match packet {
            Packet::Delta { payload, .. } => {
                self.copy.join(&State::decode(&payload).unwrap()).unwrap();
                self.look();
            }
            Packet::Callback { id, status, payload } => {
                let Some((_, delta)) = self.unacknowledged.take_if(|(of, _)| *of == id) else {
                    return;
                };
                self.note(&format!("answered {status}"));
                match status {
                    0 => {
                        self.watched.acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    // Held by nobody else yet.
                    503 => self.send_delta(socket, delta).await,
                    _ => panic!("{status} {}", String::from_utf8_lossy(&payload)),
                }
            }
            Packet::Drain { next, .. } => {
                self.note(&format!("told to move to {next}"));
                // The old socket stays until the new one has all.
                let old = std::mem::replace(socket, self.open(&next).await);
                self.watched.disconnects.fetch_add(1, Ordering::Relaxed);
                drop(old);
            }
            _ => {}
        }
    }

    /// Notes what became visible. Nothing that was may vanish.
    fn look(&mut self) {
        let tags = self.copy.field_to_json("tags").unwrap_or_default();
        let tags = tags.as_array().cloned().unwrap_or_default();
        let tags: BTreeSet<String> = tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        let vanished: Vec<_> = self.visible.difference(&tags).collect();
        assert!(vanished.is_empty(), "{vanished:?}");
        // A later change may come first, never a tag without its like.
        let likes = self.copy.field_to_json("likes").unwrap_or_default();
        let likes = usize::try_from(likes.as_u64().unwrap_or(0)).unwrap();
        assert!(likes >= tags.len(), "{likes} likes, {} tags", tags.len());
        self.watched.likes.store(likes, Ordering::Relaxed);
        let mut seen = self.watched.seen.lock().unwrap();
        seen.extend(tags.difference(&self.visible).cloned());
        self.visible = tags;
    }

    /// A socket, once all that its replica has of the document is here. What is not acknowledged is sent again.
    async fn open(&mut self, revision: &str) -> Socket {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let tried = tokio::time::timeout(LIMIT, self.try_open(revision)).await;
            if let Ok(Some(socket)) = tried {
                return socket;
            }
            assert!(tokio::time::Instant::now() < end, "no socket");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn try_open(&mut self, revision: &str) -> Option<Socket> {
        let mut url = "ws://chat.test/?a=b".to_owned();
        for (name, value) in [
            ("token", self.token.as_deref().unwrap_or_default()),
            ("pointsman-revision", revision),
        ] {
            if !value.is_empty() {
                url.push_str(&format!("&{name}={value}"));
            }
        }
        let mut request = url.into_client_request().unwrap();
        let protocol = "pointsman.v1".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(self.gateway).await.ok()?;
        let (mut stream, _) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        let greeting = loop {
            if let Packet::Event { name, payload, .. } = next(&mut stream).await?
                && name == "session/greeting"
            {
                break serde_json::from_slice::<Json>(&payload).unwrap();
            }
        };
        self.note(&format!("greeted {greeting}"));
        self.token = greeting["token"].as_str().map(str::to_owned);
        let id = self.id();
        let method = "document/open".to_owned();
        let payload = Bytes::from(json!({"name": self.document}).to_string());
        send(&mut stream, &Packet::Call { id, method, payload }).await;
        let (status, payload) = self.callback(&mut stream, id).await?;
        let opened: Json = serde_json::from_slice(&payload).unwrap();
        if status != 0 {
            return None;
        }
        let document = opened["document"].as_u64().unwrap();
        let number = |name: &str| opened["writer"][name].as_u64().unwrap();
        let incarnation = u32::try_from(number("incarnation")).unwrap();
        self.writer = Replica::new(u16::try_from(number("slot")).unwrap(), incarnation).unwrap();
        let id = self.id();
        let payload = Bytes::from(self.copy.digest().encode());
        self.note("sends digest");
        let digest = Packet::Digest {
            id,
            document,
            payload,
        };
        send(&mut stream, &digest).await;
        let (status, payload) = self.callback(&mut stream, id).await?;
        if status != 0 {
            return None;
        }
        let theirs = Digest::decode(&payload).unwrap();
        let mut socket = Socket { stream, document };
        let missing = self.copy.missing(&theirs);
        // What it has from others is on its way there by itself.
        assert!(self.copy.foreign(&missing, self.writer).is_empty());
        if let Some((_, delta)) = self.unacknowledged.take() {
            self.send_delta(&mut socket, delta).await;
        }
        Some(socket)
    }

    /// The answer to a packet; changes that come before it are taken.
    async fn callback(&mut self, stream: &mut WebSocketStream<TcpStream>, of: i64) -> Option<(u64, Bytes)> {
        loop {
            match next(stream).await? {
                Packet::Callback { id, status, payload } if id == of => return Some((status, payload)),
                Packet::Delta { payload, .. } => {
                    self.copy.join(&State::decode(&payload).unwrap()).unwrap();
                    self.look();
                }
                _ => {}
            }
        }
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }
}

async fn next(stream: &mut WebSocketStream<TcpStream>) -> Option<Packet> {
    loop {
        match stream.next().await? {
            Ok(Message::Binary(bytes)) => return Some(Packet::decode(&bytes).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// An end shows at the next read.
async fn send(stream: &mut WebSocketStream<TcpStream>, packet: &Packet) {
    let bytes = packet.encode().unwrap();
    let _ = stream.send(Message::Binary(bytes)).await;
}
