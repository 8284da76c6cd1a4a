//! What the tests start, and how they wait.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::client::{self, Greeting, Observed};
use pointsman_sync::load::Options as LoadOptions;
use pointsman_sync::server::{Options, Server};
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

/// Only a broken build takes so long.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Sends each connection to the revision that its request names, else to the first one.
#[derive(Clone, Default)]
pub struct Router {
    revisions: Arc<Mutex<Vec<(String, SocketAddr)>>>,
    frozen: CancellationToken,
}

impl Router {
    pub async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let router = router.clone();
                tokio::spawn(async move {
                    let mut head = vec![0; 4_096];
                    let read = socket.peek(&mut head).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    let Some(to) = router.target(&head) else { return };
                    let Ok(mut server) = TcpStream::connect(to).await else {
                        return;
                    };
                    let copied = tokio::io::copy_bidirectional(&mut socket, &mut server);
                    if router.frozen.run_until_cancelled(copied).await.is_none() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        address
    }

    fn target(&self, head: &str) -> Option<SocketAddr> {
        let revisions = self.revisions.lock().unwrap();
        let named = revisions
            .iter()
            .find(|(name, _)| head.contains(&format!("pointsman-revision={name} ")));
        named.or_else(|| revisions.first()).map(|(_, address)| *address)
    }

    /// From now on connections stay open and carry nothing, as when a network is cut.
    pub fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Forgets every other one.
    pub fn only(&self, revision: &str, address: SocketAddr) {
        self.revisions.lock().unwrap().clear();
        self.add(revision, address);
    }

    pub fn add(&self, revision: &str, address: SocketAddr) {
        self.revisions
            .lock()
            .unwrap()
            .push((revision.to_owned(), address));
    }
}

pub async fn server(revision: &str, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::local(revision);
    options.drain_delay = Duration::ZERO;
    options.drain_interval = Duration::from_millis(1);
    change(&mut options);
    Server::start(options).await.unwrap()
}

/// Two replicas of two revisions that replicate both ways, behind a router.
pub async fn pair() -> (Server, Server, SocketAddr) {
    pair_with(|_| {}).await
}

pub async fn pair_with(change: impl Fn(&mut Options)) -> (Server, Server, SocketAddr) {
    // The old one dials an address that leads nowhere until the new one is there.
    let door = Router::default();
    let peer = door.start().await.to_string();
    let old = server("old", |options| {
        options.peers = vec![peer];
        change(options);
    })
    .await;
    let peer = format!("http://{}", old.control);
    let new = server("new", |options| {
        options.peers = vec![peer];
        change(options);
    })
    .await;
    door.add("new", new.control);
    let router = Router::default();
    router.add("old", old.address);
    router.add("new", new.address);
    let address = router.start().await;
    until("both replicate", || old.peers() == 1 && new.peers() == 1).await;
    (old, new, address)
}

pub fn client(address: SocketAddr) -> client::Options {
    client::Options {
        url: "ws://chat.test/".to_owned(),
        connect: Some(address.to_string()),
        ask_within: LIMIT,
    }
}

pub fn load(address: SocketAddr, clients: usize) -> LoadOptions {
    LoadOptions {
        client: client(address),
        clients,
        write_interval: Duration::from_millis(20),
        start_interval: Duration::ZERO,
        seen_within: LIMIT,
    }
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Status and body of a request to a control port.
pub async fn ask(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub async fn order(server: &Server, keep: Value, to: &str) {
    let body = json!({"keep": keep, "intervalMs": 1, "to": to}).to_string();
    let (status, said) = ask(server.control, "POST", "/sessions/drain", "", &body).await;
    assert_eq!(status, 200, "{said}");
}

pub type Raw = WebSocketStream<TcpStream>;

pub async fn raw(server: &Server) -> Raw {
    raw_with(server, "/").await
}

/// With a path, and perhaps parameters.
pub async fn raw_with(server: &Server, path: &str) -> Raw {
    let mut request = format!("ws://a{path}").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "pointsman.v1".parse().unwrap());
    let stream = TcpStream::connect(server.address).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

/// A socket, or the status of the refusal.
pub async fn dial(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Result<Raw, u16> {
    let mut request = format!("ws://a{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub async fn send(socket: &mut Raw, packet: &Packet) {
    let bytes = packet.encode().unwrap();
    socket.send(Message::Binary(bytes)).await.unwrap();
}

/// The next packet.
pub async fn next(socket: &mut Raw) -> Packet {
    let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    Packet::decode(&message.unwrap().unwrap().into_data()).unwrap()
}

pub async fn call(socket: &mut Raw, id: i64, method: &str, arguments: &Value) {
    let packet = Packet::Call {
        id,
        method: method.to_owned(),
        payload: arguments.to_string().into(),
    };
    send(socket, &packet).await;
}

/// The outcome of a call; what comes before it is passed over.
pub async fn answer(socket: &mut Raw, call: i64) -> (u64, Value) {
    loop {
        if let Packet::Callback { id, status, payload } = next(socket).await
            && id == call
        {
            return (status, serde_json::from_slice(&payload).unwrap());
        }
    }
}

/// Calls and waits for the outcome.
pub async fn ask_raw(socket: &mut Raw, id: i64, method: &str, arguments: &Value) -> (u64, Value) {
    call(socket, id, method, arguments).await;
    answer(socket, id).await
}

/// What the server greets with.
pub async fn greeted(socket: &mut Raw) -> Value {
    match next(socket).await {
        Packet::Event { name, payload, .. } if name == "session/greeting" => {
            serde_json::from_slice(&payload).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// A directory of this test, removed with it.
pub struct Place(pub std::path::PathBuf);

impl Place {
    pub fn new() -> Self {
        let name = format!("pointsman-sync-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Names of what is in a part of it.
    pub fn names(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(part)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = ask(server.control, "GET", "/metrics", "", "").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("pointsman_sync_{name}{{")))
        .unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The code that the server closes with.
pub async fn closed(socket: &mut Raw) -> u16 {
    let closed = tokio::time::timeout(LIMIT, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    closed.await.unwrap()
}

/// The next thing that a client tells, of the kind that is looked for.
pub async fn observed<T>(
    seen: &mut mpsc::Receiver<Observed>,
    mut find: impl FnMut(Observed) -> Option<T>,
) -> T {
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(found) = find(seen.recv().await.expect("the client lives")) {
                return found;
            }
        }
    });
    found.await.unwrap()
}

pub fn greeting(observed: Observed) -> Option<Greeting> {
    match observed {
        Observed::Connected { greeting, .. } => Some(greeting),
        _ => None,
    }
}

pub async fn json_of(server: &Server, path: &str) -> Value {
    let (status, said) = ask(server.control, "GET", path, "", "").await;
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}
