//! The control endpoints: health, metrics, and the session contract.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::json;

use super::hub::{Hub, Order};
use super::peers;

const BODY_BYTES_MAX: usize = 16 * 1024;
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
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// True when nobody needs a token, or this is the one. The file is read each time because it is rotated under us.
pub(super) async fn allowed(hub: &Hub, headers: &HeaderMap) -> bool {
    let Some(file) = &hub.options.control_token_file else {
        return true;
    };
    let Ok(token) = tokio::fs::read(file).await else {
        return false;
    };
    let shown = headers
        .get(header::AUTHORIZATION)
        .map_or(&b""[..], |value| value.as_bytes());
    let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    // Several while they are rotated: every one of them is good, and each is compared.
    let lines = token
        .split(|byte| *byte == b'\n')
        .take(TOKENS_MAX)
        .map(<[u8]>::trim_ascii);
    lines.fold(false, |good, token| {
        good | (!token.is_empty() && token.len() <= TOKEN_BYTES_MAX && same(token, shown))
    })
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
    if hub.ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

async fn sessions(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    let body = json!({
        "revision": hub.options.revision,
        "open": hub.open(),
        "drained": hub.counts.drained.load(Ordering::Relaxed),
        "draining": !hub.ready() || hub.order().keep.is_some(),
        "keep": hub.order().keep,
        "peers": hub.peers(),
        "handshakes": { "inFlight": hub.counts.handshakes.load(Ordering::Relaxed) },
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

async fn order(State(hub): State<Arc<Hub>>, headers: HeaderMap, body: Bytes) -> Response {
    if !allowed(&hub, &headers).await {
        return refuse();
    }
    match serde_json::from_slice::<Order>(&body) {
        Ok(order) => {
            if order != hub.order() {
                tracing::info!(
                    keep = order.keep,
                    interval_ms = order.interval_ms,
                    to = order.to,
                    "drain order"
                );
                hub.set_order(order);
            }
            progress(State(hub), headers).await
        }
        Err(error) => {
            let text =
                format!("body: {error}; send {{\"keep\": 10, \"intervalMs\": 100, \"to\": \"REVISION\"}}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let revision = hub.options.revision.replace(['\\', '"', '\n'], "_");
    let counts = &hub.counts;
    let mut text = String::with_capacity(1_024);
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
        (
            "sessions",
            "gauge",
            "Sessions open.",
            u64::try_from(hub.open()).unwrap_or(u64::MAX),
        ),
        (
            "sessions_drained_total",
            "counter",
            "Sessions told to move.",
            counts.drained.load(Ordering::Relaxed),
        ),
        (
            "peers",
            "gauge",
            "Other replicas connected.",
            u64::try_from(hub.peers()).unwrap_or(u64::MAX),
        ),
    ] {
        let _ = writeln!(
            text,
            "# HELP pointsman_sync_{name} {help}\n# TYPE pointsman_sync_{name} {kind}"
        );
        let _ = writeln!(text, "pointsman_sync_{name}{{revision=\"{revision}\"}} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
