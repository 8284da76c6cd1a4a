//! Documents over sessions: digests and deltas in packets, as any client exchanges them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_crdt::{Clock, Digest, Document, Map, Replica, Schema, State};
use pointsman_sync::server::{Options, Server};
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{LIMIT, Raw, ask, pair, raw_with, server, until};

/// A client that keeps a copy of one document.
struct Copy {
    socket: Raw,
    token: String,
    number: u64,
    writer: Replica,
    document: Document,
    next_id: i64,
    clock: Clock,
}

impl Copy {
    async fn open(server: &Server, name: &str, token: Option<&str>) -> Self {
        let path = token.map_or_else(|| "/".to_owned(), |token| format!("/?token={token}"));
        let mut socket = raw_with(server, &path).await;
        let greeting = next(&mut socket).await;
        let Packet::Event { payload, .. } = greeting else {
            panic!("{greeting:?}")
        };
        let greeting: Value = serde_json::from_slice(&payload).unwrap();
        let mut copy = Self {
            socket,
            token: greeting["token"].as_str().unwrap().to_owned(),
            number: 0,
            writer: Replica::new(1, 1).unwrap(),
            document: Document::new(Schema::default()),
            next_id: 1,
            clock: Clock::new(1_000),
        };
        let (status, opened) = copy.call("document/open", &json!({"name": name})).await;
        assert_eq!(status, 0, "{opened}");
        copy.number = opened["document"].as_u64().unwrap();
        let part = |name: &str| opened["writer"][name].as_u64().unwrap();
        copy.writer = Replica::new(part("slot") as u16, part("incarnation") as u32).unwrap();
        copy.document = Document::new(Schema::from_json(&opened["schema"]).unwrap());
        copy
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    async fn send(&mut self, packet: &Packet) {
        let bytes = packet.encode().unwrap();
        self.socket.send(Message::Binary(bytes)).await.unwrap();
    }

    /// Waits for the answer; deltas that come before it are joined.
    async fn answer(&mut self, id: i64) -> (u64, Bytes) {
        loop {
            match next(&mut self.socket).await {
                Packet::Callback {
                    id: of,
                    status,
                    payload,
                } if of == id => return (status, payload),
                Packet::Delta {
                    document, payload, ..
                } => self.take(document, &payload),
                Packet::Event { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, document: u64, payload: &Bytes) {
        assert_eq!(document, self.number);
        self.document.join(&State::decode(payload).unwrap()).unwrap();
    }

    async fn call(&mut self, method: &str, arguments: &Value) -> (u64, Value) {
        let id = self.id();
        let (method, payload) = (method.to_owned(), Bytes::from(arguments.to_string()));
        self.send(&Packet::Call { id, method, payload }).await;
        let (status, payload) = self.answer(id).await;
        (status, serde_json::from_slice(&payload).unwrap_or_default())
    }

    /// Asks for what is lacked; gives what the server has.
    async fn fill(&mut self) -> Digest {
        let (id, document) = (self.id(), self.number);
        let payload = Bytes::from(self.document.digest().encode());
        self.send(&Packet::Digest {
            id,
            document,
            payload,
        })
        .await;
        let (status, payload) = self.answer(id).await;
        assert_eq!(status, 0);
        Digest::decode(&payload).unwrap()
    }

    fn change(&mut self, operation: &Value) -> State<Map> {
        let text = operation.to_string();
        let changed = self
            .document
            .apply_json(self.writer, &text, &mut self.clock, 1_000);
        changed.unwrap().unwrap()
    }

    async fn tell(&mut self, delta: &State<Map>) -> (u64, Value) {
        let (id, document) = (self.id(), self.number);
        let payload = Bytes::from(delta.encode());
        self.send(&Packet::Delta {
            id,
            document,
            payload,
        })
        .await;
        let (status, payload) = self.answer(id).await;
        (status, serde_json::from_slice(&payload).unwrap_or_default())
    }

    /// Takes changes until the reading of a field is this one.
    async fn sees(&mut self, field: &str, reading: Value) {
        while self.document.to_json()[field] != reading {
            match next(&mut self.socket).await {
                Packet::Delta {
                    document, payload, ..
                } => self.take(document, &payload),
                Packet::Event { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn next(socket: &mut Raw) -> Packet {
    let next = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Packet::decode(&bytes).unwrap(),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, next).await.expect("a packet comes")
}

#[tokio::test]
async fn what_one_client_changes_every_other_sees_at_any_replica() {
    let (old, new, _) = pair().await;
    let mut one = Copy::open(&old, "rooms/a", None).await;
    let mut other = Copy::open(&new, "rooms/a", None).await;
    assert_ne!(one.writer, other.writer);
    one.fill().await;
    other.fill().await;
    let delta = one.change(&json!({"field": "likes", "increment": 3}));
    assert_eq!(one.tell(&delta).await.0, 0);
    other.sees("likes", json!(3)).await;
    let delta = other.change(&json!({"field": "notes", "insert": "hello", "index": 0}));
    assert_eq!(other.tell(&delta).await.0, 0);
    one.sees("notes", json!("hello")).await;
    // Over HTTP it is the same document.
    let body = json!([{"name": "rooms/a"}]).to_string();
    let (_, said) = ask(new.address, "POST", "/api/document/read", "", &body).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["likes"], &said["notes"]),
        (&json!(3), &json!("hello")),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_that_was_away_gives_what_it_did_and_gets_what_it_lacks() {
    let (old, new, _) = pair().await;
    let mut copy = Copy::open(&old, "rooms/a", None).await;
    copy.fill().await;
    let seen = copy.change(&json!({"field": "likes", "increment": 1}));
    assert_eq!(copy.tell(&seen).await.0, 0);
    // Away: it changes what it has, and so does somebody else.
    let (document, token, writer) = (copy.document.clone(), copy.token.clone(), copy.writer);
    drop(copy);
    let mut other = Copy::open(&old, "rooms/a", None).await;
    other.fill().await;
    let delta = other.change(&json!({"field": "tags", "add": "x"}));
    assert_eq!(other.tell(&delta).await.0, 0);
    // Back at another replica it is the same writer.
    let mut back = Copy::open(&new, "rooms/a", Some(&token)).await;
    assert_eq!(back.writer, writer);
    back.document = document;
    back.change(&json!({"field": "likes", "increment": 5}));
    let theirs = back.fill().await;
    let missing = back.document.missing(&theirs);
    assert_eq!(back.tell(&missing).await.0, 0);
    // Sent again, as after a cut before the answer: it counts once.
    assert_eq!(back.tell(&missing).await.0, 0);
    other.sees("likes", json!(6)).await;
    assert_eq!(back.document.to_json()["tags"], json!(["x"]));
}

#[tokio::test]
async fn what_a_client_may_not_do_is_refused_in_words() {
    let server = server("a", |_| {}).await;
    until("a member", || server.member().is_some()).await;
    let mut copy = Copy::open(&server, "rooms/a", None).await;
    copy.fill().await;
    let delta = copy.change(&json!({"field": "likes", "increment": 1}));
    // Somebody else's dots.
    let own = copy.writer;
    copy.writer = Replica::new(own.slot(), own.incarnation() + 1).unwrap();
    let foreign = copy.change(&json!({"field": "likes", "increment": 1}));
    let (status, said) = copy.tell(&foreign).await;
    assert_eq!(status, 400);
    assert!(
        said["error"].as_str().unwrap().contains("exchange digests"),
        "{said}"
    );
    assert_eq!(copy.tell(&delta).await.0, 0);
    // No delta, no such document, none open.
    let (id, document) = (copy.id(), copy.number);
    let payload = Bytes::from_static(b"no delta");
    copy.send(&Packet::Delta {
        id,
        document,
        payload,
    })
    .await;
    let (status, said) = copy.answer(id).await;
    assert_eq!(status, 400, "{said:?}");
    let (status, said) = copy.call("document/open", &json!({"name": "no/such"})).await;
    assert_eq!(status, 404, "{said}");
    assert!(said["error"].as_str().unwrap().contains("`rooms/`"), "{said}");
    let (status, _) = copy.call("document/close", &json!({"document": document})).await;
    assert_eq!(status, 0);
    let (status, said) = copy.tell(&delta).await;
    assert_eq!(status, 404, "{said}");
}

/// The last task of the replica before lets go of the directory a moment after its end.
async fn opened_again(path: &Path) -> Server {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let mut options = Options::local("a");
        options.data = Some(path.to_owned());
        match Server::start(options).await {
            Ok(server) => return server,
            Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stored_document_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let first = opened_again(&path).await;
    let mut copy = Copy::open(&first, "rooms/a", None).await;
    copy.fill().await;
    for _ in 0..3 {
        let delta = copy.change(&json!({"field": "likes", "increment": 2}));
        assert_eq!(copy.tell(&delta).await.0, 0);
    }
    let (before, writer) = (first.member().unwrap(), copy.writer);
    drop(copy);
    first.shutdown().await;
    let second = opened_again(&path).await;
    let mut copy = Copy::open(&second, "rooms/a", None).await;
    copy.fill().await;
    assert_eq!(copy.document.to_json()["likes"], json!(6));
    let after = second.member().unwrap();
    assert_eq!(after.slot(), before.slot());
    assert!(after.incarnation() > before.incarnation());
    assert_ne!(copy.writer, writer);
}
