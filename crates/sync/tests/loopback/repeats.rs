//! A call that is sent again at another replica is answered from where it ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::server::units::{Arguments, Caller, Fault, Method, Unit};
use pointsman_sync::server::{Application, Options, Server};
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{LIMIT, Raw, raw_with, until};

/// Counts how often it ran, and waits for leave to end.
struct Once {
    ran: Arc<AtomicU64>,
    leave: Arc<Semaphore>,
}

impl Unit for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[Method::new("run", &[])];
        METHODS
    }

    fn call<'a>(
        &'a self,
        _caller: &'a Caller,
        _method: &'static str,
        _arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let ran = self.ran.fetch_add(1, Ordering::SeqCst) + 1;
            self.leave.acquire().await.unwrap().forget();
            Ok(json!(ran))
        })
    }
}

async fn next(socket: &mut Raw) -> Packet {
    loop {
        match tokio::time::timeout(LIMIT, socket.next()).await.unwrap() {
            Some(Ok(Message::Binary(bytes))) => return Packet::decode(&bytes).unwrap(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn greeted(server: &Server, path: &str) -> (Raw, String) {
    let mut socket = raw_with(server, path).await;
    let Packet::Event { payload, .. } = next(&mut socket).await else {
        panic!("a greeting")
    };
    let greeting: Value = serde_json::from_slice(&payload).unwrap();
    (socket, greeting["token"].as_str().unwrap().to_owned())
}

async fn run(socket: &mut Raw, id: i64) {
    let (method, payload) = ("once/run".to_owned(), Bytes::from_static(b"{}"));
    let bytes = Packet::Call { id, method, payload }.encode().unwrap();
    socket.send(Message::Binary(bytes)).await.unwrap();
}

async fn answer(socket: &mut Raw) -> (u64, Value) {
    loop {
        if let Packet::Callback { status, payload, .. } = next(socket).await {
            return (status, serde_json::from_slice(&payload).unwrap());
        }
    }
}

#[tokio::test]
async fn a_call_that_moved_with_its_session_runs_once() {
    let (ran, leave) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let start = async |peers: Vec<String>| {
        let mut options = Options::local("a");
        options.peers = peers;
        let unit: Arc<dyn Unit> = Arc::new(Once {
            ran: Arc::clone(&ran),
            leave: Arc::clone(&leave),
        });
        Server::start_with(options, Application::of(vec![unit]))
            .await
            .unwrap()
    };
    let old = start(Vec::new()).await;
    let new = start(vec![old.control.to_string()]).await;
    until("they know each other", || old.peers() == 1 && new.peers() == 1).await;

    // Answered at the old one, and sent again at the new one.
    let (mut first, token) = greeted(&old, "/").await;
    leave.add_permits(1);
    run(&mut first, 1).await;
    assert_eq!(answer(&mut first).await, (0, json!(1)));
    let (mut second, _) = greeted(&new, &format!("/?token={token}&calls=2")).await;
    run(&mut second, 1).await;
    assert_eq!(answer(&mut second).await, (0, json!(1)));

    // It runs at the old one still when it is sent again.
    run(&mut first, 2).await;
    until("it runs", || ran.load(Ordering::SeqCst) == 2).await;
    let (mut third, _) = greeted(&new, &format!("/?token={token}&calls=3")).await;
    run(&mut third, 2).await;
    leave.add_permits(1);
    assert_eq!(answer(&mut third).await, (0, json!(2)));

    // What is no repetition runs.
    leave.add_permits(1);
    run(&mut third, 3).await;
    assert_eq!(answer(&mut third).await, (0, json!(3)));
    assert_eq!(ran.load(Ordering::SeqCst), 3);
}
