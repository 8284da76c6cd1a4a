//! The streams of one session: what the rules of the wire let in and out, and who makes or takes the bytes.
//!
//! A crash or a cut ends all of it: an upload that was not committed leaves nothing, a download is asked for again.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use pointsman_wire::{Dialect, Opened, Packet, Role, StreamError, Streams, Taken};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use super::tasks::{Piece, Report, Upload};
use super::{Blob, BlobError, BlobReader};
use crate::server::units::Fault;

/// Pieces that wait for their writer.
const PIECES_MAX: usize = 16;
/// Bytes that wait for a method that takes them, over all streams of a session.
const UNTAKEN_BYTES_MAX: u64 = 1024 * 1024;
/// Beyond so many bytes that wait for their writers the socket is not read.
const UNWRITTEN_BYTES_MAX: u64 = 1024 * 1024;
/// An upload without a byte for so long has lost its sender.
const IDLE_WITHIN: Duration = Duration::from_secs(30);
const REPORTS_MAX: usize = 8;

/// What a client sends.
struct Incoming {
    size: u64,
    /// Bytes that were got and not yet taken.
    waiting: u64,
    pieces: mpsc::Sender<Piece>,
    /// Until a method takes the stream.
    untaken: Option<mpsc::Receiver<Piece>>,
    /// Resolves once the taker is done.
    done: Option<oneshot::Receiver<()>>,
    ended: bool,
    heard: Instant,
}

/// A part of a file that was read.
type Part = (i64, Box<dyn BlobReader>, usize, Result<Bytes, BlobError>);

/// What is to be done after a packet or a report.
#[derive(Debug)]
pub(in crate::server) enum Step {
    /// Packets to send, in order.
    Send(Vec<Packet>),
    /// The stream is whole; resolves once it is kept.
    Keep { id: i64, done: oneshot::Receiver<()> },
    /// A download waits until the client shows that it has read what was sent, in a dialect without credit.
    Confirm { id: i64, packets: Vec<Packet> },
}

impl Step {
    fn nothing() -> Self {
        Self::Send(Vec::new())
    }
}

/// The streams of one session. Most have none, so it is made with the first one.
pub(in crate::server) struct Table {
    rules: Streams,
    metacom: bool,
    incoming: BTreeMap<i64, Incoming>,
    /// Downloads that wait for room.
    resting: BTreeMap<i64, Box<dyn BlobReader>>,
    reading: FuturesUnordered<BoxFuture<'static, Part>>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    /// A piece whose channel is full; until it has room the socket is not read.
    stuck: Option<Stuck>,
}

type Stuck = (mpsc::Sender<Piece>, Piece);

/// What happened to a stream while nobody sent a packet.
pub(in crate::server) enum Happened {
    Reported(Report),
    Read(Part),
    /// There is room to read on.
    Unstuck,
}

impl Table {
    pub(in crate::server) fn new(dialect: Dialect, size_max: u64) -> Self {
        Self {
            rules: Streams::new(dialect, Role::Server, size_max),
            metacom: dialect != Dialect::Binary,
            incoming: BTreeMap::new(),
            resting: BTreeMap::new(),
            reading: FuturesUnordered::new(),
            reports: mpsc::channel(REPORTS_MAX),
            stuck: None,
        }
    }

    /// The next thing that happens; never, when nothing goes on. Nothing is lost when it is dropped.
    pub(in crate::server) async fn next(&mut self) -> Happened {
        let Self {
            reports,
            reading,
            stuck,
            ..
        } = self;
        tokio::select! {
            place = room(stuck) => {
                // A closed channel has told why by its report.
                if let (Some(place), Some((_, piece))) = (place, stuck.take()) {
                    place.send(piece);
                }
                Happened::Unstuck
            }
            Some(part) = reading.next() => Happened::Read(part),
            Some(report) = reports.1.recv() => Happened::Reported(report),
            else => std::future::pending().await,
        }
    }

    /// True when more may be read from the socket.
    pub(in crate::server) fn has_room(&self) -> bool {
        let taken = self.incoming.values().filter(|one| one.untaken.is_none());
        self.stuck.is_none() && taken.map(|one| one.waiting).sum::<u64>() < UNWRITTEN_BYTES_MAX
    }

    /// Streams that are open now.
    pub(in crate::server) fn open(&self) -> usize {
        self.incoming.len() + self.resting.len() + self.reading.len()
    }

    // === what comes ===

    /// Takes a packet; an error ends the session.
    pub(in crate::server) fn take(&mut self, packet: Packet) -> Result<Step, StreamError> {
        Ok(match self.rules.take(packet)? {
            Taken::Opened { id, size, .. } => {
                self.opened(id, size);
                Step::nothing()
            }
            Taken::Chunk { id, payload } => self.chunk(id, payload),
            Taken::Ended { id } => self.ended(id),
            Taken::Aborted { id, .. } => {
                self.forget(id);
                Step::nothing()
            }
            Taken::Refused { id, answer } => {
                self.forget(id);
                Step::Send(vec![answer])
            }
            Taken::Room { id } => {
                self.rouse(id);
                Step::nothing()
            }
            Taken::Nothing | Taken::Other(_) => Step::nothing(),
        })
    }

    fn opened(&mut self, id: i64, size: u64) {
        let (pieces, untaken) = mpsc::channel(PIECES_MAX);
        let stream = Incoming {
            size,
            waiting: 0,
            pieces,
            untaken: Some(untaken),
            done: None,
            ended: false,
            heard: Instant::now(),
        };
        self.incoming.insert(id, stream);
    }

    fn chunk(&mut self, id: i64, bytes: Bytes) -> Step {
        let untaken = self.incoming.values().filter(|one| one.untaken.is_some());
        let untaken: u64 = untaken.map(|one| one.waiting).sum();
        let Some(stream) = self.incoming.get_mut(&id) else {
            return Step::nothing();
        };
        let count = bytes.len() as u64;
        stream.heard = Instant::now();
        if stream.untaken.is_some()
            && (untaken.saturating_add(count) > UNTAKEN_BYTES_MAX || stream.pieces.capacity() == 0)
        {
            let text = "nobody takes the stream: call the method that takes it before its bytes";
            return self.abort(id, 400, text);
        }
        stream.waiting = stream.waiting.saturating_add(count);
        let pieces = stream.pieces.clone();
        self.push(pieces, Piece::Bytes(bytes));
        Step::nothing()
    }

    fn push(&mut self, pieces: mpsc::Sender<Piece>, piece: Piece) {
        if let Err(mpsc::error::TrySendError::Full(piece)) = pieces.try_send(piece) {
            self.stuck = Some((pieces, piece));
        }
    }

    fn ended(&mut self, id: i64) -> Step {
        let Some(stream) = self.incoming.get_mut(&id) else {
            return Step::nothing();
        };
        stream.ended = true;
        stream.heard = Instant::now();
        let pieces = stream.pieces.clone();
        let done = stream.done.take();
        self.settle(id);
        self.push(pieces, Piece::End);
        done.map_or_else(Step::nothing, |done| Step::Keep { id, done })
    }

    /// Forgets an upload that is whole, taken and written.
    fn settle(&mut self, id: i64) {
        let over = |stream: &Incoming| stream.ended && stream.untaken.is_none() && stream.waiting == 0;
        if self.incoming.get(&id).is_some_and(over) {
            self.incoming.remove(&id);
        }
    }

    /// A method takes a stream that a client has begun. The second part resolves once it is kept, when all its bytes are
    /// here already.
    pub(in crate::server) fn claim(
        &mut self,
        id: i64,
    ) -> Result<(Upload, Option<oneshot::Receiver<()>>), Fault> {
        let reports = self.reports.0.clone();
        let stream = self.incoming.get_mut(&id);
        let Some((stream, pieces)) = stream.and_then(|stream| {
            let pieces = stream.untaken.take()?;
            Some((stream, pieces))
        }) else {
            let text = "streamId: begin a stream first and give its id; a stream is taken once";
            return Err(Fault::new(400, text));
        };
        let (done, wait) = oneshot::channel();
        let upload = Upload {
            id,
            size: stream.size,
            pieces,
            reports,
            done,
        };
        if stream.ended {
            self.settle(id);
            return Ok((upload, Some(wait)));
        }
        stream.done = Some(wait);
        Ok((upload, None))
    }

    /// Gives up uploads that have lost their sender.
    pub(in crate::server) fn idle(&mut self) -> Vec<Packet> {
        // What waits for a slow writer is not the sender's fault.
        let idle = |stream: &Incoming| {
            (stream.waiting == 0 || stream.untaken.is_some()) && stream.heard.elapsed() >= IDLE_WITHIN
        };
        let idle = self.incoming.iter().filter(|(_, stream)| idle(stream));
        let ids: Vec<i64> = idle.map(|(id, _)| *id).collect();
        let given_up = ids
            .into_iter()
            .map(|id| self.abort(id, 408, "nothing came for a while"));
        given_up
            .filter_map(|step| match step {
                Step::Send(packets) => Some(packets),
                _ => None,
            })
            .flatten()
            .collect()
    }

    // === what goes ===

    /// Begins to send a file.
    pub(in crate::server) fn send(&mut self, name: &str, blob: Blob) -> Result<Opened, Fault> {
        let opened = self
            .rules
            .open(name, blob.size)
            .map_err(|error| Fault::new(429, error.to_string()))?;
        self.resting.insert(opened.id, blob.reader);
        self.rouse(opened.id);
        Ok(opened)
    }

    /// Reads on where there is room.
    fn rouse(&mut self, id: i64) -> bool {
        match self.rules.room(id) {
            Ok(0) => return false,
            Ok(count) => {
                if let Some(mut reader) = self.resting.remove(&id) {
                    self.reading.push(Box::pin(async move {
                        let read = reader.read(count).await;
                        (id, reader, count, read)
                    }));
                }
            }
            // It is over.
            Err(_) => {
                self.resting.remove(&id);
            }
        }
        true
    }

    /// The client has shown that it has read what was sent.
    pub(in crate::server) fn confirmed(&mut self, id: i64) {
        if self.rules.resume(id).is_ok() {
            self.rouse(id);
        }
    }

    /// A part of a file is there.
    pub(in crate::server) fn read(&mut self, (id, reader, count, read): Part) -> Step {
        let bytes = match read {
            Ok(bytes) if bytes.len() == count => bytes,
            Ok(_) | Err(_) => return self.abort(id, 500, "the file cannot be read to its end"),
        };
        // An error says that the client gave it up meanwhile.
        let Ok(pushed) = self.rules.push(id, bytes) else {
            return Step::nothing();
        };
        let over = pushed.end.is_some();
        let packets = [pushed.chunk].into_iter().chain(pushed.end).collect();
        if over {
            return Step::Send(packets);
        }
        self.resting.insert(id, reader);
        if !self.rouse(id) && self.metacom {
            return Step::Confirm { id, packets };
        }
        Step::Send(packets)
    }

    // === both ===

    /// What a task of an upload tells.
    pub(in crate::server) fn report(&mut self, report: Report) -> Step {
        match report {
            Report::Taken { id, bytes } => {
                if let Some(stream) = self.incoming.get_mut(&id) {
                    stream.waiting = stream.waiting.saturating_sub(bytes);
                }
                self.settle(id);
                Step::Send(self.rules.consumed(id, bytes).into_iter().collect())
            }
            Report::Broken { id, refusal } => self.abort(id, refusal.status, &refusal.reason),
        }
    }

    /// Gives a stream up, and says so even when its sender takes it for whole already.
    fn abort(&mut self, id: i64, status: u16, reason: &str) -> Step {
        self.forget(id);
        let packet = self.rules.abort(id, status.into(), reason);
        Step::Send(vec![packet.unwrap_or_else(|_| Packet::StreamAbort {
            id,
            status: status.into(),
            reason: reason.to_owned(),
        })])
    }

    fn forget(&mut self, id: i64) {
        self.incoming.remove(&id);
        self.resting.remove(&id);
    }
}

/// A place for the piece that is stuck; never, when there is none.
async fn room(stuck: &Option<Stuck>) -> Option<mpsc::OwnedPermit<Piece>> {
    match stuck {
        Some((pieces, _)) => pieces.clone().reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}
