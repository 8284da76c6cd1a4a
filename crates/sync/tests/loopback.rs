//! Replicas, a router that knows revisions, and clients, on 127.0.0.1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::client::{self, CallError, Client, Observed};
use pointsman_sync::load::{Load, Options as LoadOptions};
use pointsman_sync::server::{Options, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Only a broken build takes so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends each connection to the revision that its request names, else to the first one.
#[derive(Clone, Default)]
struct Router {
    revisions: Arc<Mutex<Vec<(String, SocketAddr)>>>,
}

impl Router {
    async fn start(&self) -> SocketAddr {
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
                    let to = router.target(&head);
                    let Ok(mut server) = TcpStream::connect(to).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
                });
            }
        });
        address
    }

    fn target(&self, head: &str) -> SocketAddr {
        let revisions = self.revisions.lock().unwrap();
        let named = revisions
            .iter()
            .find(|(name, _)| head.contains(&format!("pointsman-revision={name} ")));
        named.unwrap_or_else(|| revisions.first().unwrap()).1
    }

    fn add(&self, revision: &str, address: SocketAddr) {
        self.revisions
            .lock()
            .unwrap()
            .push((revision.to_owned(), address));
    }
}

async fn server(revision: &str, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::local(revision);
    options.drain_delay = Duration::ZERO;
    options.drain_interval = Duration::from_millis(1);
    change(&mut options);
    Server::start(options).await.unwrap()
}

/// Two replicas of two revisions that know each other, behind a router.
async fn pair() -> (Server, Server, SocketAddr) {
    let old = server("old", |_| {}).await;
    let peer = format!("http://{}", old.control);
    let new = server("new", |options| options.peers = vec![peer]).await;
    // The old one was there first, so it learns of the new one by a dial of its own.
    let router = Router::default();
    router.add("old", old.address);
    router.add("new", new.address);
    let address = router.start().await;
    (old, new, address)
}

fn client(address: SocketAddr) -> client::Options {
    client::Options {
        url: "ws://chat.test/".to_owned(),
        connect: Some(address.to_string()),
        ask_within: LIMIT,
    }
}

fn load(address: SocketAddr, clients: usize) -> LoadOptions {
    LoadOptions {
        client: client(address),
        clients,
        write_interval: Duration::from_millis(20),
        start_interval: Duration::ZERO,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Status and body of a request to a control port.
async fn ask(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
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

async fn order(server: &Server, keep: Value, to: &str) {
    let body = json!({"keep": keep, "intervalMs": 1, "to": to}).to_string();
    let (status, said) = ask(server.control, "POST", "/sessions/drain", "", &body).await;
    assert_eq!(status, 200, "{said}");
}

#[tokio::test]
async fn a_drain_moves_just_the_asked_number_and_each_client_once() {
    let (old, new, address) = pair().await;
    let load = Load::start(load(address, 20)).await;
    assert!(load.connected(LIMIT).await);
    assert_eq!(old.open(), 20);
    order(&old, json!(12), "new").await;
    until("12 stay and 8 move", || old.open() == 12 && new.open() == 8).await;
    order(&old, json!(12), "new").await;
    order(&old, json!(0), "new").await;
    until("all move", || old.open() == 0 && new.open() == 20).await;
    let report = load.stop().await;
    assert_eq!(report.disconnects_per_client.mean, Some(1.0), "{report:?}");
    assert_eq!(
        (
            report.disconnects_per_client.max,
            report.gap_ms.max,
            report.moves_back
        ),
        (1, 0, 0),
        "{report:?}"
    );
    assert_eq!(
        (report.failed_handshakes, report.writes_lost),
        (0, 0),
        "{report:?}"
    );
    assert!(report.writes_acknowledged > 0, "{report:?}");
}

#[tokio::test]
async fn an_order_that_is_taken_back_or_not_repeated_moves_nobody_more() {
    let old = server("old", |options| options.order_within = Duration::from_millis(50)).await;
    let (status, _) = ask(
        old.control,
        "POST",
        "/sessions/drain",
        "",
        r#"{"keep": 0, "intervalMs": 60000, "to": "x"}"#,
    )
    .await;
    assert_eq!(status, 200);
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let (_, said) = ask(old.control, "GET", "/sessions", "", "").await;
        let said: Value = serde_json::from_str(&said).unwrap();
        if said["keep"].is_null() {
            break;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "the order stands for ever: {said}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    order(&old, json!(3), "x").await;
    order(&old, Value::Null, "").await;
    let (_, said) = ask(old.control, "GET", "/sessions", "", "").await;
    assert!(
        serde_json::from_str::<Value>(&said).unwrap()["keep"].is_null(),
        "{said}"
    );
}

#[tokio::test]
async fn a_replica_that_dies_loses_no_acknowledged_write() {
    let (old, new, address) = pair().await;
    // Both ways: a write is acknowledged once the other holds it.
    until("the replicas know each other", || new.peers() == 1).await;
    let load = Load::start(load(address, 10)).await;
    assert!(load.connected(LIMIT).await);
    order(&old, json!(0), "new").await;
    until("everybody is on the new one", || new.open() == 10).await;
    until("some writes are acknowledged", || {
        load.snapshot()["writesAcknowledged"].as_u64().unwrap() > 100
    })
    .await;
    new.stop();
    until("everybody is back on the one that lives", || old.open() == 10).await;
    let report = load.stop().await;
    assert_eq!(report.writes_lost, 0, "{report:?}");
}

#[tokio::test]
async fn ending_moves_everybody_and_hands_the_documents_over() {
    let (old, new, address) = pair().await;
    let load = Load::start(load(address, 10)).await;
    assert!(load.connected(LIMIT).await);
    order(&old, json!(10), "new").await;
    old.shutdown().await;
    until("everybody is on the new one", || new.open() == 10).await;
    let report = load.stop().await;
    assert_eq!(
        (
            report.writes_lost,
            report.disconnects_per_client.max,
            report.gap_ms.max
        ),
        (0, 1, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_cut_client_comes_back_as_the_same_writer() {
    let server = server("old", |_| {}).await;
    let router = Router::default();
    router.add("old", server.address);
    let (session, mut observed) = Client::start(client(router.start().await));
    let token = |observed: Option<Observed>| match observed {
        Some(Observed::Connected { greeting, .. }) => (greeting.token, greeting.resumed),
        other => panic!("{other:?}"),
    };
    let (first, resumed) = token(observed.recv().await);
    assert!(!resumed);
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    server.cut();
    assert!(matches!(
        observed.recv().await,
        Some(Observed::Disconnected { moved: false })
    ));
    let (second, resumed) = token(observed.recv().await);
    assert!(resumed);
    assert_eq!(first, second);
    // The same writer, so its total counts once.
    session
        .call("counter/set", &json!({"room": "a", "count": 6}))
        .await
        .unwrap();
    assert_eq!(
        session.call("counter/get", &json!({"room": "a"})).await.unwrap(),
        json!({"value": 6})
    );
}

#[tokio::test]
async fn only_a_token_of_the_file_opens_the_control_port() {
    let file = std::env::temp_dir().join(format!("pointsman-token-{}", std::process::id()));
    std::fs::write(&file, "first\nsecond\n").unwrap();
    let path = file.clone();
    let server = server("old", |options| options.control_token_file = Some(path)).await;
    for (token, status) in [
        ("first", 200),
        ("second", 200),
        ("third", 401),
        ("", 401),
        ("first\tsecond", 401),
    ] {
        assert_eq!(
            ask(server.control, "GET", "/sessions", token, "").await.0,
            status,
            "{token:?}"
        );
        assert_eq!(
            ask(server.control, "POST", "/sessions/drain", token, r#"{"keep": 9}"#)
                .await
                .0,
            status,
            "{token:?}"
        );
    }
    // Rotated: what is no longer in the file is no longer good.
    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(ask(server.control, "GET", "/sessions", "first", "").await.0, 401);
    assert_eq!(ask(server.control, "GET", "/readyz", "", "").await.0, 200);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_in_words() {
    let server = server("old", |_| {}).await;
    for body in ["", "[]", r#"{"keep": -1}"#, r#"{"keep": 1, "kep": 2}"#] {
        let (status, said) = ask(server.control, "POST", "/sessions/drain", "", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(said.contains("keep"), "{body}: {said}");
    }
}

async fn raw(server: &Server) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let mut request = "ws://a/".into_client_request().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "pointsman.v1".parse().unwrap());
    let stream = TcpStream::connect(server.address).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

#[tokio::test]
async fn what_is_no_packet_ends_the_session_with_a_code() {
    let server = server("old", |_| {}).await;
    for (message, code) in [
        (Message::Binary(vec![1, 0xff].into()), 1002_u16),
        (Message::Text("hello".into()), 1003),
    ] {
        let mut socket = raw(&server).await;
        socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        let closed = tokio::time::timeout(LIMIT, async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        assert_eq!(closed.await.unwrap(), code);
    }
    until("both are gone", || server.open() == 0).await;
}

#[tokio::test]
async fn the_asked_part_of_calls_fails() {
    let server = server("bad", |options| options.fail_rate_percent = 30).await;
    let (session, _) = Client::start(client(server.address));
    let mut outcomes = BTreeMap::new();
    for _ in 0..100 {
        let outcome = match session.call("echo", &json!(1)).await {
            Ok(_) => 0,
            Err(CallError::Refused { status, .. }) => status,
            Err(error) => panic!("{error}"),
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    assert_eq!(outcomes, [(0, 70), (500, 30)].into());
    let (_, metrics) = ask(server.control, "GET", "/metrics", "", "").await;
    assert!(
        metrics.contains("pointsman_sync_errors_total{revision=\"bad\"} 30"),
        "{metrics}"
    );
}

#[tokio::test]
async fn beyond_the_bound_a_session_is_refused_and_comes_in_when_there_is_room() {
    let server = server("old", |options| options.sessions_max = 1).await;
    let first = raw(&server).await;
    let (_session, mut observed) = Client::start(client(server.address));
    assert!(matches!(
        observed.recv().await,
        Some(Observed::Failed(client::ConnectError::Status(503)))
    ));
    drop(first);
    loop {
        if let Observed::Connected { .. } = tokio::time::timeout(LIMIT, observed.recv())
            .await
            .unwrap()
            .unwrap()
        {
            return;
        }
    }
}
