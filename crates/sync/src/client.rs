//! A session that survives moves and cuts.
//!
//! One task owns the socket. Calls that are not answered yet are sent again on the next socket, so methods that it is
//! used for must count once when sent twice, as `counter/set` does. A move makes the new socket before it breaks the
//! old one.

mod link;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pointsman_wire::Packet;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use link::{ConnectError, Greeting};
use link::{Link, connect};

/// Calls that may wait for an answer; more are refused.
const CALLS_MAX: usize = 256;
/// Observations that may wait to be looked at; then the session waits.
const OBSERVED_MAX: usize = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A socket without a byte for longer is dead.
const SILENT_WITHIN: Duration = Duration::from_secs(45);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LAST: Duration = Duration::from_secs(10);

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
    until: Instant,
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
            next_id: 1,
            seen: 0,
            waiting: BTreeMap::new(),
            asked,
            tell,
        };
        let task = tokio::spawn(session.run());
        (
            Self {
                calls,
                ask_within,
                task,
            },
            observed,
        )
    }

    /// Calls a method and waits for its answer, over as many sockets as that takes.
    pub async fn call(&self, method: &str, arguments: &Value) -> Result<Value, CallError> {
        let (answer, answered) = oneshot::channel();
        let call = Call {
            method: method.to_owned(),
            payload: Bytes::from(arguments.to_string()),
            answer,
            until: Instant::now() + self.ask_within,
        };
        self.calls.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Full,
            mpsc::error::TrySendError::Closed(_) => CallError::Ended,
        })?;
        answered.await.unwrap_or(Err(CallError::Ended))
    }
}

struct Session {
    options: Options,
    token: Option<String>,
    revision: Option<String>,
    next_id: i64,
    seen: u64,
    waiting: BTreeMap<i64, Call>,
    asked: mpsc::Receiver<Call>,
    tell: mpsc::Sender<Observed>,
}

/// Why a socket is no longer the session's.
enum Over {
    /// It ended by itself.
    Cut,
    /// It is to be replaced, after this long, by one to that revision.
    Move { delay: Duration, next: String },
    /// Nobody wants the session any more.
    Dropped,
}

impl Session {
    async fn run(mut self) {
        let Some(mut link) = self.connect(false).await else {
            return;
        };
        loop {
            match self.serve(&mut link).await {
                Over::Dropped => {
                    link.close().await;
                    return;
                }
                Over::Cut => {
                    self.observe(Observed::Disconnected { moved: false }).await;
                    match self.connect(false).await {
                        Some(fresh) => link = fresh,
                        None => return,
                    }
                }
                Over::Move { delay, next } => {
                    tokio::time::sleep(delay).await;
                    if !next.is_empty() {
                        self.revision = Some(next);
                    }
                    // The old socket stays open, unread, until the new one is greeted.
                    match self.connect(true).await {
                        Some(fresh) => {
                            let old = std::mem::replace(&mut link, fresh);
                            self.observe(Observed::Disconnected { moved: true }).await;
                            old.close().await;
                        }
                        None => return,
                    }
                }
            }
        }
    }

    /// Tries until there is a socket; `None` when nobody wants the session any more.
    async fn connect(&mut self, moved: bool) -> Option<Link> {
        let mut wait = BACKOFF_FIRST;
        let mut failed = 0_u32;
        loop {
            // A revision that cannot be reached may be gone, so every second try leaves the choice to the service.
            let revision = self.revision.as_deref().filter(|_| failed.is_multiple_of(2));
            match connect(&self.options, self.token.as_deref(), revision).await {
                Ok((link, greeting)) => {
                    self.token = Some(greeting.token.clone());
                    self.revision = Some(greeting.revision.clone());
                    self.seen = 0;
                    self.observe(Observed::Connected { greeting, moved }).await;
                    return Some(link);
                }
                Err(error) => self.observe(Observed::Failed(error)).await,
            }
            failed = failed.saturating_add(1);
            if self.asked.is_closed() {
                return None;
            }
            // Full jitter: clients that were cut together do not come back together.
            let most = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..=most))).await;
            wait = wait.saturating_mul(2).min(BACKOFF_LAST);
        }
    }

    async fn observe(&self, observed: Observed) {
        // Nobody has to look.
        let _ = self.tell.send(observed).await;
    }

    async fn serve(&mut self, link: &mut Link) -> Over {
        let again: Vec<Packet> = self.waiting.iter().map(|(id, call)| packet(*id, call)).collect();
        for packet in &again {
            if link.send(packet).await.is_err() {
                return Over::Cut;
            }
        }
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut sweeps = tokio::time::interval(Duration::from_millis(250));
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
                    if self.waiting.len() >= CALLS_MAX {
                        let _ = call.answer.send(Err(CallError::Full));
                        continue;
                    }
                    let id = self.next_id;
                    self.next_id += 1;
                    let sent = link.send(&packet(id, &call)).await;
                    self.waiting.insert(id, call);
                    if sent.is_err() {
                        return Over::Cut;
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > SILENT_WITHIN || link.send(&Packet::Ping { seen: self.seen }).await.is_err() {
                        return Over::Cut;
                    }
                }
                _ = sweeps.tick() => self.sweep(),
            }
        }
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
                payload,
            } => {
                self.seen = sequence;
                let payload = serde_json::from_slice(&payload).unwrap_or(Value::Null);
                self.observe(Observed::Event { name, payload }).await;
            }
            Packet::Drain { delay_ms, next, .. } => {
                return Some(Over::Move {
                    delay: Duration::from_millis(delay_ms),
                    next,
                });
            }
            Packet::Ping { .. } => {
                if link.send(&Packet::Pong { seen: self.seen }).await.is_err() {
                    return Some(Over::Cut);
                }
            }
            Packet::Pong { .. } | Packet::Call { .. } | Packet::Delta { .. } => {}
        }
        None
    }

    /// Fails the calls that waited too long.
    fn sweep(&mut self) {
        let now = Instant::now();
        let late: Vec<i64> = self
            .waiting
            .iter()
            .filter(|(_, call)| call.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(call) = self.waiting.remove(&id) {
                let _ = call.answer.send(Err(CallError::Timeout));
            }
        }
    }
}

fn packet(id: i64, call: &Call) -> Packet {
    Packet::Call {
        id,
        method: call.method.clone(),
        payload: call.payload.clone(),
    }
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
