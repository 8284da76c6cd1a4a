//! The control port.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{LIMIT, ask, json_of, raw, server, until};

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
    for (body, field) in [
        (r#"{"keep": 1, "intervalMs": 600001}"#, "intervalMs:"),
        (r#"{"keep": 1, "to": "a&b"}"#, "to:"),
    ] {
        let (status, said) = ask(server.control, "POST", "/sessions/drain", "", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(said.starts_with(field), "{body}: {said}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let server = server("old", |options| options.header_within = Duration::from_millis(20)).await;
    for head in ["", "GET /sessions HTTP/1.1\r\nhost: a\r\n"] {
        let mut socket = TcpStream::connect(server.control).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, but over.
        let over = tokio::time::timeout(LIMIT, socket.read_to_end(&mut rest)).await;
        assert!(over.is_ok(), "{head:?}");
    }
}

#[tokio::test]
async fn the_control_endpoints_are_not_on_the_port_of_the_sessions() {
    let server = server("old", |options| {
        options.control = Some(([127, 0, 0, 1], 0).into())
    })
    .await;
    assert_ne!(server.address, server.control);
    for path in ["/sessions", "/sessions/drain", "/metrics", "/peer"] {
        let (status, said) = ask(server.address, "GET", path, "", "").await;
        assert_eq!(status, 400, "{path}: {said}");
    }
    assert_eq!(ask(server.control, "GET", "/sessions", "", "").await.0, 200);
}

#[tokio::test]
async fn counts_are_told_by_revision() {
    let server = server("r1", |options| {
        options.sessions_max = 1;
        options.handshakes_per_second = Some(9);
    })
    .await;
    let said = json_of(&server, "/sessions").await;
    assert_eq!(said["handshakes"]["capacityPerSecond"], 1, "{said}");
    let _session = raw(&server).await;
    // Full, and no WebSocket either.
    assert_eq!(ask(server.address, "GET", "/", "", "").await.0, 503);
    until("it is counted", || server.open() == 1).await;
    let said = json_of(&server, "/sessions").await;
    assert_eq!(
        (&said["revision"], &said["open"]),
        (&"r1".into(), &1.into()),
        "{said}"
    );
    assert_eq!(said["handshakes"]["capacityPerSecond"], 0, "{said}");
    let (_, metrics) = ask(server.control, "GET", "/metrics", "", "").await;
    for line in [
        "pointsman_sync_sessions{revision=\"r1\"} 1",
        "pointsman_sync_handshakes_failed_total{revision=\"r1\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
