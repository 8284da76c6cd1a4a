//! Drain orders, and what clients make of them.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::client::{Client, Observed};
use pointsman_sync::load::Load;
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    LIMIT, Router, ask, client, closed, greeting, json_of, load, observed, order, pair, raw, server, until,
};

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
    until("a write is acknowledged", || {
        load.snapshot()["writesAcknowledged"].as_u64() > Some(0)
    })
    .await;
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
async fn an_order_that_is_not_repeated_is_over() {
    let old = server("old", |options| options.order_within = Duration::from_millis(50)).await;
    let _first = raw(&old).await;
    let body = r#"{"keep": 1, "intervalMs": 1, "to": "x"}"#;
    let (status, _) = ask(old.control, "POST", "/sessions/drain", "", body).await;
    assert_eq!(status, 200);
    let end = tokio::time::Instant::now() + LIMIT;
    while !json_of(&old, "/sessions").await["keep"].is_null() {
        assert!(tokio::time::Instant::now() < end, "the order stands for ever");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It would have to go under the order.
    let _second = raw(&old).await;
    until("both are open", || old.open() == 2).await;
    assert_eq!(json_of(&old, "/sessions").await["told"], 0);
}

#[tokio::test]
async fn an_order_that_is_taken_back_tells_nobody_more() {
    let old = server("old", |_| {}).await;
    order(&old, json!(3), "x").await;
    assert_eq!(json_of(&old, "/sessions").await["keep"], 3);
    order(&old, Value::Null, "").await;
    let said = json_of(&old, "/sessions").await;
    assert_eq!(
        (&said["keep"], &said["draining"]),
        (&Value::Null, &json!(false)),
        "{said}"
    );
}

#[tokio::test]
async fn a_slow_order_does_not_hold_up_the_next() {
    let (old, new, address) = pair().await;
    let load = Load::start(load(address, 5)).await;
    assert!(load.connected(LIMIT).await);
    let slow = r#"{"keep": 0, "intervalMs": 600000, "to": "new"}"#;
    assert_eq!(ask(old.control, "POST", "/sessions/drain", "", slow).await.0, 200);
    until("the first one moves", || new.open() == 1 && old.open() == 4).await;
    order(&old, json!(2), "new").await;
    until("two more move", || new.open() == 3 && old.open() == 2).await;
    let report = load.stop().await;
    assert_eq!((report.moves, report.cuts), (3, 0), "{report}");
}

#[tokio::test]
async fn whoever_comes_while_an_order_stands_moves_on_and_the_oldest_go_first() {
    let old = server("old", |_| {}).await;
    let mut first = raw(&old).await;
    order(&old, json!(1), "new").await;
    let _second = raw(&old).await;
    let told = loop {
        let message = tokio::time::timeout(LIMIT, first.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Packet::Drain { next, .. } = Packet::decode(&message.into_data()).unwrap() {
            break next;
        }
    };
    assert_eq!(told, "new");
    let said = json_of(&old, "/sessions/drain").await;
    assert_eq!(
        (&said["open"], &said["told"], &said["drained"]),
        (&json!(2), &json!(1), &json!(1)),
        "{said}"
    );
}

#[tokio::test]
async fn a_session_that_does_not_move_is_closed_after_a_while() {
    let old = server("old", |options| options.moved_within = Duration::from_millis(20)).await;
    let mut deaf = raw(&old).await;
    order(&old, json!(0), "new").await;
    assert_eq!(closed(&mut deaf).await, 1012);
    until("it is gone", || old.open() == 0).await;
}

#[tokio::test]
async fn the_old_socket_is_in_use_until_the_next_one_is_up() {
    let old = server("old", |_| {}).await;
    let router = Router::default();
    router.add("old", old.address);
    // Nobody answers there yet.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    router.add("new", nowhere.local_addr().unwrap());
    drop(nowhere);
    let (session, mut seen) = Client::start(client(router.start().await));
    assert_eq!(observed(&mut seen, greeting).await.revision, "old");
    order(&old, json!(0), "new").await;
    observed(&mut seen, |seen| {
        matches!(seen, Observed::Failed(_)).then_some(())
    })
    .await;
    assert_eq!(session.call("echo", &json!(7)).await, Ok(json!(7)));
    assert_eq!(old.open(), 1);
}

#[tokio::test]
async fn a_call_that_was_not_answered_is_sent_again_after_the_move() {
    // A server that greets, asks to move, and answers nothing.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = Router::default();
    router.add("deaf", deaf.local_addr().unwrap());
    let new = server("new", |_| {}).await;
    router.add("new", new.address);
    let (session, mut seen) = Client::start(client(router.start().await));
    let (stream, _) = deaf.accept().await.unwrap();
    #[allow(clippy::result_large_err)]
    let protocol = |_: &_, mut answer: tokio_tungstenite::tungstenite::handshake::server::Response| {
        let headers = answer.headers_mut();
        headers.insert("sec-websocket-protocol", "pointsman.v1".parse().unwrap());
        Ok(answer)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, protocol)
        .await
        .unwrap();
    let greeting_packet = Packet::Event {
        sequence: 1,
        name: "session/greeting".to_owned(),
        origin: None,
        payload: r#"{"revision": "deaf", "replica": "1", "token": "t", "resumed": false}"#.into(),
    };
    socket
        .send(Message::Binary(greeting_packet.encode().unwrap()))
        .await
        .unwrap();
    observed(&mut seen, greeting).await;
    let arguments = json!({"room": "a", "count": 3});
    let (answer, ()) = tokio::join!(session.call("counter/set", &arguments), async {
        let asked = socket.next().await.unwrap().unwrap();
        assert!(matches!(
            Packet::decode(&asked.into_data()),
            Ok(Packet::Call { .. })
        ));
        let drain = Packet::Drain {
            delay_ms: 0,
            next: "new".to_owned(),
            token: "t".to_owned(),
            slot: 0,
        };
        socket
            .send(Message::Binary(drain.encode().unwrap()))
            .await
            .unwrap();
    });
    assert_eq!(answer, Ok(json!({"value": 3})));
}
