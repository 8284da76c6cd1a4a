//! Finds the other replicas and keeps one dialling task for each address.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::link::{self, Run};
use super::{PROTOCOL, STEP_WITHIN};
use crate::server::control::tokens;
use crate::server::handshake::config;
use crate::server::hub::Hub;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const DIAL_EVERY: Duration = Duration::from_millis(500);
/// A first replica does not wait longer for the others: they may be gone.
const JOIN_WITHIN: Duration = Duration::from_secs(5);
const PEERS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("refuses our token")]
    Token,
}

/// A task that dials one address.
struct Dialler {
    /// False once the address is nobody's: then its connection lives until it breaks, and is not made again.
    wanted: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Dropped when an address was reached, or cannot be.
pub(super) type Trying = mpsc::Sender<Infallible>;

impl Hub {
    /// Places for the peers that dial us.
    pub(in crate::server) fn peer_places() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(PEERS_MAX))
    }
}

/// Keeps one dialling task for every address that is a peer now. `all_tried` becomes true once every address of the first
/// look was.
pub(in crate::server) async fn run(hub: Arc<Hub>, all_tried: watch::Sender<bool>) {
    let (trying, tried) = mpsc::channel::<Infallible>(1);
    let mut trying = Some(trying);
    let waits = wait(tried, all_tried);
    tokio::spawn(ending(Arc::clone(&hub), waits));
    let mut diallers: BTreeMap<String, Dialler> = BTreeMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut wanted = hub.options.peers.clone();
        let mut found_all = true;
        if let Some(name) = &hub.options.peers_dns {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(found) => wanted.extend(found.map(|address| address.to_string())),
                // Unknown is not "nobody": keep whom we have.
                Err(error) => {
                    tracing::debug!(name, %error, "peers are not found");
                    wanted.extend(diallers.keys().cloned());
                    found_all = false;
                }
            }
        }
        wanted.truncate(PEERS_MAX);
        for (address, dialler) in &diallers {
            dialler.wanted.store(wanted.contains(address), Ordering::Relaxed);
        }
        diallers.retain(|_, dialler| !dialler.task.is_finished());
        for address in wanted {
            diallers.entry(address).or_insert_with_key(|address| {
                let wanted = Arc::new(AtomicBool::new(true));
                let flag = Arc::clone(&wanted);
                let dial = dial(Arc::clone(&hub), address.clone(), flag, trying.clone());
                Dialler {
                    wanted,
                    task: tokio::spawn(ending(Arc::clone(&hub), dial)),
                }
            });
        }
        if found_all {
            trying = None;
        }
    }
}

/// Runs a task until the replica ends.
async fn ending(hub: Arc<Hub>, task: impl Future<Output = ()>) {
    hub.ended.run_until_cancelled(task).await;
}

async fn wait(mut tried: mpsc::Receiver<Infallible>, all_tried: watch::Sender<bool>) {
    if tokio::time::timeout(JOIN_WITHIN, tried.recv()).await.is_err() {
        tracing::warn!("not every peer answered; going on without");
    }
    all_tried.send_replace(true);
}

async fn dial(hub: Arc<Hub>, address: String, wanted: Arc<AtomicBool>, mut trying: Option<Trying>) {
    // The first token of the file, and after a refusal the next: the peer's file may be older or newer than ours.
    let (mut token, mut tries) = (0, 0_u32);
    while wanted.load(Ordering::Relaxed) {
        let reached = match connect(&hub, &address, token).await {
            Ok(socket) => {
                let run = link::run(&hub, socket, true, &mut trying).await;
                if let Some(Run::Needless(other)) = &run {
                    other.ended().await;
                }
                run.is_some()
            }
            Err(error) => {
                token = if matches!(error, DialError::Token) {
                    token + 1
                } else {
                    0
                };
                tracing::debug!(address, %error, "peer is not reached");
                false
            }
        };
        // Twice: replicas that start together are up a moment apart, and one of them is to be first.
        tries += u32::from(!reached);
        if tries >= 2 {
            trying = None;
        }
        tokio::time::sleep(DIAL_EVERY).await;
    }
}

/// Dials with the token of that place in the file, beginning again after the last.
async fn connect(hub: &Hub, address: &str, token: usize) -> Result<WebSocketStream<TcpStream>, DialError> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let mut request = format!("ws://{address}/peer").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    let tokens = tokens(hub).await;
    if let Some(token) = tokens.get(token % tokens.len().max(1)) {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token.as_slice()].concat());
        headers.insert("authorization", value.map_err(|_| DialError::Token)?);
    }
    let handshake = async {
        let stream = TcpStream::connect(address).await.map_err(SocketError::Io)?;
        let _ = stream.set_nodelay(true);
        tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await
    };
    match tokio::time::timeout(STEP_WITHIN, handshake).await? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) if answer.status() == http::StatusCode::UNAUTHORIZED => {
            Err(DialError::Token)
        }
        Err(error) => Err(error.into()),
    }
}
