//! The control endpoints: health, metrics, and the session contract.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::json;

use super::hub::{Hub, Order};
use super::peers;

const BODY_BYTES_MAX: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
const TOKEN_BYTES_MAX: usize = 4 * 1024;
const TOKENS_MAX: usize = 4;

pub(super) fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/sessions", get(sessions))
        .route("/sessions/drain", get(progress).post(order))
        .route("/peer", any(peers::accept))
}

/// The tokens of the file, several while they are rotated. Read each time, because it is rotated under us.
pub(super) async fn tokens(hub: &Hub) -> Vec<Vec<u8>> {
    let Some(file) = &hub.options.control_token_file else {
        return Vec::new();
    };
    let Ok(text) = tokio::fs::read(file).await else {
        return Vec::new();
    };
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines
        .filter(|token| (1..=TOKEN_BYTES_MAX).contains(&token.len()))
        .take(TOKENS_MAX)
        .map(<[u8]>::to_vec)
        .collect()
}

/// True when nobody needs a token, or one of the file is shown.
pub(super) async fn allowed(hub: &Hub, headers: &HeaderMap) -> bool {
    if hub.options.control_token_file.is_none() {
        return true;
    }
    let shown = headers
        .get(header::AUTHORIZATION)
        .map_or(&b""[..], |value| value.as_bytes());
    let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    // Every one is compared, so that the time does not tell which was nearly right.
    let tokens = tokens(hub).await;
    tokens.iter().fold(false, |good, token| good | same(token, shown))
}

/// Compares in a time that does not depend on where the two differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

pub(super) fn refuse() -> Response {
    let text = "this endpoint needs `Authorization: Bearer` with the token of the Rollout's Secret\n";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

async fn ready(State(hub): State<Arc<Hub>>) -> Response {
    let why = match (hub.stopping(), hub.joined()) {
        (true, _) => "draining\n",
        (false, false) => "state of the other replicas is being fetched\n",
        (false, true) => return "ok\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn sessions(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let keep = hub.order().keep;
    let body = json!({
        "revision": hub.options.revision,
        "open": hub.open(),
        "told": hub.told(),
        "drained": hub.counts.drained.load(Ordering::Relaxed),
        "draining": hub.stopping() || keep.is_some(),
        "keep": keep,
        "peers": hub.peers.members().len(),
        "handshakes": {
            "inFlight": hub.counts.handshakes.load(Ordering::Relaxed),
            "capacityPerSecond": hub.capacity_per_second(),
        },
    });
    Json(body).into_response()
}

async fn progress(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let order = hub.order();
    let body = json!({
        "open": hub.open(), "told": hub.told(), "keep": order.keep, "intervalMs": order.interval_ms, "to": order.to,
        "drained": hub.counts.drained.load(Ordering::Relaxed),
    });
    Json(body).into_response()
}

/// The token is looked at before the body, and the body does not take for ever.
async fn order(State(hub): State<Arc<Hub>>, headers: HeaderMap, body: Body) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let Ok(body) = tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await else {
        return (StatusCode::REQUEST_TIMEOUT, "body: not here in time\n").into_response();
    };
    let Ok(body) = body else {
        let text = format!("body: more than {BODY_BYTES_MAX} bytes\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    let order = serde_json::from_slice::<Order>(&body).map_err(|error| format!("body: {error}"));
    match order.and_then(|order| order.fault().map_or(Ok(order), Err)) {
        Ok(order) => {
            hub.set_order(order);
            progress(State(hub), headers).await
        }
        Err(fault) => {
            let text = format!("{fault}; send {{\"keep\": 10, \"intervalMs\": 100, \"to\": \"REVISION\"}}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let counts = &hub.counts;
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let mut text = String::with_capacity(2_048);
    for (name, kind, help, value) in [
        (
            "requests_total",
            "counter",
            "Calls answered.",
            counts.requests.load(Ordering::Relaxed),
        ),
        (
            "errors_total",
            "counter",
            "Calls answered with an error of ours.",
            counts.errors.load(Ordering::Relaxed),
        ),
        ("sessions", "gauge", "Sessions open.", count(hub.open())),
        (
            "sessions_told",
            "gauge",
            "Sessions told to move that are still open.",
            count(hub.told()),
        ),
        (
            "sessions_drained_total",
            "counter",
            "Sessions told to move.",
            counts.drained.load(Ordering::Relaxed),
        ),
        (
            "handshakes_in_flight",
            "gauge",
            "Handshakes begun and not greeted yet.",
            counts.handshakes.load(Ordering::Relaxed),
        ),
        (
            "handshakes_failed_total",
            "counter",
            "Handshakes refused or broken off.",
            counts.handshakes_failed.load(Ordering::Relaxed),
        ),
        (
            "peers",
            "gauge",
            "Other replicas connected.",
            count(hub.peers.members().len()),
        ),
    ] {
        let revision = &hub.options.revision;
        let _ = writeln!(
            text,
            "# HELP pointsman_sync_{name} {help}\n# TYPE pointsman_sync_{name} {kind}"
        );
        let _ = writeln!(text, "pointsman_sync_{name}{{revision=\"{revision}\"}} {value}");
    }
    hub.documents.metrics(&mut text, &hub.options.revision);
    hub.service.metrics(&mut text, &hub.options.revision);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
