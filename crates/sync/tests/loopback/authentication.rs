//! Who comes in, and what he may do.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pointsman_sync::server::{Options, Server};
use pointsman_wire::Packet;
use serde_json::{Value, json};

use super::http::request;
use crate::harness::{LIMIT, Place, Raw, ask_raw, closed, dial, greeted, metric, next, raw, send, server};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const BINARY: (&str, &str) = ("sec-websocket-protocol", "pointsman.v1");

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with these claims, signed by that secret.
fn token(claims: &Value, secret: &[u8]) -> String {
    let head = base64(br#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{head}.{}", base64(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signed = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64(signed.as_ref()))
}

fn in_an_hour() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600
}

fn ann() -> Value {
    let documents = json!([
        {"prefix": "rooms/hers/", "access": "write"}, {"prefix": "rooms/open/", "access": "read"},
    ]);
    json!({"sub": "ann", "exp": in_an_hour(), "documents": documents})
}

async fn guarded(place: &Place, change: impl FnOnce(&mut Options)) -> Server {
    let file = place.0.join("key");
    std::fs::write(&file, SECRET).unwrap();
    server("a", |options| {
        options.authentication.jwt_key_file = Some(file);
        options.authentication.required = true;
        change(options);
    })
    .await
}

#[tokio::test]
async fn a_token_is_shown_in_the_handshake_or_the_first_call() {
    let place = Place::new();
    let server = guarded(&place, |_| {}).await;
    let good = token(&ann(), SECRET);
    let bearer = format!("Bearer {good}");
    let in_header = dial(&server, "/", &[BINARY, ("authorization", &bearer)]).await;
    let in_url = dial(&server, &format!("/?access_token={good}"), &[BINARY]).await;
    for socket in [in_header, in_url] {
        let said = ask_raw(&mut socket.unwrap(), 1, "echo", &json!(1)).await;
        assert_eq!(said, (0, json!(1)));
    }
    let mut socket = raw(&server).await;
    assert_eq!(ask_raw(&mut socket, 1, "echo", &json!(1)).await.0, 403);
    assert_eq!(
        ask_raw(&mut socket, 2, "system/introspect", &json!(["chat"]))
            .await
            .0,
        0
    );
    let (status, said) = ask_raw(&mut socket, 3, "auth/signin", &json!({"token": good})).await;
    assert_eq!((status, &said["subject"]), (0, &json!("ann")));
    assert_eq!(ask_raw(&mut socket, 4, "echo", &json!(1)).await.0, 0);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let place = Place::new();
    let server = guarded(&place, |_| {}).await;
    let forged = token(&ann(), b"another secret of more than thirty-two bytes");
    let over = token(&json!({"sub": "ann", "exp": 1_000}), SECRET);
    let endless = token(&json!({"sub": "ann"}), SECRET);
    let unsigned = format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(b"{}"));
    let long = "x".repeat(9_000);
    for bad in [forged.as_str(), &over, &endless, &unsigned, &long, "x.y.z!"] {
        let bearer = format!("Bearer {bad}");
        let refused = dial(&server, "/", &[BINARY, ("authorization", &bearer)]).await;
        assert_eq!(refused.err(), Some(401), "{bad}");
        let said = request(
            &server,
            "POST /api/system/echo",
            &[("authorization", &bearer)],
            "1",
        )
        .await;
        assert_eq!(said.status, 401);
        assert!(said.headers.contains("www-authenticate: bearer"));
    }
    let mut socket = raw(&server).await;
    let (status, said) = ask_raw(&mut socket, 1, "auth/signin", &json!({"token": forged})).await;
    assert_eq!(status, 401, "{said}");
    assert!(metric(&server, "tokens_refused_total").await >= 5);
}

#[tokio::test]
async fn over_http_a_token_or_the_cookie_of_whoever_signed_in_counts() {
    let place = Place::new();
    let server = guarded(&place, |_| {}).await;
    let bearer = format!("Bearer {}", token(&ann(), SECRET));
    let shown = ("authorization", bearer.as_str());
    assert_eq!(
        request(&server, "POST /api/system/echo", &[shown], "1")
            .await
            .status,
        200
    );
    assert_eq!(
        request(&server, "POST /api/system/echo", &[], "1").await.status,
        403
    );
    let body = json!({"token": token(&ann(), SECRET)}).to_string();
    let said = request(&server, "POST /api/auth/signin", &[], &body).await;
    let cookie = format!("token={}", said.body["token"].as_str().unwrap());
    let cookie = [("cookie", cookie.as_str())];
    assert_eq!(
        request(&server, "POST /api/system/echo", &cookie, "1")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn whoever_signed_in_is_known_when_he_comes_back() {
    let place = Place::new();
    let server = guarded(&place, |_| {}).await;
    let mut socket = raw(&server).await;
    let session = greeted(&mut socket).await["token"].as_str().unwrap().to_owned();
    let good = json!({"token": token(&ann(), SECRET)});
    assert_eq!(ask_raw(&mut socket, 1, "auth/signin", &good).await.0, 0);
    drop(socket);
    let mut socket = dial(&server, &format!("/?token={session}"), &[BINARY])
        .await
        .unwrap();
    assert_eq!(ask_raw(&mut socket, 2, "echo", &json!(1)).await.0, 0);
    // Nobody else is.
    let mut socket = dial(&server, "/?token=guess", &[BINARY]).await.unwrap();
    assert_eq!(ask_raw(&mut socket, 1, "echo", &json!(1)).await.0, 403);
    let restored = ask_raw(&mut socket, 2, "auth/restore", &json!({"token": session})).await;
    assert_eq!((restored.0, &restored.1["subject"]), (0, &json!("ann")));
    assert_eq!(ask_raw(&mut socket, 3, "echo", &json!(1)).await.0, 0);
}

#[tokio::test]
async fn whoever_does_not_sign_in_is_closed() {
    let place = Place::new();
    let late = guarded(&place, |options| {
        options.limits.unauthenticated_within = LIMIT / 1_000
    })
    .await;
    assert_eq!(closed(&mut raw(&late).await).await, 1008);
    let eager = guarded(&place, |options| {
        options.limits.unauthenticated_bytes_max = 1_000;
        options.limits.unauthenticated_within = LIMIT * 2;
    })
    .await;
    let mut socket = raw(&eager).await;
    let text = json!("x".repeat(600));
    assert_eq!(ask_raw(&mut socket, 1, "echo", &text).await.0, 403);
    crate::harness::call(&mut socket, 2, "echo", &text).await;
    assert_eq!(closed(&mut socket).await, 1008);
    assert_eq!(metric(&eager, "unauthenticated_closed_total").await, 1);
    let full = guarded(&place, |options| options.limits.unauthenticated_sessions_max = 1).await;
    let mut first = raw(&full).await;
    greeted(&mut first).await;
    assert_eq!(closed(&mut raw(&full).await).await, 1013);
    assert_eq!(metric(&full, "unauthenticated_sessions").await, 1);
    // One who has signed in takes no such place.
    let good = json!({"token": token(&ann(), SECRET)});
    assert_eq!(ask_raw(&mut first, 1, "auth/signin", &good).await.0, 0);
    greeted(&mut raw(&full).await).await;
}

#[tokio::test]
async fn claims_say_which_documents_are_whose() {
    let place = Place::new();
    let server = guarded(&place, |options| {
        options.authentication.required = false;
        options.authentication.claimed_documents = true;
    })
    .await;
    let bearer = format!("Bearer {}", token(&ann(), SECRET));
    let mut ann = dial(&server, "/", &[BINARY, ("authorization", &bearer)])
        .await
        .unwrap();
    let mut nobody = raw(&server).await;
    for (id, (method, room, hers)) in (1..).zip([
        ("counter/set", "hers/a", 0),
        ("counter/get", "hers/a", 0),
        ("room/join", "open/a", 0),
        ("counter/set", "open/a", 403),
        ("counter/get", "other", 403),
    ]) {
        let asked = json!({"room": room, "count": 1});
        assert_eq!(
            ask_raw(&mut ann, id, method, &asked).await.0,
            hers,
            "{method} {room}"
        );
        assert_eq!(ask_raw(&mut nobody, id, method, &asked).await.0, 403);
    }
}

#[tokio::test]
async fn tokens_must_be_for_us_and_by_whom_we_trust() {
    let place = Place::new();
    let server = guarded(&place, |options| {
        options.authentication.audience = Some("chat".to_owned());
        options.authentication.issuer = Some("me".to_owned());
    })
    .await;
    let exp = in_an_hour();
    for (claims, good) in [
        (json!({"exp": exp, "aud": "chat", "iss": "me"}), true),
        (json!({"exp": exp, "aud": ["x", "chat"], "iss": "me"}), true),
        (json!({"exp": exp, "aud": "x", "iss": "me"}), false),
        (json!({"exp": exp, "aud": "chat", "iss": "x"}), false),
        (json!({"exp": exp}), false),
    ] {
        let bearer = format!("Bearer {}", token(&claims, SECRET));
        let came = dial(&server, "/", &[BINARY, ("authorization", &bearer)]).await;
        assert_eq!(came.is_ok(), good, "{claims}");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_stop_the_start() {
    let place = Place::new();
    let file = place.0.join("key");
    std::fs::write(&file, "short").unwrap();
    let start = |change: fn(&mut Options, std::path::PathBuf)| {
        let mut options = Options::local("a");
        change(&mut options, file.clone());
        async move { Server::start(options).await.unwrap_err().to_string() }
    };
    let error = start(|options, file| options.authentication.jwt_key_file = Some(file)).await;
    assert!(
        error.starts_with("jwt-key-file") && error.contains("32 bytes"),
        "{error}"
    );
    let error = start(|options, file| options.authentication.jwks_file = Some(file)).await;
    assert!(
        error.starts_with("jwks-file") && error.contains("Key Set"),
        "{error}"
    );
    let error = start(|options, _| options.authentication.jwks_file = Some("/no/such".into())).await;
    assert!(error.contains("/no/such"), "{error}");
    let error = start(|options, _| options.authentication.required = true).await;
    assert!(error.starts_with("require-authentication"), "{error}");
}

#[tokio::test]
async fn documents_stay_open_only_for_whom_they_were_opened() {
    let place = Place::new();
    let server = guarded(&place, |options| options.authentication.claimed_documents = true).await;
    let bearer = format!("Bearer {}", token(&ann(), SECRET));
    let signed = [BINARY, ("authorization", bearer.as_str())];
    let mut socket = dial(&server, "/", &signed).await.unwrap();
    greeted(&mut socket).await;
    let name = json!({"name": "rooms/hers/a"});
    let (status, opened) = ask_raw(&mut socket, 1, "document/open", &name).await;
    assert_eq!(status, 0, "{opened}");
    let digest = |id| Packet::Digest {
        id,
        document: opened["document"].as_u64().unwrap(),
        payload: Bytes::new(),
    };
    send(&mut socket, &digest(2)).await;
    assert_eq!(status_of(&mut socket, 2).await, 0);
    // The same person with a new token goes on.
    let again = json!({"token": token(&ann(), SECRET)});
    assert_eq!(ask_raw(&mut socket, 3, "auth/signin", &again).await.0, 0);
    send(&mut socket, &digest(4)).await;
    assert_eq!(status_of(&mut socket, 4).await, 0);
    let other = json!({"token": token(&json!({"sub": "bob", "exp": in_an_hour()}), SECRET)});
    assert_eq!(ask_raw(&mut socket, 5, "auth/signin", &other).await.0, 0);
    send(&mut socket, &digest(6)).await;
    assert_eq!(status_of(&mut socket, 6).await, 404);
    assert_eq!(ask_raw(&mut socket, 7, "document/open", &name).await.0, 403);
}

/// The status of the answer, whatever its payload is.
async fn status_of(socket: &mut Raw, asked: i64) -> u64 {
    loop {
        if let Packet::Callback { id, status, .. } = next(socket).await
            && id == asked
        {
            return status;
        }
    }
}
