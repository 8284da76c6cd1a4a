//! A session that survives moves and cuts.
//!
//! One task owns the socket. Calls that are not answered yet are sent again on the next socket, so methods that it is
//! used for must count once when sent twice, as `counter/set` does. A move makes the new socket before it breaks the
//! old one.

mod dial;
mod link;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use pointsman_wire::Packet;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use dial::{Backoff, Dial};

use link::Link;
pub use link::{ConnectError, Greeting};

use crate::points::{self, Points};

/// Calls that may wait for an answer; more are refused.
const CALLS_MAX: usize = 256;
/// Observations that may wait to be looked at; then the session waits.
const OBSERVED_MAX: usize = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A socket without a byte for longer is dead.
const SILENT_WITHIN: Duration = Duration::from_secs(45);

/// How a session is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the service is, such as `ws://chat.example/`.
    pub url: String,
    /// Where to connect instead of the host in the URL, `host:port`.
    pub connect: Option<String>,
    /// A call that has no answer after this long fails.
    pub ask_within: Duration,
}

impl Options {
    /// Tells whether the addresses can be used at all, before anything is started.
    pub fn check(&self) -> Result<(), ConnectError> {
        link::address(self).map(drop)
    }
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A socket is up and greeted. With `moved` it took over from one that is up still.
    Connected {
        /// What the server said.
        greeting: Greeting,
        /// It was asked to move.
        moved: bool,
    },
    /// A socket has ended; with `moved` after another took over.
    Disconnected {
        /// It was asked to move.
        moved: bool,
    },
    /// A socket could not be made. It is tried again.
    Failed(ConnectError),
    /// The server tells something.
    Event {
        /// `unit/event`.
        name: String,
        /// What.
        payload: Value,
    },
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server refuses; below 500 sending it again will not help.
    #[error("{status}: {message}")]
    Refused {
        /// Like HTTP's.
        status: u64,
        /// Its words.
        message: String,
    },
    /// No answer within [`Options::ask_within`]; it may have acted.
    #[error("no answer in time; the call may have acted")]
    Timeout,
    /// Too many calls wait already.
    #[error("more than {CALLS_MAX} calls wait for an answer")]
    Full,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

#[derive(Debug)]
struct Call {
    method: String,
    payload: Bytes,
    answer: oneshot::Sender<Result<Value, CallError>>,
}

impl Call {
    /// Nobody waits for the answer any more.
    fn is_over(&self) -> bool {
        self.answer.is_closed()
    }

    fn packet(&self, id: i64) -> Packet {
        Packet::Call {
            id,
            method: self.method.clone(),
            payload: self.payload.clone(),
        }
    }
}

/// A session. It ends when this is dropped.
#[derive(Debug)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    ask_within: Duration,
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Starts a session, which connects by itself. The receiver tells what happens; the session waits for whoever
    /// reads it, so read it, or drop it.
    #[must_use]
    pub fn start(options: Options) -> (Self, mpsc::Receiver<Observed>) {
        let (calls, asked) = mpsc::channel(CALLS_MAX);
        let (tell, observed) = mpsc::channel(OBSERVED_MAX);
        let ask_within = options.ask_within;
        let session = Session {
            options,
            token: None,
            revision: None,
            backoff: Backoff::default(),
            moving: None,
            next_id: 1,
            seen: 0,
            points: Points::new(),
            waiting: BTreeMap::new(),
            asked,
            tell,
        };
        let client = Self {
            calls,
            ask_within,
            task: tokio::spawn(session.run()),
        };
        (client, observed)
    }

    /// Calls a method and waits for its answer, over as many sockets as that takes, but no longer than
    /// [`Options::ask_within`].
    pub async fn call(&self, method: &str, arguments: &Value) -> Result<Value, CallError> {
        let (answer, answered) = oneshot::channel();
        let call = Call {
            method: method.to_owned(),
            payload: Bytes::from(arguments.to_string()),
            answer,
        };
        self.calls.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Full,
            mpsc::error::TrySendError::Closed(_) => CallError::Ended,
        })?;
        match tokio::time::timeout(self.ask_within, answered).await {
            Ok(answer) => answer.unwrap_or(Err(CallError::Ended)),
            Err(_) => Err(CallError::Timeout),
        }
    }
}

struct Session {
    options: Options,
    token: Option<String>,
    revision: Option<String>,
    backoff: Backoff,
    /// The socket that is to replace the one in use, while it is being made.
    moving: Option<BoxFuture<'static, (Link, Greeting)>>,
    next_id: i64,
    seen: u64,
    /// Up to where events of each slot were heard: none is told twice, and none is missed by a move.
    points: Points,
    waiting: BTreeMap<i64, Call>,
    asked: mpsc::Receiver<Call>,
    tell: mpsc::Sender<Observed>,
}

/// Why a socket is no longer the session's.
enum Over {
    /// It ended by itself.
    Cut,
    /// Another is up.
    Replaced(Box<(Link, Greeting)>),
    /// Nobody wants the session any more.
    Dropped,
}

impl Session {
    async fn run(mut self) {
        let (mut link, greeting) = self.dial(None, Duration::ZERO).await;
        self.greeted(greeting, false).await;
        loop {
            let up = Instant::now();
            match self.serve(&mut link).await {
                Over::Dropped => return link.close().await,
                Over::Cut => {
                    self.observe(Observed::Disconnected { moved: false }).await;
                    self.backoff.lived(up.elapsed());
                    let dial = match self.moving.take() {
                        Some(dial) => dial,
                        None => {
                            // Clients that were cut together do not come back together.
                            let wait = self.backoff.next();
                            self.dial(None, wait)
                        }
                    };
                    let (fresh, greeting) = dial.await;
                    link = fresh;
                    self.greeted(greeting, false).await;
                    // An error shows at the next read.
                    let _ = self.send_again(&mut link).await;
                }
                Over::Replaced(fresh) => {
                    let (fresh, greeting) = *fresh;
                    let old = std::mem::replace(&mut link, fresh);
                    self.greeted(greeting, true).await;
                    let _ = self.send_again(&mut link).await;
                    self.observe(Observed::Disconnected { moved: true }).await;
                    // The session does not wait for its old replica.
                    tokio::spawn(old.close());
                }
            }
        }
    }

    /// Makes a socket: to that revision, else to the one it had.
    fn dial(&self, next: Option<String>, delay: Duration) -> BoxFuture<'static, (Link, Greeting)> {
        let dial = Dial {
            options: self.options.clone(),
            token: self.token.clone(),
            moving: next.is_some(),
            // The first time there is nothing to take up.
            points: self.token.as_ref().map(|_| shown(&self.points)),
            calls: self.token.as_ref().map(|_| self.next_id.to_string()),
            revision: next
                .filter(|next| !next.is_empty())
                .or_else(|| self.revision.clone()),
            backoff: self.backoff.clone(),
            tell: self.tell.clone(),
        };
        Box::pin(dial.run(delay))
    }

    async fn greeted(&mut self, greeting: Greeting, moved: bool) {
        self.token = Some(greeting.token.clone());
        self.revision = Some(greeting.revision.clone());
        self.seen = 0;
        if self.points.is_empty() {
            self.points = points::parse(&greeting.points);
        }
        self.observe(Observed::Connected { greeting, moved }).await;
    }

    async fn observe(&mut self, observed: Observed) {
        // Nobody has to look.
        let _ = self.tell.send(observed).await;
    }

    /// Sends the calls that somebody still waits for.
    async fn send_again(&mut self, link: &mut Link) -> Result<(), ()> {
        self.waiting.retain(|_, call| !call.is_over());
        for (id, call) in &self.waiting {
            link.send(&call.packet(*id)).await?;
        }
        Ok(())
    }

    /// Uses a socket until it is over.
    async fn serve(&mut self, link: &mut Link) -> Over {
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                packet = link.receive() => {
                    heard = Instant::now();
                    match packet {
                        None => return Over::Cut,
                        Some(packet) => if let Some(over) = self.take(packet, link).await { return over },
                    }
                }
                call = self.asked.recv() => {
                    let Some(call) = call else { return Over::Dropped };
                    if self.ask(call, link).await.is_err() {
                        return Over::Cut;
                    }
                }
                fresh = made(&mut self.moving) => {
                    self.moving = None;
                    return Over::Replaced(Box::new(fresh));
                }
                _ = pings.tick() => {
                    if heard.elapsed() > SILENT_WITHIN || link.send(&Packet::Ping { seen: self.seen }).await.is_err() {
                        return Over::Cut;
                    }
                }
            }
        }
    }

    async fn ask(&mut self, call: Call, link: &mut Link) -> Result<(), ()> {
        if call.is_over() {
            return Ok(());
        }
        if self.waiting.len() >= CALLS_MAX {
            self.waiting.retain(|_, call| !call.is_over());
        }
        if self.waiting.len() >= CALLS_MAX {
            let _ = call.answer.send(Err(CallError::Full));
            return Ok(());
        }
        let id = self.next_id;
        self.next_id += 1;
        let packet = call.packet(id);
        self.waiting.insert(id, call);
        link.send(&packet).await
    }

    async fn take(&mut self, packet: Packet, link: &mut Link) -> Option<Over> {
        match packet {
            Packet::Callback { id, status, payload } => {
                if let Some(call) = self.waiting.remove(&id) {
                    let _ = call.answer.send(result(status, &payload));
                }
            }
            Packet::Event {
                sequence,
                name,
                origin,
                payload,
                ..
            } => {
                self.seen = sequence;
                if let Some(origin) = origin {
                    let heard = self.points.entry(origin.slot).or_default();
                    if origin.position <= *heard {
                        return None;
                    }
                    *heard = origin.position;
                }
                let payload = serde_json::from_slice(&payload).unwrap_or(Value::Null);
                self.observe(Observed::Event { name, payload }).await;
            }
            // The socket in use stays in use until the next one is greeted.
            Packet::Drain { delay_ms, next, .. } => {
                if self.moving.is_none() {
                    self.moving = Some(self.dial(Some(next), Duration::from_millis(delay_ms)));
                }
            }
            Packet::Ping { .. } => {
                if link.send(&Packet::Pong { seen: self.seen }).await.is_err() {
                    return Some(Over::Cut);
                }
            }
            // No documents and no streams yet.
            Packet::Pong { .. }
            | Packet::Call { .. }
            | Packet::StreamInit { .. }
            | Packet::StreamChunk { .. }
            | Packet::StreamEnd { .. }
            | Packet::StreamAbort { .. }
            | Packet::Credit { .. }
            | Packet::Delta { .. }
            | Packet::Digest { .. }
            | Packet::PeerDelta { .. }
            | Packet::PeerDigest { .. } => {}
        }
        None
    }
}

/// Never, when none is being made.
async fn made(moving: &mut Option<BoxFuture<'static, (Link, Greeting)>>) -> (Link, Greeting) {
    match moving {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}

/// Never empty: nothing heard of any slot is something else than nothing known.
fn shown(points: &Points) -> String {
    if points.is_empty() {
        return "0.0".to_owned();
    }
    points::write(points)
}

fn result(status: u64, payload: &Bytes) -> Result<Value, CallError> {
    let value: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
    if status == 0 {
        return Ok(value);
    }
    let message = value.get("error").and_then(Value::as_str);
    Err(CallError::Refused {
        status,
        message: message.map_or_else(|| value.to_string(), str::to_owned),
    })
}
