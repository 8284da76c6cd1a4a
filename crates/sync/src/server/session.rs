//! One session: a task that owns its socket.
//!
//! Calls of a session run one after the other, and everything else goes on meanwhile: the task polls the call that runs
//! beside the socket, streams, events and orders.

mod calls;
mod connection;
mod documents;
pub(super) mod elsewhere;
mod ledger;
mod outgoing;
mod packets;
mod upgrade;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use pointsman_wire::{Codec, Dialect, Packet};
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::authentication::Identity;
use super::documents::DocumentEvent;
use super::handshake::Socket;
use super::hub::{Hub, Told, lock};
use super::streams::{Happened, Table};
use super::units::Published;
use crate::points::{self, Points};
use calls::{Finished, Job};
pub(super) use connection::{Ask, Connection, Who};
use documents::Exchange;
pub(super) use ledger::{Key, Ledger};
pub(super) use upgrade::{Parameters, identify, is_token, shown, status, upgrade};

/// Changed values are sent at most this often.
const CHANGES_EVERY: Duration = Duration::from_millis(100);
/// A socket that takes nothing for this long is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Uploads and identities are looked after this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A client that is silent for so long is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that is silent for so long is gone, whatever TCP says.
const SILENT_WITHIN: Duration = Duration::from_secs(90);

/// Why a session ended.
enum End {
    Gone,
    Close(CloseCode, Cow<'static, str>),
}

fn close(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> End {
    End::Close(code, reason.into())
}

/// What somebody who has not signed in may still use.
struct Stranger {
    until: Instant,
    bytes_left: usize,
    hub: Arc<Hub>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.hub.service.counts.strangers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session that is to go.
struct Leaving {
    next: String,
    until: Instant,
}

struct Session {
    hub: Arc<Hub>,
    socket: Socket,
    codec: Codec,
    connection: Arc<Connection>,
    resumed: bool,
    /// Up to where the client has heard events, when it says so.
    points: Option<Points>,
    last_call: i64,
    sequence: u64,
    events: broadcast::Receiver<Arc<Published>>,
    streams: Option<Box<Table>>,
    /// Ends of streams without bytes: a client of Metacom forgets one with its end, so that comes after the answer.
    ends: Vec<Packet>,
    jobs: VecDeque<Job>,
    running: Option<BoxFuture<'static, Finished>>,
    exchanges: FuturesUnordered<Exchange>,
    /// Changes of documents, once one is open.
    told: Option<mpsc::Receiver<DocumentEvent>>,
    heard: Instant,
    asked_at: Instant,
    leaving: Option<Leaving>,
    /// Whose rights its documents were opened with.
    identity: Option<Arc<Identity>>,
    /// While somebody has to sign in and has not.
    stranger: Option<Stranger>,
}

/// A call that outlives its socket, so that it is not left half done.
pub(super) type Leftover = BoxFuture<'static, ()>;

impl Session {
    fn new(socket: Socket, codec: Codec, connection: Arc<Connection>, hub: Arc<Hub>) -> Self {
        let now = Instant::now();
        let events = hub.service.events.resume(None).events;
        let mut session = Self {
            hub,
            socket,
            codec,
            connection,
            resumed: false,
            points: None,
            last_call: 0,
            sequence: 0,
            events,
            streams: None,
            ends: Vec::new(),
            jobs: VecDeque::new(),
            running: None,
            exchanges: FuturesUnordered::new(),
            told: None,
            heard: now,
            asked_at: now,
            leaving: None,
            identity: None,
            stranger: None,
        };
        session.look_who();
        session
    }

    fn binary(&self) -> bool {
        self.codec.dialect() == Some(Dialect::Binary)
    }

    /// One more than may be here without having signed in.
    fn is_too_much(&self) -> bool {
        let strangers = self.hub.service.counts.strangers.load(Ordering::Relaxed);
        let most = self.hub.options.limits.unauthenticated_sessions_max;
        self.stranger.is_some() && usize::try_from(strangers).unwrap_or(usize::MAX) > most
    }

    async fn run(
        &mut self,
        told: &mut mpsc::Receiver<Told>,
        handshake: upgrade::Handshake,
    ) -> Option<Leftover> {
        let greeted = if self.is_too_much() {
            self.hub
                .service
                .counts
                .strangers_closed
                .fetch_add(1, Ordering::Relaxed);
            Err(close(
                CloseCode::Again,
                "too many have not signed in; try again, or show a token",
            ))
        } else {
            self.greet().await
        };
        let end = match greeted {
            Ok(()) => {
                handshake.greeted();
                self.serve(told).await
            }
            Err(end) => end,
        };
        if let End::Close(code, reason) = end {
            let reason = reason.as_ref().into();
            let close = self.socket.close(Some(CloseFrame { code, reason }));
            let _ = tokio::time::timeout(WRITE_WITHIN, close).await;
        }
        let (running, connection) = (self.running.take()?, Arc::clone(&self.connection));
        Some(Box::pin(async move {
            running.await;
            drop(connection);
        }))
    }

    /// Clients of Metacom expect nothing before they ask.
    async fn greet(&mut self) -> Result<(), End> {
        if !self.binary() {
            return Ok(());
        }
        let who = self.connection.who();
        let resumed = self.hub.service.events.resume(self.points.take().as_ref());
        self.events = resumed.events;
        let points = points::write(&resumed.points);
        let greeting = json!({
            "revision": self.hub.options.revision, "replica": self.hub.replica.to_string(),
            "token": who.token, "writer": who.key.writer(), "resumed": self.resumed, "lastCall": self.last_call,
            "points": points,
        });
        self.event("session/greeting", Bytes::from(greeting.to_string()))
            .await?;
        if self.stranger.is_some() {
            return Ok(());
        }
        if resumed.missed {
            self.event("session/missed", Bytes::from_static(b"{}")).await?;
        }
        for event in resumed.backlog {
            self.publish(Ok(event)).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, told: &mut mpsc::Receiver<Told>) -> End {
        let mut changes = tokio::time::interval(CHANGES_EVERY);
        changes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        loop {
            if self.running.is_none() && !self.ends.is_empty() {
                let ends = std::mem::take(&mut self.ends);
                if let Err(end) = self.packets(&ends).await {
                    return end;
                }
            }
            self.start_next();
            let follows = !lock(&self.connection.rooms).is_empty();
            let reads = self.streams.as_ref().is_none_or(|streams| streams.has_room());
            let deadline = self.deadline();
            let step = tokio::select! {
                message = self.socket.next(), if reads => self.message(message).await,
                order = told.recv() => self.order(order).await,
                finished = run(&mut self.running) => self.finished(finished).await,
                () = self.connection.asked.notified() => self.asks().await,
                happened = happens(&mut self.streams) => self.happened(happened).await,
                event = self.events.recv() => self.publish(event).await,
                event = tells(&mut self.told) => self.changed(event).await,
                Some(done) = self.exchanges.next() => self.exchanged(done).await,
                _ = changes.tick(), if follows => self.changes().await,
                _ = looks.tick() => self.look().await,
                () = until(deadline) => Err(self.late()),
            };
            if let Err(end) = step.and_then(|()| self.left()) {
                return end;
            }
        }
    }

    // === orders and time ===

    async fn order(&mut self, order: Option<Told>) -> Result<(), End> {
        match order {
            Some(Told::Move { next }) => {
                let until = Instant::now() + self.hub.options.moved_within;
                self.leaving = Some(Leaving {
                    next: next.clone(),
                    until,
                });
                if !self.binary() {
                    return Ok(());
                }
                let token = self.connection.who().token;
                let (delay_ms, slot) = (0, 0);
                self.send(&Packet::Drain {
                    delay_ms,
                    next,
                    token,
                    slot,
                })
                .await
            }
            Some(Told::Close) => Err(close(
                CloseCode::Restart,
                "this replica ends: make a new connection",
            )),
            Some(Told::Cut) | None => Err(End::Gone),
        }
    }

    /// A client that knows no DRAIN is closed when nothing is on its way; it comes back by itself.
    fn left(&self) -> Result<(), End> {
        match &self.leaving {
            Some(leaving) if !self.binary() && !self.busy() => Err(close(
                CloseCode::Restart,
                json!({"in": 0, "to": leaving.next}).to_string(),
            )),
            _ => Ok(()),
        }
    }

    fn busy(&self) -> bool {
        self.running.is_some()
            || !self.jobs.is_empty()
            || self.streams.as_ref().is_some_and(|streams| streams.open() > 0)
    }

    fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let stranger = self.stranger.as_ref().map(|stranger| stranger.until);
        leaving.into_iter().chain(stranger).min()
    }

    fn late(&self) -> End {
        if self
            .leaving
            .as_ref()
            .is_some_and(|leaving| leaving.until <= Instant::now())
        {
            return close(CloseCode::Restart, "moved: make a new connection");
        }
        self.unknown()
    }

    fn unknown(&self) -> End {
        self.hub
            .service
            .counts
            .strangers_closed
            .fetch_add(1, Ordering::Relaxed);
        close(CloseCode::Policy, "sign in: auth/signin {token}")
    }

    /// Looks who it is now, and whether somebody has to sign in.
    fn look_who(&mut self) {
        let identity = self.connection.identity();
        let same = match (&self.identity, &identity) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.connection.documents.recheck(&self.hub, identity.as_deref());
            self.identity = identity;
        }
        if !self.hub.options.authentication.required || self.identity.is_some() {
            self.stranger = None;
        } else if self.stranger.is_none() {
            let limits = &self.hub.options.limits;
            self.hub.service.counts.strangers.fetch_add(1, Ordering::Relaxed);
            self.stranger = Some(Stranger {
                until: Instant::now() + limits.unauthenticated_within,
                bytes_left: limits.unauthenticated_bytes_max,
                hub: Arc::clone(&self.hub),
            });
        }
    }

    async fn look(&mut self) -> Result<(), End> {
        self.look_who();
        if let Some(streams) = &mut self.streams {
            let given_up = streams.idle();
            self.packets(&given_up).await?;
        }
        let silent = self.heard.elapsed();
        if silent >= SILENT_WITHIN {
            return Err(End::Gone);
        }
        if silent < PING_EVERY || self.asked_at.elapsed() < PING_EVERY {
            return Ok(());
        }
        self.asked_at = Instant::now();
        if self.binary() {
            self.send(&Packet::Ping { seen: 0 }).await
        } else {
            // Every WebSocket answers this one, whatever its program knows.
            self.write(Message::Ping(Bytes::new())).await
        }
    }
}

/// The call that runs; never, when none does.
async fn run(running: &mut Option<BoxFuture<'static, Finished>>) -> Finished {
    match running {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// The next change of a document; never, when none is open.
async fn tells(told: &mut Option<mpsc::Receiver<DocumentEvent>>) -> DocumentEvent {
    if let Some(told) = told
        && let Some(event) = told.recv().await
    {
        return event;
    }
    std::future::pending().await
}

/// What happens to streams; never, when there are none.
async fn happens(streams: &mut Option<Box<Table>>) -> Happened {
    match streams {
        Some(streams) => streams.next().await,
        None => std::future::pending().await,
    }
}

/// Never, when there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
