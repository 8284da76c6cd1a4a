//! From an HTTP request to a WebSocket.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pointsman_wire::Dialect;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Bounds of a socket between replicas.
pub(super) fn config() -> WebSocketConfig {
    bounds(Dialect::Binary)
}

/// Bounds of a socket. Its buffers are what an idle one costs.
pub(super) fn bounds(dialect: Dialect) -> WebSocketConfig {
    let most = dialect.message_bytes_max();
    WebSocketConfig::default()
        .read_buffer_size(2 * 1024)
        .write_buffer_size(4 * 1024)
        // Room for one message, and for what is small beside it.
        .max_write_buffer_size(most + 1024 * 1024)
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
}

fn has(request: &Request, name: HeaderName, part: &str) -> bool {
    let values = request.headers().get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(part)))
}

/// True for the handshake of a WebSocket.
pub(super) fn asks_for_socket(request: &Request) -> bool {
    request.method() == Method::GET
        && has(request, header::UPGRADE, "websocket")
        && has(request, header::SEC_WEBSOCKET_VERSION, "13")
        && request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
}

/// True when that subprotocol is among those offered.
pub(super) fn offers(request: &Request, protocol: &str) -> bool {
    has(request, header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// Answers the handshake of a client that must offer the subprotocol.
pub(super) fn switch<F>(
    request: Request,
    protocol: &'static str,
    ended: CancellationToken,
    run: impl FnOnce(Option<Socket>) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    if !asks_for_socket(&request) || !offers(&request, protocol) {
        let text = format!("this path is a WebSocket of version 13; offer the subprotocol {protocol}\n");
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::BAD_REQUEST, headers, text).into_response();
    }
    accept(request, Some(protocol), config(), ended, run)
}

/// Accepts a handshake. The socket goes to a task of its own, which runs until the replica ends and gets `None` when the
/// connection broke before.
pub(super) fn accept<F>(
    mut request: Request,
    protocol: Option<&'static str>,
    config: WebSocketConfig,
    ended: CancellationToken,
    run: impl FnOnce(Option<Socket>) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let socket = match ended.run_until_cancelled(upgrade).await {
            Some(Ok(io)) => {
                let io = TokioIo::new(io);
                Some(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "handshake not finished");
                None
            }
            None => return,
        };
        // Boxed: inside this future and the one that waits for the end it would take its place twice.
        let running = Box::pin(run(socket));
        let _ = ended.run_until_cancelled(running).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    if let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(&accept).ok()) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
