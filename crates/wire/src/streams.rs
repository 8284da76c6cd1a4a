//! Streams of one connection, sans I/O: sizes, credit, and who may say what when.
//!
//! [`Streams`] says what to send and what came; it holds no bytes of any stream. The bytes that wait in the caller's hands
//! are bounded by what the table lets in: a stream counts until all its bytes are [`Streams::consumed`], and in the binary
//! dialect it never has more than 256 KiB that are not, so a connection has at most 16 × 256 KiB = 4 MiB of them, whatever
//! the other end sends. Metacom has no credit: there the caller stops reading the socket while too much waits.

mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::dialect::{Dialect, Role};
use crate::error::{Category, Retry};
use crate::packet::Packet;

use receiving::Receiving;
use sending::Sending;
pub use sending::{Opened, Pushed};

/// A receiver has room for so many bytes of a stream at the start.
pub const WINDOW_BYTES: u64 = 256 * 1024;
/// At most so many streams at once each way.
pub const STREAMS_MAX: usize = 16;
/// A chunk of the binary dialect has at most so many bytes, so that other packets come between.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// The published client of Metacom mixes up the order of more chunks than these when they wait in its reader.
pub const METACOM_CHUNKS_MAX: u64 = 32;

/// The streams of one connection.
#[derive(Debug)]
pub struct Streams {
    role: Role,
    dialect: Dialect,
    /// A larger stream is refused.
    size_max: u64,
    /// Streams that we started so far.
    started: i64,
    /// The last stream that the other end started.
    seen: i64,
    sending: BTreeMap<i64, Sending>,
    receiving: BTreeMap<i64, Receiving>,
}

/// What a packet meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The other end starts a stream; [`Streams::abort`] it when it is not wanted.
    Opened {
        /// Its id.
        id: i64,
        /// All its bytes.
        size: u64,
        /// What the other end calls it.
        name: String,
    },
    /// The next bytes of a stream; say [`Streams::consumed`] when they are done with.
    Chunk {
        /// Of the stream.
        id: i64,
        /// At least one byte.
        payload: Bytes,
    },
    /// The stream is whole.
    Ended {
        /// Its id.
        id: i64,
    },
    /// The other end gave the stream up; bytes of it that wait are worth nothing.
    Aborted {
        /// Its id.
        id: i64,
        /// A number like HTTP's.
        status: u64,
        /// Why.
        reason: String,
    },
    /// A stream of ours may go on.
    Room {
        /// Its id.
        id: i64,
    },
    /// The stream broke a rule and is over: send the answer, and drop bytes of it that wait.
    Refused {
        /// Its id.
        id: i64,
        /// STREAM_ABORT.
        answer: Packet,
    },
    /// It is late: the stream is over.
    Nothing,
    /// No packet of streams.
    Other(Packet),
}

/// What cannot be done with a stream. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Too many at once.
    #[error("{STREAMS_MAX} streams are open; end one first")]
    Many,
    /// There is no such stream, or no more.
    #[error("stream {id} is not open")]
    Over {
        /// Its id.
        id: i64,
    },
    /// More bytes than may go now.
    #[error("{bytes} bytes are more than the {room} that stream {id} may send now; wait for room")]
    Room {
        /// Its id.
        id: i64,
        /// Asked.
        bytes: usize,
        /// Allowed.
        room: usize,
    },
    /// No bytes.
    #[error("payload must be of at least one byte")]
    Empty,
    /// The other end broke the protocol; the session ends with 1002.
    #[error("id {id} of {kind} must be {rule}")]
    Id {
        /// Its id.
        id: i64,
        /// Name of the packet's kind.
        kind: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl StreamError {
    /// What sort of error it is.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Many | Self::Room { .. } => Category::Limit,
            Self::Over { .. } | Self::Empty => Category::Invalid,
            Self::Id { .. } => Category::Malformed,
        }
    }

    /// Whether the same can be done later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.category() {
            Category::Limit => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// The WebSocket close code that ends the session; `None` when it lives on.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        crate::error::close_code(self.category())
    }
}

impl Streams {
    /// No streams yet. A stream of the other end with more than `size_max` bytes is refused.
    #[must_use]
    pub fn new(dialect: Dialect, role: Role, size_max: u64) -> Self {
        Self {
            role,
            dialect,
            size_max,
            started: 0,
            seen: 0,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
        }
    }

    /// Gives a stream up, whoever started it. The packet tells the other end.
    pub fn abort(&mut self, id: i64, status: u64, reason: &str) -> Result<Packet, StreamError> {
        let sent = self.sending.remove(&id).is_some();
        let received = self.receiving.remove(&id).is_some_and(|stream| !stream.ended);
        if sent || received {
            return Ok(abort(id, status, reason));
        }
        Err(StreamError::Over { id })
    }

    /// Takes a packet of the other end; an error ends the session.
    pub fn take(&mut self, packet: Packet) -> Result<Taken, StreamError> {
        match packet {
            Packet::StreamInit { id, size, name } => self.init(id, size, name),
            Packet::StreamChunk { id, payload } => self.chunk(id, payload),
            Packet::StreamEnd { id } => self.end(id),
            Packet::StreamAbort { id, status, reason } => Ok(self.aborted(id, status, reason)),
            Packet::Credit { id, bytes } => self.credit(id, bytes),
            other => Ok(Taken::Other(other)),
        }
    }

    fn aborted(&mut self, id: i64, status: u64, reason: String) -> Taken {
        let sent = self.sending.remove(&id).is_some();
        // One that is whole stays whole.
        let open = self.receiving.get(&id).is_some_and(|stream| !stream.ended);
        if open {
            self.receiving.remove(&id);
        }
        if sent || open {
            return Taken::Aborted { id, status, reason };
        }
        Taken::Nothing
    }
}

fn abort(id: i64, status: u64, reason: &str) -> Packet {
    let reason = reason.to_owned();
    Packet::StreamAbort { id, status, reason }
}
