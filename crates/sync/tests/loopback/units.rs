//! Units: those that come with the service, and one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use pointsman_sync::server::units::{Arguments, Caller, Fault, Method, Unit};
use pointsman_sync::server::{Application, Options, Server};
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{LIMIT, answer, ask_raw, call, dial, greeted, metric, next, raw, send, server, until};

/// Counts how often it really runs, and waits where it is told to.
struct Slow {
    runs: AtomicU64,
    gate: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            runs: AtomicU64::new(0),
            gate: Semaphore::new(0),
        })
    }
}

/// The same one for the server and the test.
struct Shared(Arc<Slow>);

impl Unit for Shared {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("count", &[]),
            Method::new("wait", &[]),
            Method::new("emit", &["text"]),
            Method::new("panic", &[]),
            Method::new("flood", &["count"]),
        ];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let runs = self.0.runs.fetch_add(1, Ordering::SeqCst) + 1;
            match method {
                "wait" => self.0.gate.acquire().await.unwrap().forget(),
                "emit" => caller.emit("slow/said", &json!(arguments.text("text", 10)?))?,
                "panic" => panic!("on purpose"),
                "flood" => {
                    let text = "x".repeat(16_000);
                    for _ in 0..arguments.get("count").and_then(Value::as_u64).unwrap() {
                        caller.publish("slow/flood", &json!(text))?;
                    }
                }
                _ => {}
            }
            Ok(json!(runs))
        })
    }
}

async fn slow(change: impl FnOnce(&mut Options)) -> (Server, Arc<Slow>) {
    let slow = Slow::new();
    let mut options = Options::local("a");
    change(&mut options);
    let application = Application::of(vec![Arc::new(Shared(Arc::clone(&slow)))]);
    (Server::start_with(options, application).await.unwrap(), slow)
}

#[tokio::test]
async fn what_one_says_all_hear() {
    let server = server("a", |_| {}).await;
    let (mut speaker, mut hearer) = (raw(&server).await, raw(&server).await);
    greeted(&mut hearer).await;
    let said = ask_raw(&mut speaker, 1, "chat/say", &json!({"text": "hello"})).await;
    assert_eq!(said, (0, json!("ok")));
    match next(&mut hearer).await {
        Packet::Event {
            sequence,
            name,
            payload,
            ..
        } => {
            assert_eq!((sequence, name.as_str()), (2, "chat/message"));
            assert_eq!(payload, json!({"text": "hello"}).to_string());
        }
        other => panic!("{other:?}"),
    }
    let (status, error) = ask_raw(&mut speaker, 2, "chat/say", &json!({"text": ""})).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().starts_with("text"), "{error}");
}

#[tokio::test]
async fn units_of_an_application_stand_beside_those_that_come_along() {
    let (server, _) = slow(|_| {}).await;
    let mut socket = raw(&server).await;
    let (_, known) = ask_raw(&mut socket, 1, "system/introspect", &json!(["slow", "chat"])).await;
    assert_eq!(
        known,
        json!({
            "chat": {"say": ["text"]},
            "slow": {"count": [], "wait": [], "emit": ["text"], "panic": [], "flood": ["count"]},
        })
    );
    assert_eq!(
        ask_raw(&mut socket, 2, "slow/count", &json!([])).await,
        (0, json!(1))
    );
    call(&mut socket, 3, "slow/emit", &json!(["hi"])).await;
    // What it told is there before its answer.
    assert!(matches!(next(&mut socket).await, Packet::Event { name, .. } if name == "slow/said"));
    assert!(matches!(next(&mut socket).await, Packet::Callback { id: 3, .. }));
}

#[tokio::test]
async fn a_method_that_panics_fails_its_call_and_not_the_session() {
    let (server, _) = slow(|_| {}).await;
    let mut socket = raw(&server).await;
    assert_eq!(ask_raw(&mut socket, 1, "slow/panic", &json!([])).await.0, 500);
    assert_eq!(ask_raw(&mut socket, 2, "slow/count", &json!([])).await.0, 0);
}

#[tokio::test]
async fn calls_come_one_after_the_other_and_everything_else_goes_on_meanwhile() {
    let (server, slow) = slow(|_| {}).await;
    let (mut socket, mut other) = (raw(&server).await, raw(&server).await);
    greeted(&mut socket).await;
    call(&mut socket, 1, "slow/wait", &json!([])).await;
    call(&mut socket, 2, "slow/count", &json!([])).await;
    send(&mut socket, &Packet::Ping { seen: 0 }).await;
    assert!(matches!(next(&mut socket).await, Packet::Pong { .. }));
    ask_raw(&mut other, 1, "chat/say", &json!({"text": "a"})).await;
    assert!(matches!(next(&mut socket).await, Packet::Event { name, .. } if name == "chat/message"));
    assert_eq!(
        slow.runs.load(Ordering::SeqCst),
        1,
        "the second waits for the first"
    );
    slow.gate.add_permits(1);
    assert!(matches!(next(&mut socket).await, Packet::Callback { id: 1, .. }));
    assert!(matches!(next(&mut socket).await, Packet::Callback { id: 2, .. }));
}

#[tokio::test]
async fn a_call_that_is_sent_again_after_a_cut_runs_once() {
    let (server, slow) = slow(|_| {}).await;
    let mut socket = raw(&server).await;
    let token = greeted(&mut socket).await["token"].as_str().unwrap().to_owned();
    assert_eq!(
        ask_raw(&mut socket, 1, "slow/count", &json!([])).await,
        (0, json!(1))
    );
    // This one is cut while it runs.
    call(&mut socket, 2, "slow/wait", &json!([])).await;
    until("it runs", || slow.runs.load(Ordering::SeqCst) == 2).await;
    drop(socket);
    until("the socket has gone", || server.open() == 0).await;

    let path = format!("/?token={token}");
    let protocol = [("sec-websocket-protocol", "pointsman.v1")];
    let mut socket = dial(&server, &path, &protocol).await.unwrap();
    let greeting = greeted(&mut socket).await;
    assert_eq!(
        (&greeting["resumed"], &greeting["lastCall"]),
        (&json!(true), &json!(2))
    );
    call(&mut socket, 1, "slow/count", &json!([])).await;
    call(&mut socket, 2, "slow/wait", &json!([])).await;
    assert_eq!(answer(&mut socket, 1).await, (0, json!(1)));
    slow.gate.add_permits(1);
    assert_eq!(answer(&mut socket, 2).await, (0, json!(2)));
    assert_eq!(slow.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_that_is_cut_while_it_runs_answers_whoever_sends_it_again() {
    let (server, slow) = slow(|_| {}).await;
    let mut socket = raw(&server).await;
    let token = greeted(&mut socket).await["token"].as_str().unwrap().to_owned();
    call(&mut socket, 1, "slow/wait", &json!([])).await;
    until("it runs", || slow.runs.load(Ordering::SeqCst) == 1).await;
    drop(socket);
    let path = format!("/?token={token}");
    let protocol = [("sec-websocket-protocol", "pointsman.v1")];
    let mut socket = dial(&server, &path, &protocol).await.unwrap();
    call(&mut socket, 1, "slow/wait", &json!([])).await;
    slow.gate.add_permits(1);
    assert_eq!(answer(&mut socket, 1).await, (0, json!(1)));
    assert_eq!(slow.runs.load(Ordering::SeqCst), 1);
    // The same id for another call is a mistake of the client.
    assert_eq!(ask_raw(&mut socket, 1, "slow/count", &json!([])).await.0, 409);
    assert!(metric(&server, "calls_repeated_total").await >= 1);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up() {
    let (server, slow) = slow(|options| options.limits.call_within = LIMIT / 1_000).await;
    let mut socket = raw(&server).await;
    assert_eq!(ask_raw(&mut socket, 1, "slow/wait", &json!([])).await.0, 408);
    assert_eq!(metric(&server, "calls_late_total").await, 1);
    assert_eq!(slow.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_and_the_others_are_answered() {
    let (server, slow) = slow(|options| options.limits.calls_waiting_max = 2).await;
    let mut socket = raw(&server).await;
    call(&mut socket, 1, "slow/wait", &json!([])).await;
    until("it runs", || slow.runs.load(Ordering::SeqCst) == 1).await;
    for id in 2..=4 {
        call(&mut socket, id, "slow/count", &json!([])).await;
    }
    assert_eq!(answer(&mut socket, 4).await.0, 503);
    slow.gate.add_permits(1);
    for id in 1..=3 {
        assert_eq!(answer(&mut socket, id).await.0, 0);
    }
    // It was not run, so it may be sent again.
    assert_eq!(ask_raw(&mut socket, 4, "slow/count", &json!([])).await.0, 0);
    assert_eq!(metric(&server, "calls_refused_total").await, 1);
}

#[tokio::test]
async fn whoever_is_too_slow_is_told_how_many_events_he_missed() {
    let (server, _) = slow(|_| {}).await;
    let mut socket = raw(&server).await;
    greeted(&mut socket).await;
    // At once: more than anybody can be behind.
    let flood = json!({"count": 3_000});
    let said = crate::http::request(&server, "POST /api/slow/flood", &[], &flood.to_string()).await;
    assert_eq!(said.status, 200);
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < 3_000 {
        match next(&mut socket).await {
            Packet::Event { name, .. } if name == "slow/flood" => heard += 1,
            Packet::Event { name, payload, .. } if name == "session/missed" => {
                let said: Value = serde_json::from_slice(&payload).unwrap();
                missed += said["count"].as_u64().unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0, "{heard}");
    assert_eq!(metric(&server, "events_missed_total").await, missed);
}
