//! Single sessions.

use std::collections::BTreeMap;

use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::client::{self, CallError, Client, Observed};
use pointsman_wire::Packet;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{LIMIT, Router, ask, client, closed, greeting, observed, raw, server, until};

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
async fn what_everybody_may_read_does_not_tell_a_token() {
    let server = server("old", |_| {}).await;
    let (session, mut seen) = Client::start(client(server.address));
    let greeting = observed(&mut seen, greeting).await;
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    let read = session
        .call("counter/get", &json!({"room": "a", "entries": true}))
        .await
        .unwrap();
    assert_eq!(read["entries"], json!({&greeting.writer: 5}));
    assert_ne!(greeting.writer, greeting.token);
}

#[tokio::test]
async fn an_answer_that_fits_into_no_packet_is_an_error_and_the_session_goes_on() {
    let server = server("old", |_| {}).await;
    let (session, _seen) = Client::start(client(server.address));
    // Four bytes each on the way in, and eight on the way out.
    let numbers = format!("[{}1]", "1e9,".repeat(60_000));
    let mut socket = raw(&server).await;
    let call = Packet::Call {
        id: 1,
        method: "echo".to_owned(),
        payload: numbers.into(),
    };
    socket
        .send(Message::Binary(call.encode().unwrap()))
        .await
        .unwrap();
    let status = loop {
        let message = tokio::time::timeout(LIMIT, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let Packet::Callback { status, .. } = Packet::decode(&message.into_data()).unwrap() {
            break status;
        }
    };
    assert_eq!(status, 413);
    assert_eq!(session.call("echo", &json!(1)).await, Ok(json!(1)));
}

#[tokio::test]
async fn whoever_joined_a_room_hears_of_its_value() {
    let server = server("old", |_| {}).await;
    let (reader, mut seen) = Client::start(client(server.address));
    let (writer, _seen) = Client::start(client(server.address));
    assert_eq!(
        reader.call("room/join", &json!({"room": "a"})).await,
        Ok(json!({"value": 0}))
    );
    writer
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    let change = observed(&mut seen, |seen| match seen {
        Observed::Event { name, payload } if name == "counter/changed" => Some(payload),
        _ => None,
    });
    assert_eq!(change.await, json!({"room": "a", "value": 5}));
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused_naming_the_field() {
    let server = server("old", |_| {}).await;
    let (session, _seen) = Client::start(client(server.address));
    for (method, arguments, status, field) in [
        ("room/join", json!({}), 400, "room"),
        ("counter/get", json!({"room": "x".repeat(129)}), 400, "room"),
        ("counter/set", json!({"room": "a", "count": -1}), 400, "count"),
        ("no/such", Value::Null, 404, "no/such"),
    ] {
        match session.call(method, &arguments).await {
            Err(CallError::Refused {
                status: said,
                message,
            }) => {
                assert_eq!(said, status);
                assert!(message.contains(field), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_ends_in_time_though_there_is_no_server() {
    let nobody = Router::default().start().await;
    let mut options = client(nobody);
    options.ask_within = std::time::Duration::from_millis(30);
    let (session, _seen) = Client::start(options);
    assert_eq!(session.call("echo", &json!(1)).await, Err(CallError::Timeout));
}

#[tokio::test]
async fn what_is_no_packet_ends_the_session_with_a_code() {
    let server = server("old", |_| {}).await;
    for (message, code) in [
        (Message::Binary(vec![1, 0xff].into()), 1002_u16),
        (Message::Text("hello".into()), 1003),
        (Message::Binary(vec![1; 256 * 1024 + 1].into()), 1009),
    ] {
        let mut socket = raw(&server).await;
        socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        assert_eq!(closed(&mut socket).await, code);
    }
    until("all are gone", || server.open() == 0).await;
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
