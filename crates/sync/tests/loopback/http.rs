//! The API over HTTP.

use pointsman_sync::server::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{LIMIT, dial, metric, server};

/// Status, headers in lower case, and body.
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers
            .lines()
            .find_map(|line| line.strip_prefix(prefix.as_str()))
    }
}

pub async fn request(server: &Server, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut text = format!("{line} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut said = String::new();
    let read = tokio::time::timeout(LIMIT, socket.read_to_string(&mut said));
    read.await.unwrap().unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: head.replace("\r\n", "\n").to_lowercase(),
        body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
    }
}

async fn post(server: &Server, path: &str, body: &str) -> Answer {
    request(server, &format!("POST {path}"), &[], body).await
}

#[tokio::test]
async fn methods_are_called_with_an_array_or_an_object() {
    let server = server("a", |_| {}).await;
    for body in [r#"[{"text":"a"}]"#, r#"["a"]"#, r#"{"text":"a"}"#] {
        let said = post(&server, "/api/chat/say", body).await;
        assert_eq!((said.status, said.body), (200, json!("ok")), "{body}");
        assert_eq!(
            said.headers
                .lines()
                .filter(|line| line.starts_with("set-cookie"))
                .count(),
            0
        );
    }
    let said = post(&server, "/api/counter/set", r#"["r", 3]"#).await;
    assert_eq!((said.status, said.body), (200, json!({"value": 3})));
    let said = post(&server, "/api/system/introspect", r#"[["chat"]]"#).await;
    assert_eq!(
        (said.status, said.body),
        (200, json!({"chat": {"say": ["text"]}}))
    );
}

#[tokio::test]
async fn errors_have_statuses_and_say_why() {
    let server = server("a", |options| options.limits.body_bytes_max = 100).await;
    for (path, body, status, why) in [
        ("/api/chat/say", r#"{"text":""}"#, 400, "text"),
        ("/api/chat/say", "{", 400, "body"),
        ("/api/chat/say", "1", 400, "arguments"),
        ("/api/chat/say", r#"["a","b"]"#, 400, "at most 1"),
        ("/api/chat/shout", "[]", 404, "chat/shout"),
        ("/api/files/download", r#"["no"]"#, 404, "no"),
        ("/api/files/upload", r#"[1,"f"]"#, 400, "WebSocket"),
        ("/api/chat/say", &format!("[\"{}\"]", "x".repeat(100)), 413, "100"),
        ("/api", r#"{"type":"call","id":1}"#, 400, "method"),
        ("/api", r#"{"type":"event","id":1,"method":"a/b"}"#, 400, "type"),
    ] {
        let said = post(&server, path, body).await;
        assert_eq!(said.status, status, "{path} {body}");
        assert_eq!(said.body["error"]["code"], status, "{}", said.body);
        let message = said.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
    let said = request(&server, "GET /api/chat/say", &[], "").await;
    assert_eq!((said.status, said.header("allow")), (405, Some("post")));
    assert!(metric(&server, "http_refused_total").await >= 1);
}

#[tokio::test]
async fn introspection_tells_every_unit() {
    let server = server("a", |_| {}).await;
    let said = request(&server, "GET /api", &[], "").await;
    assert_eq!(said.status, 200);
    assert_eq!(
        said.body["auth"],
        json!({"signin": ["token"], "restore": ["token"]})
    );
    assert_eq!(said.body["files"]["download"], json!(["name"]));
}

#[tokio::test]
async fn a_packet_of_metacom_is_answered_by_one() {
    let server = server("a", |_| {}).await;
    let packet = r#"{"type":"call","id":7,"method":"chat/say","args":{"text":"a"},"meta":{"t":1}}"#;
    let said = post(&server, "/api", packet).await;
    let callback = json!({"type": "callback", "id": 7, "result": "ok", "meta": {"t": 1}});
    assert_eq!((said.status, said.body), (200, callback));
    let packet = r#"{"type":"call","id":"x","method":"chat/say","args":{"text":""}}"#;
    let said = post(&server, "/api", packet).await;
    let error = json!({"code": 400, "message": "text: give text of 1 to 16384 bytes"});
    let callback = json!({"type": "callback", "id": "x", "error": error});
    assert_eq!((said.status, said.body), (400, callback));
}

#[tokio::test]
async fn a_session_goes_on_by_its_cookie_or_as_a_bearer() {
    let server = server("a", |_| {}).await;
    let signed = post(&server, "/api/auth/signin", "[]").await;
    let token = signed.body["token"].as_str().unwrap();
    let cookie = signed.header("set-cookie").unwrap();
    assert_eq!(
        cookie,
        format!("token={token}; path=/api; httponly; samesite=strict")
    );
    let cookie = format!("other=1; token={token}");
    let bearer = format!("Bearer {token}");
    for (name, value) in [("cookie", &cookie), ("authorization", &bearer)] {
        let said = request(&server, "POST /api/auth/signin", &[(name, value)], "").await;
        assert_eq!(said.body["writer"], signed.body["writer"]);
    }
    let said = request(&server, "POST /api/auth/signin", &[("cookie", &cookie)], "").await;
    assert_eq!(said.header("set-cookie"), None);
    let other = post(&server, "/api/auth/signin", "[]").await;
    assert_ne!(other.body["writer"], signed.body["writer"]);
}

#[tokio::test]
async fn pages_of_other_origins_may_do_nothing_unless_they_are_let_in() {
    let closed = server("a", |_| {}).await;
    let foreign = ("origin", "https://b.test");
    let body = r#"{"text":"a"}"#;
    let said = request(&closed, "POST /api/chat/say", &[foreign], body).await;
    assert_eq!(said.status, 403);
    let own = ("origin", "https://a.test");
    let said = request(&closed, "POST /api/chat/say", &[own], body).await;
    assert_eq!(
        (said.status, said.header("access-control-allow-origin")),
        (200, None)
    );

    let open = server("a", |options| {
        options.allow_origins = vec!["https://b.test".to_owned()]
    })
    .await;
    let said = request(&open, "POST /api/chat/say", &[foreign], body).await;
    assert_eq!(said.status, 200);
    assert_eq!(said.header("access-control-allow-origin"), Some("https://b.test"));
    assert_eq!(said.header("access-control-allow-credentials"), Some("true"));
    let asks = ("access-control-request-method", "POST");
    let said = request(&open, "OPTIONS /api/chat/say", &[foreign, asks], "").await;
    assert_eq!(said.status, 204);
    assert_eq!(said.header("access-control-allow-methods"), Some("get, post"));
    let other = ("origin", "https://c.test");
    let said = request(&open, "OPTIONS /api/chat/say", &[other, asks], "").await;
    assert_eq!(
        (said.status, said.header("access-control-allow-origin")),
        (403, None)
    );

    let wide = server("a", |options| options.allow_origins = vec!["*".to_owned()]).await;
    let said = request(&wide, "POST /api/chat/say", &[other], body).await;
    assert_eq!(said.header("access-control-allow-origin"), Some("*"));
    assert_eq!(said.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = server("a", |options| options.limits.body_within = LIMIT / 1_000).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/chat/say HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n[";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut said = vec![0; 12];
    let read = tokio::time::timeout(LIMIT, socket.read_exact(&mut said));
    read.await.unwrap().unwrap();
    assert_eq!(said, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_websocket_is_on_every_path_and_its_dialect_is_its_subprotocol() {
    let server = server("a", |_| {}).await;
    let binary = ("sec-websocket-protocol", "pointsman.v1");
    let among = ("sec-websocket-protocol", "other, pointsman.v1");
    for path in ["/", "/api", "/api/chat/say", "/any/path"] {
        for headers in [&[][..], &[binary], &[among]] {
            assert!(dial(&server, path, headers).await.is_ok(), "{path}");
        }
    }
    let other = ("sec-websocket-protocol", "other");
    assert_eq!(dial(&server, "/", &[other]).await.err(), Some(400));
}
