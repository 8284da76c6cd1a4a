//! One socket: the handshake, and packets in and out.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use pointsman_wire::{PACKET_BYTES_MAX, Packet, SUBPROTOCOL};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::Options;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const GREETED_WITHIN: Duration = Duration::from_secs(5);
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// What the server says first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Greeting {
    /// Revision of the server.
    pub revision: String,
    /// Number of the replica.
    pub replica: String,
    /// Shown at the next socket, it makes that the same session.
    pub token: String,
    /// Name of the session as a writer in documents.
    #[serde(default)]
    pub writer: String,
    /// True when a token was shown.
    pub resumed: bool,
    /// Up to where events were heard when the session began, `slot.position,…`.
    #[serde(default)]
    pub points: String,
}

/// Why a socket could not be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("url: {0}")]
    Url(String),
    /// The address to connect to cannot be used.
    #[error("connect: {0} is not HOST:PORT")]
    Address(String),
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// The server, or something before it, answered with this status.
    #[error("answered {0}")]
    Status(u16),
    /// Not in time.
    #[error("no answer in time")]
    Timeout,
    /// No greeting, or it makes no sense.
    #[error("no greeting")]
    Greeting,
}

impl ConnectError {
    /// A short name, one of a bounded set but for the number of a status.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Url(_) | Self::Address(_) => "url".to_owned(),
            Self::Refused(_) => "refused".to_owned(),
            Self::Status(status) => status.to_string(),
            Self::Timeout => "timeout".to_owned(),
            Self::Greeting => "greeting".to_owned(),
        }
    }
}

/// A socket that is up.
#[derive(Debug)]
pub(super) struct Link {
    socket: WebSocketStream<TcpStream>,
}

/// Where to connect.
pub(super) fn address(options: &Options) -> Result<String, ConnectError> {
    let rest = options
        .url
        .strip_prefix("ws://")
        .ok_or_else(|| ConnectError::Url(format!("{} does not begin with ws://", options.url)))?;
    let has_port = |host: &str| {
        host.rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
    };
    if let Some(given) = &options.connect {
        return if has_port(given) {
            Ok(given.clone())
        } else {
            Err(ConnectError::Address(given.clone()))
        };
    }
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    match (host.is_empty(), has_port(host)) {
        (true, _) => Err(ConnectError::Url(format!("{} names no host", options.url))),
        (false, true) => Ok(host.to_owned()),
        (false, false) => Ok(format!("{host}:80")),
    }
}

/// What a server of ours says fits; anything else is not worth breaking the URL for.
fn fits_url(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~,".contains(&byte))
}

pub(super) async fn connect(
    options: &Options,
    token: Option<&str>,
    revision: Option<&str>,
    points: Option<&str>,
    calls: Option<&str>,
) -> Result<(Link, Greeting), ConnectError> {
    let address = address(options)?;
    let mut url = options.url.clone();
    for (name, value) in [
        ("token", token),
        ("points", points),
        ("calls", calls),
        ("pointsman-revision", revision),
    ] {
        if let Some(value) = value.filter(|value| fits_url(value)) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        }
    }
    let mut request = url
        .into_client_request()
        .map_err(|error| ConnectError::Url(error.to_string()))?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let handshake = async {
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| ConnectError::Refused(error.to_string()))?;
        let _ = stream.set_nodelay(true);
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(4 * 1024)
            .max_write_buffer_size(1024 * 1024)
            .max_message_size(Some(PACKET_BYTES_MAX))
            .max_frame_size(Some(PACKET_BYTES_MAX));
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(Link { socket }),
            Err(SocketError::Http(answer)) => Err(ConnectError::Status(answer.status().as_u16())),
            Err(error) => Err(ConnectError::Refused(error.to_string())),
        }
    };
    let mut link = tokio::time::timeout(CONNECT_WITHIN, handshake)
        .await
        .map_err(|_| ConnectError::Timeout)??;
    let greeting = tokio::time::timeout(GREETED_WITHIN, link.receive())
        .await
        .map_err(|_| ConnectError::Timeout)?;
    match greeting {
        Some(Packet::Event { payload, .. }) => serde_json::from_slice(&payload)
            .map(|greeting| (link, greeting))
            .map_err(|_| ConnectError::Greeting),
        Some(_) | None => Err(ConnectError::Greeting),
    }
}

impl Link {
    /// The next packet; `None` when the socket has ended. Kinds that are not known are passed over.
    pub(super) async fn receive(&mut self) -> Option<Packet> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => {
                    if let Ok(packet) = Packet::decode(&bytes) {
                        return Some(packet);
                    }
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Sends a packet; an error means that the socket has ended.
    pub(super) async fn send(&mut self, packet: &Packet) -> Result<(), ()> {
        let bytes = packet.encode().map_err(|_| ())?;
        let sent = tokio::time::timeout(WRITE_WITHIN, self.socket.send(Message::Binary(bytes))).await;
        sent.map_err(|_| ())?.map_err(|_| ())
    }

    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(WRITE_WITHIN, self.socket.close(None)).await;
    }
}
