//! Packets to bytes, in one allocation of the exact size.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    CALL, CALLBACK, CREDIT, DELTA, DIGEST, DRAIN, EVENT, NAME_BYTES_MAX, PACKET_BYTES_MAX, PEER_DELTA,
    PEER_DIGEST, PING, PONG, Packet, STREAM_ABORT, STREAM_CHUNK, STREAM_END, STREAM_INIT,
};
use crate::error::EncodeError;
use crate::varint::{put, zigzag};

/// Takes bytes: a buffer, or the count that says how large the buffer must be.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);
    fn slice(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn byte(&mut self, byte: u8) {
        self.put_u8(byte);
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts what would be written.
struct Count(usize);

impl Sink for Count {
    fn byte(&mut self, _byte: u8) {
        self.0 = self.0.saturating_add(1);
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

impl Packet {
    /// The bytes of the packet, in one allocation.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let bytes = self.size()?;
        // Of the exact size, so that freezing it allocates nothing more.
        let mut buffer = BytesMut::with_capacity(bytes);
        self.write(&mut buffer);
        Ok(buffer.freeze())
    }

    /// How many bytes the packet has; an error when it has none.
    pub fn size(&self) -> Result<usize, EncodeError> {
        self.check()?;
        let mut count = Count(0);
        self.write(&mut count);
        if count.0 > PACKET_BYTES_MAX {
            return Err(EncodeError::Oversize { bytes: count.0 });
        }
        Ok(count.0)
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        match self {
            Self::Call { id, method, payload } => named(sink, CALL, *id, method, payload),
            Self::Callback { id, status, payload } => numbered(sink, CALLBACK, *id, *status, payload),
            Self::Event {
                sequence,
                name,
                origin,
                payload,
            } => {
                head(sink, EVENT, sequence_id(*sequence).unwrap_or(i64::MIN));
                text(sink, name);
                match origin {
                    None => put(sink, 0),
                    Some(origin) => {
                        put(sink, u64::from(origin.slot) + 1);
                        put(sink, origin.position);
                    }
                }
                sink.slice(payload);
            }
            Self::StreamInit { id, size, name } => {
                head(sink, STREAM_INIT, *id);
                put(sink, *size);
                text(sink, name);
            }
            Self::StreamChunk { id, payload } => {
                head(sink, STREAM_CHUNK, *id);
                sink.slice(payload);
            }
            Self::StreamEnd { id } => head(sink, STREAM_END, *id),
            Self::StreamAbort { id, status, reason } => {
                head(sink, STREAM_ABORT, *id);
                put(sink, *status);
                text(sink, reason);
            }
            Self::Credit { id, bytes } => numbered(sink, CREDIT, *id, *bytes, &[]),
            Self::Delta {
                id,
                document,
                payload,
            } => numbered(sink, DELTA, *id, *document, payload),
            Self::Digest {
                id,
                document,
                payload,
            } => numbered(sink, DIGEST, *id, *document, payload),
            Self::Drain {
                delay_ms,
                next,
                token,
                slot,
            } => {
                numbered(sink, DRAIN, 0, *delay_ms, &[]);
                text(sink, next);
                text(sink, token);
                put(sink, *slot);
            }
            Self::Ping { seen } => numbered(sink, PING, 0, *seen, &[]),
            Self::Pong { seen } => numbered(sink, PONG, 0, *seen, &[]),
            Self::PeerDelta { id, name, payload } => named(sink, PEER_DELTA, *id, name, payload),
            Self::PeerDigest { id, name, payload } => named(sink, PEER_DIGEST, *id, name, payload),
        }
    }

    /// What is written must be read by the other end.
    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        match self {
            Self::Call { method, .. } => short("method", method),
            Self::Event { sequence, name, .. } => {
                sequence_id(*sequence)?;
                short("name", name)
            }
            Self::StreamInit { id, name, .. } => {
                stream_id(*id)?;
                short("name", name)
            }
            Self::StreamChunk { id, payload } => {
                stream_id(*id)?;
                if payload.is_empty() {
                    let (field, rule) = ("payload", "of at least one byte");
                    return Err(EncodeError::Field { field, rule });
                }
                Ok(())
            }
            Self::StreamAbort { id, reason, .. } => {
                stream_id(*id)?;
                short("reason", reason)
            }
            Self::StreamEnd { id } | Self::Credit { id, .. } => stream_id(*id),
            Self::Drain { next, token, .. } => {
                short("next", next)?;
                short("token", token)
            }
            Self::PeerDelta { name, .. } | Self::PeerDigest { name, .. } => short("name", name),
            Self::Callback { .. }
            | Self::Delta { .. }
            | Self::Digest { .. }
            | Self::Ping { .. }
            | Self::Pong { .. } => Ok(()),
        }
    }
}

fn head(sink: &mut impl Sink, kind: u8, id: i64) {
    sink.byte(kind);
    put(sink, zigzag(id));
}

fn numbered(sink: &mut impl Sink, kind: u8, id: i64, number: u64, payload: &[u8]) {
    head(sink, kind, id);
    put(sink, number);
    sink.slice(payload);
}

fn named(sink: &mut impl Sink, kind: u8, id: i64, name: &str, payload: &[u8]) {
    head(sink, kind, id);
    text(sink, name);
    sink.slice(payload);
}

fn text(sink: &mut impl Sink, text: &str) {
    put(sink, u64::try_from(text.len()).unwrap_or(u64::MAX));
    sink.slice(text.as_bytes());
}

fn short(field: &'static str, text: &str) -> Result<(), EncodeError> {
    let bytes = text.len();
    if bytes > NAME_BYTES_MAX {
        return Err(EncodeError::Long { field, bytes });
    }
    Ok(())
}

fn stream_id(id: i64) -> Result<(), EncodeError> {
    if id == 0 {
        let (field, rule) = ("id of a stream", "other than 0");
        return Err(EncodeError::Field { field, rule });
    }
    Ok(())
}

fn sequence_id(sequence: u64) -> Result<i64, EncodeError> {
    match i64::try_from(sequence) {
        Ok(sequence) if sequence > 0 => Ok(-sequence),
        _ => {
            let (field, rule) = ("sequence", "from 1 to 2^63 - 1");
            Err(EncodeError::Field { field, rule })
        }
    }
}
