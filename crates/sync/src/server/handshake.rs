//! From an HTTP request to a WebSocket.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pointsman_wire::PACKET_BYTES_MAX;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Bounds of every socket.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(1024 * 1024)
        .max_message_size(Some(PACKET_BYTES_MAX))
        .max_frame_size(Some(PACKET_BYTES_MAX))
}

/// Answers the handshake. The socket goes to a task of its own, which runs until the replica ends and gets `None` when
/// the connection broke before.
pub(super) fn switch<F>(
    mut request: Request,
    protocol: &'static str,
    ended: CancellationToken,
    run: impl FnOnce(Option<Socket>) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let has = |name: header::HeaderName, part: &str| {
        let values = request.headers().get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(part)))
    };
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let asks = request.method() == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
        && has(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let Some(key) = key.filter(|_| asks) else {
        let text = format!("this path is a WebSocket of version 13; offer the subprotocol {protocol}\n");
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::BAD_REQUEST, headers, text).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let socket = async {
            let socket = match upgrade.await {
                Ok(io) => {
                    let io = TokioIo::new(io);
                    Some(WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await)
                }
                Err(error) => {
                    tracing::debug!(%error, "handshake not finished");
                    None
                }
            };
            run(socket).await;
        };
        let _ = ended.run_until_cancelled(socket).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
