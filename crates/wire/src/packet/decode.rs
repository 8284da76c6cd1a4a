//! Bytes to packets. Payloads share the memory of the message.

use bytes::Bytes;

use super::{
    CALL, CALLBACK, CREDIT, DELTA, DIGEST, DRAIN, EVENT, NAME_BYTES_MAX, Origin, PACKET_BYTES_MAX,
    PEER_DELTA, PEER_DIGEST, PING, PONG, Packet, STREAM_ABORT, STREAM_CHUNK, STREAM_END, STREAM_INIT,
};
use crate::error::DecodeError;
use crate::varint::{take, unzigzag};

impl Packet {
    /// Reads one packet that fills `bytes` exactly. Payloads share the memory of `bytes`; texts are copied, so that a
    /// packet which is refused or waits in a queue holds at most the message and four times 1,024 bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(DecodeError::Oversize { bytes: bytes.len() });
        }
        let (kind, rest) = bytes.split_first().ok_or(DecodeError::Short { field: "kind" })?;
        let mut reader = Reader { bytes, rest };
        let id = unzigzag(reader.number("id")?);
        let packet = reader.body(*kind, id)?;
        match reader.rest.len() {
            0 => Ok(packet),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn body(&mut self, kind: u8, id: i64) -> Result<Packet, DecodeError> {
        Ok(match kind {
            CALL => Packet::Call {
                id,
                method: self.text("method")?,
                payload: self.payload(),
            },
            CALLBACK => Packet::Callback {
                id,
                status: self.number("status")?,
                payload: self.payload(),
            },
            EVENT => self.event(id)?,
            STREAM_INIT..=CREDIT => self.stream(kind, id)?,
            DELTA => Packet::Delta {
                id,
                document: self.number("document")?,
                payload: self.payload(),
            },
            DIGEST => Packet::Digest {
                id,
                document: self.number("document")?,
                payload: self.payload(),
            },
            DRAIN => Packet::Drain {
                delay_ms: self.zero("DRAIN", id)?.number("delay_ms")?,
                next: self.text("next")?,
                token: self.text("token")?,
                slot: self.number("slot")?,
            },
            PING => Packet::Ping {
                seen: self.zero("PING", id)?.number("seen")?,
            },
            PONG => Packet::Pong {
                seen: self.zero("PONG", id)?.number("seen")?,
            },
            PEER_DELTA => Packet::PeerDelta {
                id,
                name: self.text("name")?,
                payload: self.payload(),
            },
            PEER_DIGEST => Packet::PeerDigest {
                id,
                name: self.text("name")?,
                payload: self.payload(),
            },
            kind => return Err(DecodeError::Kind { kind }),
        })
    }

    fn event(&mut self, id: i64) -> Result<Packet, DecodeError> {
        let (kind, rule) = ("EVENT", "negative");
        let sequence = match id.checked_neg().map(u64::try_from) {
            Some(Ok(sequence)) if sequence > 0 => sequence,
            _ => return Err(DecodeError::Id { kind, rule }),
        };
        let name = self.text("name")?;
        let origin = match self.number("origin")? {
            0 => None,
            above => Some(Origin {
                slot: u16::try_from(above - 1).map_err(|_| DecodeError::Large { field: "origin" })?,
                position: self.number("position")?,
            }),
        };
        Ok(Packet::Event {
            sequence,
            name,
            origin,
            payload: self.payload(),
        })
    }

    fn stream(&mut self, kind: u8, id: i64) -> Result<Packet, DecodeError> {
        if id == 0 {
            let (kind, rule) = ("a stream", "other than 0");
            return Err(DecodeError::Id { kind, rule });
        }
        Ok(match kind {
            STREAM_INIT => Packet::StreamInit {
                id,
                size: self.number("size")?,
                name: self.text("name")?,
            },
            STREAM_CHUNK => {
                let payload = self.payload();
                if payload.is_empty() {
                    return Err(DecodeError::Empty { field: "payload" });
                }
                Packet::StreamChunk { id, payload }
            }
            STREAM_END => Packet::StreamEnd { id },
            STREAM_ABORT => Packet::StreamAbort {
                id,
                status: self.number("status")?,
                reason: self.text("reason")?,
            },
            CREDIT => Packet::Credit {
                id,
                bytes: self.number("bytes")?,
            },
            kind => return Err(DecodeError::Kind { kind }),
        })
    }

    fn zero(&mut self, kind: &'static str, id: i64) -> Result<&mut Self, DecodeError> {
        match id {
            0 => Ok(self),
            _ => Err(DecodeError::Id { kind, rule: "0" }),
        }
    }

    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        take(&mut self.rest, field)
    }

    fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let length = usize::try_from(self.number(field)?).map_err(|_| DecodeError::Large { field })?;
        if length > NAME_BYTES_MAX {
            return Err(DecodeError::Large { field });
        }
        let (text, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Short { field })?;
        self.rest = tail;
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::Text { field })?;
        Ok(text.to_owned())
    }

    fn payload(&mut self) -> Bytes {
        let payload = self.bytes.slice_ref(self.rest);
        self.rest = &[];
        payload
    }
}
