//! Streams of the other end.

use bytes::Bytes;

use super::{STREAMS_MAX, StreamError, Streams, Taken, WINDOW_BYTES, abort};
use crate::dialect::Dialect;
use crate::packet::Packet;

/// A credit is told once it is worth a packet.
const CREDIT_BYTES_MIN: u64 = WINDOW_BYTES / 2;

/// A stream that comes. `consumed ≤ received ≤ granted` in the binary dialect, and `received ≤ size` always.
#[derive(Debug)]
pub(super) struct Receiving {
    size: u64,
    received: u64,
    /// Bytes that are done with.
    consumed: u64,
    /// So many bytes may come in all.
    granted: u64,
    /// It is whole, and counts until its bytes are done with.
    pub(super) ended: bool,
}

impl Streams {
    pub(super) fn init(&mut self, id: i64, size: u64, name: String) -> Result<Taken, StreamError> {
        self.of_the_other("STREAM_INIT", id)?;
        if id.unsigned_abs() <= self.seen.unsigned_abs() {
            let (kind, rule) = ("STREAM_INIT", "one that was not used before");
            return Err(StreamError::Id { id, kind, rule });
        }
        self.seen = id;
        let refused = |status, reason: &str| {
            let answer = abort(id, status, reason);
            Ok(Taken::Refused { id, answer })
        };
        if size > self.size_max {
            return refused(413, &format!("a stream has at most {} bytes here", self.size_max));
        }
        if self.receiving.len() >= STREAMS_MAX {
            return refused(
                503,
                &format!("at most {STREAMS_MAX} streams at once; end one first"),
            );
        }
        let granted = match self.dialect {
            Dialect::Binary => WINDOW_BYTES,
            Dialect::MetacomInteger | Dialect::MetacomText => u64::MAX,
        };
        let stream = Receiving {
            size,
            received: 0,
            consumed: 0,
            granted,
            ended: false,
        };
        self.receiving.insert(id, stream);
        Ok(Taken::Opened { id, size, name })
    }

    pub(super) fn chunk(&mut self, id: i64, payload: Bytes) -> Result<Taken, StreamError> {
        self.of_the_other("STREAM_CHUNK", id)?;
        let Some(stream) = self.receiving.get_mut(&id) else {
            return Ok(self.not_open(id));
        };
        let count = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let received = stream.received.saturating_add(count);
        let reason = if stream.ended {
            return Ok(Taken::Nothing);
        } else if received > stream.size {
            format!("more bytes than the {} of its size", stream.size)
        } else if received > stream.granted {
            "more bytes than the credit; wait for CREDIT".to_owned()
        } else {
            stream.received = received;
            return Ok(Taken::Chunk { id, payload });
        };
        Ok(self.refuse(id, &reason))
    }

    pub(super) fn end(&mut self, id: i64) -> Result<Taken, StreamError> {
        self.of_the_other("STREAM_END", id)?;
        let Some(stream) = self.receiving.get_mut(&id) else {
            return Ok(self.not_open(id));
        };
        if stream.ended {
            return Ok(Taken::Nothing);
        }
        if stream.received < stream.size {
            let reason = format!("ended after {} of {} bytes", stream.received, stream.size);
            return Ok(self.refuse(id, &reason));
        }
        stream.ended = true;
        self.forget(id);
        Ok(Taken::Ended { id })
    }

    /// So many bytes of a stream are done with: its sender may go on. The packet, CREDIT, is to be sent.
    ///
    /// Has to be called in every dialect: a stream counts until all its bytes are done with.
    pub fn consumed(&mut self, id: i64, bytes: u64) -> Option<Packet> {
        let stream = self.receiving.get_mut(&id)?;
        stream.consumed = stream.consumed.saturating_add(bytes).min(stream.received);
        let granted = stream.consumed.saturating_add(WINDOW_BYTES).min(stream.size);
        let more = granted.saturating_sub(stream.granted);
        let last = granted == stream.size;
        let credit = (more >= CREDIT_BYTES_MIN || (last && more > 0)).then(|| {
            stream.granted = granted;
            Packet::Credit { id, bytes: more }
        });
        self.forget(id);
        credit
    }

    fn forget(&mut self, id: i64) {
        let done = |stream: &Receiving| stream.ended && stream.consumed == stream.received;
        if self.receiving.get(&id).is_some_and(done) {
            self.receiving.remove(&id);
        }
    }

    fn refuse(&mut self, id: i64, reason: &str) -> Taken {
        self.receiving.remove(&id);
        let answer = abort(id, 400, reason);
        Taken::Refused { id, answer }
    }

    /// Packets that were on their way when the stream ended are late; others name a stream that never was.
    fn not_open(&self, id: i64) -> Taken {
        if id.unsigned_abs() <= self.seen.unsigned_abs() {
            return Taken::Nothing;
        }
        let answer = abort(id, 400, "the stream was not opened; send STREAM_INIT first");
        Taken::Refused { id, answer }
    }

    fn of_the_other(&self, kind: &'static str, id: i64) -> Result<(), StreamError> {
        if self.role.other().owns(id) {
            return Ok(());
        }
        let rule = "of a stream that the sender started";
        Err(StreamError::Id { id, kind, rule })
    }
}
