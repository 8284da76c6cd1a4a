//! Bounds of single sockets in the dialects of Metacom.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{LIMIT, Raw, closed, dial, metric, server, until};

async fn say(socket: &mut Raw, text: impl Into<String>) {
    let text: String = text.into();
    socket.send(Message::Text(text.into())).await.unwrap();
}

async fn heard(socket: &mut Raw) -> Value {
    loop {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
        if let Message::Text(text) = message.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_no_packet_of_metacom_ends_the_session_with_a_code() {
    let server = server("a", |_| {}).await;
    let deep = format!(
        "{{\"type\":\"call\",\"id\":1,\"method\":\"echo\",\"args\":{}",
        "[".repeat(100)
    );
    for (text, code) in [
        ("{".to_owned(), 1002),
        ("[]".to_owned(), 1002),
        (r#"{"type":"call","id":0,"method":"echo"}"#.to_owned(), 1002),
        (deep, 1002),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(256 * 1024)), 1009),
    ] {
        let mut socket = dial(&server, "/", &[]).await.unwrap();
        say(&mut socket, text).await;
        assert_eq!(closed(&mut socket).await, code);
    }
    let mut socket = dial(&server, "/", &[]).await.unwrap();
    let too_large = vec![0; 4 * 1024 * 1024 + 1];
    let _ = socket.send(Message::Binary(too_large.into())).await;
    assert_eq!(closed(&mut socket).await, 1009);
    assert_eq!(metric(&server, "packets_refused_total").await, 6);
    until("all are gone", || server.open() == 0).await;
}

#[tokio::test]
async fn what_a_later_version_says_is_passed_over() {
    let server = server("a", |_| {}).await;
    let mut socket = dial(&server, "/", &[]).await.unwrap();
    say(&mut socket, r#"{"type":"later","id":1,"x":2}"#).await;
    say(&mut socket, "{}").await;
    assert_eq!(heard(&mut socket).await, json!({}));
    say(
        &mut socket,
        r#"{"type":"call","id":2,"method":"echo","args":[1],"later":true}"#,
    )
    .await;
    let callback = json!({"type": "callback", "id": 2, "result": [1]});
    assert_eq!(heard(&mut socket).await, callback);
}

#[tokio::test]
async fn an_answer_that_fits_into_no_packet_is_an_error_in_every_dialect() {
    let server = server("a", |_| {}).await;
    let numbers = format!("[{}1]", "1e9,".repeat(60_000));
    for id in [json!(1), json!("one")] {
        let mut socket = dial(&server, "/", &[]).await.unwrap();
        say(
            &mut socket,
            format!(r#"{{"type":"call","id":{id},"method":"echo","args":{numbers}}}"#),
        )
        .await;
        let said = heard(&mut socket).await;
        assert_eq!((&said["id"], &said["error"]["code"]), (&id, &json!(413)));
    }
}

#[tokio::test]
async fn a_replica_that_ends_closes_clients_that_know_no_drain() {
    let server = server("a", |_| {}).await;
    let mut socket = dial(&server, "/", &[]).await.unwrap();
    until("it is there", || server.open() == 1).await;
    crate::harness::order(&server, json!(0), "next").await;
    let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    let Message::Close(Some(frame)) = message.unwrap().unwrap() else {
        panic!("it is closed");
    };
    assert_eq!(u16::from(frame.code), 1012);
    let reason: Value = serde_json::from_str(&frame.reason).unwrap();
    assert_eq!(reason, json!({"in": 0, "to": "next"}));
}
