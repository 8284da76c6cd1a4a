//! Streams of ours.

use bytes::Bytes;

use super::{CHUNK_BYTES, METACOM_CHUNKS_MAX, STREAMS_MAX, StreamError, Streams, Taken, WINDOW_BYTES};
use crate::dialect::{Dialect, METACOM_CHUNK_BYTES_MAX};
use crate::packet::Packet;

/// Room for the longest id in front of a chunk of Metacom.
const HEAD_BYTES_MAX: u64 = 256;

/// A stream that goes. `sent ≤ granted` in the binary dialect, and `sent ≤ size` always.
#[derive(Debug)]
pub(super) struct Sending {
    size: u64,
    sent: u64,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    /// So many bytes may be sent in all.
    Credit { granted: u64 },
    /// So many chunks may be sent before the caller says that the client has read them.
    Chunks { left: u64, chunk_bytes: u64 },
}

impl Sending {
    fn left(&self) -> u64 {
        self.size.saturating_sub(self.sent)
    }

    fn room(&self) -> usize {
        let room = match &self.pace {
            Pace::Credit { granted } => granted
                .saturating_sub(self.sent)
                .min(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX)),
            Pace::Chunks { left: 0, .. } => 0,
            Pace::Chunks { chunk_bytes, .. } => *chunk_bytes,
        };
        usize::try_from(room.min(self.left())).unwrap_or(usize::MAX)
    }
}

/// A stream that we started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: i64,
    /// To be sent first.
    pub init: Packet,
    /// To be sent next when the stream has no bytes at all.
    pub end: Option<Packet>,
}

/// Bytes that go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// To be sent.
    pub chunk: Packet,
    /// To be sent after the last chunk.
    pub end: Option<Packet>,
}

impl Streams {
    /// Starts a stream of exactly `size` bytes.
    pub fn open(&mut self, name: &str, size: u64) -> Result<Opened, StreamError> {
        if self.sending.len() >= STREAMS_MAX {
            return Err(StreamError::Many);
        }
        self.started = self.started.saturating_add(1);
        let id = self.role.id(self.started);
        let end = (size == 0).then_some(Packet::StreamEnd { id });
        if size > 0 {
            let pace = match self.dialect {
                Dialect::Binary => Pace::Credit {
                    granted: WINDOW_BYTES,
                },
                Dialect::MetacomInteger | Dialect::MetacomText => Pace::Chunks {
                    left: METACOM_CHUNKS_MAX,
                    chunk_bytes: metacom_chunk_bytes(size),
                },
            };
            self.sending.insert(id, Sending { size, sent: 0, pace });
        }
        let name = name.to_owned();
        let init = Packet::StreamInit { id, size, name };
        Ok(Opened { id, init, end })
    }

    /// How many bytes the next chunk of a stream may have now; 0 when it has to wait: in the binary dialect for
    /// [`Taken::Room`], in Metacom for [`Streams::resume`]. In Metacom fill each chunk up, because they are counted.
    pub fn room(&self, id: i64) -> Result<usize, StreamError> {
        let stream = self.sending.get(&id).ok_or(StreamError::Over { id })?;
        Ok(stream.room())
    }

    /// The next bytes of a stream. After the last one the stream is over.
    pub fn push(&mut self, id: i64, payload: Bytes) -> Result<Pushed, StreamError> {
        let stream = self.sending.get_mut(&id).ok_or(StreamError::Over { id })?;
        let (bytes, room) = (payload.len(), stream.room());
        if bytes == 0 {
            return Err(StreamError::Empty);
        }
        if bytes > room {
            return Err(StreamError::Room { id, bytes, room });
        }
        stream.sent = stream
            .sent
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Pace::Chunks { left, .. } = &mut stream.pace {
            *left = left.saturating_sub(1);
        }
        let end = (stream.left() == 0).then_some(Packet::StreamEnd { id });
        if end.is_some() {
            self.sending.remove(&id);
        }
        let chunk = Packet::StreamChunk { id, payload };
        Ok(Pushed { chunk, end })
    }

    /// Lets the next 32 chunks of a stream go, in Metacom, where nothing tells that the client has read the last ones.
    ///
    /// Up to 32 chunks of the dialect's limit need no pause: 128 MiB. For more, write the chunks out and wait until
    /// the client shows that it has them (a call of the application's own), or as long as a slow client may need.
    pub fn resume(&mut self, id: i64) -> Result<(), StreamError> {
        let stream = self.sending.get_mut(&id).ok_or(StreamError::Over { id })?;
        if let Pace::Chunks { left, .. } = &mut stream.pace {
            *left = METACOM_CHUNKS_MAX;
        }
        Ok(())
    }

    pub(super) fn credit(&mut self, id: i64, bytes: u64) -> Result<Taken, StreamError> {
        if !self.role.owns(id) || id.unsigned_abs() > self.started.unsigned_abs() {
            let (kind, rule) = ("CREDIT", "of a stream that the receiver of it started");
            return Err(StreamError::Id { id, kind, rule });
        }
        Ok(match self.sending.get_mut(&id).map(|stream| &mut stream.pace) {
            Some(Pace::Credit { granted }) => {
                *granted = granted.saturating_add(bytes);
                Taken::Room { id }
            }
            Some(Pace::Chunks { .. }) | None => Taken::Nothing,
        })
    }
}

/// As few chunks as the client of Metacom needs, none larger than a message may be.
fn metacom_chunk_bytes(size: u64) -> u64 {
    let most = u64::try_from(METACOM_CHUNK_BYTES_MAX).unwrap_or(u64::MAX);
    let least = u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
    size.div_ceil(METACOM_CHUNKS_MAX)
        .max(least)
        .min(most.saturating_sub(HEAD_BYTES_MAX))
}
