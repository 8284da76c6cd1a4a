//! The streams of one session. Their sizes are enforced here; bytes are buffered within bounds only.
//!
//! A crash or a cut ends the tasks: an upload that was not committed leaves nothing, a download is asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

use super::Blob;
use super::tasks::{Piece, Refusal, Report, Upload, carry, refusal};
use crate::server::units::Fault;

/// Streams of one session each way.
const STREAMS_MAX: usize = 16;
/// Pieces that wait for their writer.
const PIECES_MAX: usize = 16;
/// Bytes that wait for a method that takes them, over all streams of a session.
const UNTAKEN_BYTES_MAX: u64 = 1024 * 1024;
/// Beyond so many bytes that wait for their writers the socket is not read.
const UNWRITTEN_BYTES_MAX: u64 = 1024 * 1024;
/// Credit of one stream at most; a client that grants more means as much as it likes.
const CREDIT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// An upload without a byte for so long has lost its sender.
const IDLE_WITHIN: Duration = Duration::from_secs(30);
const REPORTS_MAX: usize = 8;

/// What a client sends.
struct Incoming {
    size: u64,
    got: u64,
    /// Bytes that were got and not yet taken.
    waiting: u64,
    /// Bytes that may come before more is granted; `None` in a dialect that knows no credit.
    window: Option<u64>,
    pieces: mpsc::Sender<Piece>,
    /// Until a method takes the stream.
    untaken: Option<mpsc::Receiver<Piece>>,
    /// Resolves once the taker is done.
    done: Option<oneshot::Receiver<()>>,
    ended: bool,
    heard: Instant,
}

/// What this replica sends.
struct Outgoing {
    credit: Arc<Semaphore>,
    task: AbortHandle,
    /// Sent and, where the dialect has no credit, not known to have arrived.
    unconfirmed: usize,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The streams of one session.
#[derive(Default)]
pub(in crate::server) struct Table {
    incoming: BTreeMap<i64, Incoming>,
    outgoing: BTreeMap<i64, Outgoing>,
    /// Ids are never used again, so that a late chunk does not land in another stream.
    last_incoming: i64,
    last_outgoing: i64,
    /// Made with the first stream: most sessions have none.
    reports: Option<Reports>,
    /// A piece whose channel is full; until it has room the socket is not read.
    stuck: Option<Stuck>,
}

impl Table {
    fn reports(&mut self) -> mpsc::Sender<Report> {
        let channel = self.reports.get_or_insert_with(|| mpsc::channel(REPORTS_MAX));
        channel.0.clone()
    }

    /// The next thing that a stream tells; never, when there are none. Nothing is lost when it is dropped.
    pub(in crate::server) async fn report(&mut self) -> Report {
        let Self { reports, stuck, .. } = self;
        tokio::select! {
            place = room(stuck) => {
                // A closed channel has told why by its report.
                if let (Some(place), Some((_, piece))) = (place, stuck.take()) {
                    place.send(piece);
                }
                Report::Unstuck
            }
            report = next(reports) => report,
        }
    }

    /// True when more may be read from the socket.
    pub(in crate::server) fn has_room(&self) -> bool {
        let taken = self.incoming.values().filter(|one| one.untaken.is_none());
        self.stuck.is_none() && taken.map(|one| one.waiting).sum::<u64>() < UNWRITTEN_BYTES_MAX
    }

    /// A client begins a stream.
    pub(in crate::server) fn begin(
        &mut self,
        id: i64,
        size: u64,
        window: Option<u64>,
    ) -> Result<(), Refusal> {
        if id <= self.last_incoming {
            let text = format!("id: streams count up, the next is above {}", self.last_incoming);
            return Err(refusal(400, text));
        }
        if self.incoming.len() >= STREAMS_MAX {
            return Err(refusal(429, format!("at most {STREAMS_MAX} streams at once")));
        }
        self.last_incoming = id;
        let (pieces, untaken) = mpsc::channel(PIECES_MAX);
        let stream = Incoming {
            size,
            got: 0,
            waiting: 0,
            window,
            pieces,
            untaken: Some(untaken),
            done: None,
            ended: false,
            heard: Instant::now(),
        };
        self.incoming.insert(id, stream);
        Ok(())
    }

    /// Bytes of a stream. Those of one that is over are passed over: they were on the way when it ended.
    pub(in crate::server) fn chunk(&mut self, id: i64, bytes: Bytes) -> Result<(), Refusal> {
        let untaken: u64 = self
            .incoming
            .values()
            .filter(|one| one.untaken.is_some())
            .map(|one| one.waiting)
            .sum();
        let Some(stream) = self.incoming.get_mut(&id) else {
            return Ok(());
        };
        let count = bytes.len() as u64;
        stream.heard = Instant::now();
        stream.got = stream.got.saturating_add(count);
        if stream.got > stream.size || stream.ended {
            let text = format!("size: {} bytes were said, more came", stream.size);
            return Err(self.drop_incoming(id, 400, text));
        }
        if stream.untaken.is_some()
            && (untaken.saturating_add(count) > UNTAKEN_BYTES_MAX || stream.pieces.capacity() == 0)
        {
            let text = "nobody takes the stream: call the method that takes it before its bytes";
            return Err(self.drop_incoming(id, 400, text));
        }
        if let Some(window) = &mut stream.window {
            match window.checked_sub(count) {
                Some(left) => *window = left,
                None => return Err(self.drop_incoming(id, 400, "more bytes than CREDIT allows")),
            }
        }
        stream.waiting = stream.waiting.saturating_add(count);
        let pieces = stream.pieces.clone();
        self.push(pieces, Piece::Bytes(bytes));
        Ok(())
    }

    fn push(&mut self, pieces: mpsc::Sender<Piece>, piece: Piece) {
        if let Err(mpsc::error::TrySendError::Full(piece)) = pieces.try_send(piece) {
            self.stuck = Some((pieces, piece));
        }
    }

    /// A client has sent everything. What comes back resolves once it is kept; `None` when that has to wait for a method
    /// that takes the stream, or the stream is over.
    pub(in crate::server) fn end(&mut self, id: i64) -> Result<Option<oneshot::Receiver<()>>, Refusal> {
        let Some(stream) = self.incoming.get_mut(&id) else {
            return Ok(None);
        };
        if stream.got != stream.size || stream.ended {
            let text = format!("size: {} bytes were said, {} came", stream.size, stream.got);
            return Err(self.drop_incoming(id, 400, text));
        }
        stream.ended = true;
        stream.heard = Instant::now();
        let pieces = stream.pieces.clone();
        let done = stream.done.take();
        if stream.untaken.is_none() {
            self.incoming.remove(&id);
        }
        self.push(pieces, Piece::End);
        Ok(done)
    }

    fn drop_incoming(&mut self, id: i64, status: u16, reason: impl Into<String>) -> Refusal {
        self.incoming.remove(&id);
        refusal(status, reason)
    }

    /// A method takes a stream that a client has begun. The second part resolves once it is kept, when all its bytes are
    /// here already.
    pub(in crate::server) fn take(
        &mut self,
        id: i64,
    ) -> Result<(Upload, Option<oneshot::Receiver<()>>), Fault> {
        let reports = self.reports();
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
            self.incoming.remove(&id);
            return Ok((upload, Some(wait)));
        }
        stream.done = Some(wait);
        Ok((upload, None))
    }

    /// Begins to send a file: its bytes come as reports, no more than the credit allows.
    pub(in crate::server) fn send(
        &mut self,
        blob: Blob,
        chunk_bytes: usize,
        credit: usize,
    ) -> Result<i64, Fault> {
        if self.outgoing.len() >= STREAMS_MAX {
            let text = format!("at most {STREAMS_MAX} downloads at once");
            return Err(Fault::new(429, text));
        }
        self.last_outgoing = self.last_outgoing.saturating_sub(1);
        let id = self.last_outgoing;
        let credit = Arc::new(Semaphore::new(credit.min(CREDIT_BYTES_MAX)));
        let task = tokio::spawn(carry(id, blob, chunk_bytes, Arc::clone(&credit), self.reports()));
        let stream = Outgoing {
            credit,
            task: task.abort_handle(),
            unconfirmed: 0,
        };
        self.outgoing.insert(id, stream);
        Ok(id)
    }

    /// So many bytes more may be on the way.
    pub(in crate::server) fn grant(&self, id: i64, bytes: u64) {
        if let Some(stream) = self.outgoing.get(&id) {
            let room = CREDIT_BYTES_MAX.saturating_sub(stream.credit.available_permits());
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            stream.credit.add_permits(bytes.min(room));
        }
    }

    /// True while the download goes on: what its task has told already may be too late.
    pub(in crate::server) fn sends(&self, id: i64) -> bool {
        self.outgoing.contains_key(&id)
    }

    /// Counts bytes that were sent without credit; gives those to confirm once they are so many.
    pub(in crate::server) fn confirm(&mut self, id: i64, sent: usize, every: usize) -> Option<usize> {
        let stream = self.outgoing.get_mut(&id)?;
        stream.unconfirmed = stream.unconfirmed.saturating_add(sent);
        (stream.unconfirmed >= every).then(|| std::mem::take(&mut stream.unconfirmed))
    }

    /// Bytes of an upload were taken: what to grant, when that is worth a packet.
    pub(in crate::server) fn taken(&mut self, id: i64, bytes: u64) -> Option<u64> {
        let stream = self.incoming.get_mut(&id)?;
        stream.waiting = stream.waiting.saturating_sub(bytes);
        let window = stream.window.as_mut()?;
        *window = window.saturating_add(bytes);
        Some(bytes)
    }

    /// One stream is over.
    pub(in crate::server) fn forget(&mut self, id: i64) {
        self.incoming.remove(&id);
        self.outgoing.remove(&id);
    }

    /// Uploads that have lost their sender.
    pub(in crate::server) fn idle(&mut self) -> Vec<i64> {
        // What waits for a slow writer is not the sender's fault.
        let idle = |stream: &Incoming| {
            (stream.waiting == 0 || stream.untaken.is_some()) && stream.heard.elapsed() >= IDLE_WITHIN
        };
        let idle = self.incoming.iter().filter(|(_, stream)| idle(stream));
        let ids: Vec<i64> = idle.map(|(id, _)| *id).collect();
        for id in &ids {
            self.incoming.remove(id);
        }
        ids
    }

    /// Streams that are open now.
    pub(in crate::server) fn open(&self) -> usize {
        self.incoming.len() + self.outgoing.len()
    }
}

type Reports = (mpsc::Sender<Report>, mpsc::Receiver<Report>);
type Stuck = (mpsc::Sender<Piece>, Piece);

/// A place for the piece that is stuck; never, when there is none.
async fn room(stuck: &Option<Stuck>) -> Option<mpsc::OwnedPermit<Piece>> {
    match stuck {
        Some((pieces, _)) => pieces.clone().reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

async fn next(reports: &mut Option<Reports>) -> Report {
    if let Some((_, reports)) = reports
        && let Some(report) = reports.recv().await
    {
        return report;
    }
    std::future::pending().await
}
