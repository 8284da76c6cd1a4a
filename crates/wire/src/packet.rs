//! Packets and their bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::varint::{put, take, unzigzag, zigzag};

/// Name of the dialect in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "pointsman.v1";
/// A packet has at most this many bytes.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
const NAME_BYTES_MAX: usize = 1024;

const CALL: u8 = 1;
const CALLBACK: u8 = 2;
const EVENT: u8 = 3;
// 4 to 8 are STREAM_INIT, STREAM_CHUNK, STREAM_END, STREAM_ABORT and CREDIT.
const DELTA: u8 = 9;
// 10 is DIGEST.
const DRAIN: u8 = 11;
const PING: u8 = 12;
const PONG: u8 = 13;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Asks for something; answered by a CALLBACK with the same id.
    Call {
        /// Chosen by the caller.
        id: i64,
        /// `unit/method`.
        method: String,
        /// Arguments.
        payload: Bytes,
    },
    /// Answers a CALL or acknowledges a DELTA.
    Callback {
        /// Id of the CALL or DELTA.
        id: i64,
        /// 0 for success, otherwise a number like HTTP's.
        status: u64,
        /// Result, or the text of the error.
        payload: Bytes,
    },
    /// Something happened.
    Event {
        /// Position in the session's sequence, from 1.
        sequence: u64,
        /// `unit/event`.
        name: String,
        /// What happened.
        payload: Bytes,
    },
    /// Changed document state, between replicas.
    Delta {
        /// Chosen by the sender.
        id: i64,
        /// Encoded state.
        payload: Bytes,
    },
    /// The session is to move.
    Drain {
        /// Wait this long before making the new socket.
        delay_ms: u64,
        /// Revision to ask for; empty when any will do.
        next: String,
        /// Resume token.
        token: String,
        /// Slot of the replica that drains.
        slot: u64,
    },
    /// Are you there?
    Ping {
        /// Last sequence number that the sender has seen.
        seen: u64,
    },
    /// I am.
    Pong {
        /// Last sequence number that the sender has seen.
        seen: u64,
    },
}

/// Bytes that are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("packet ends inside {field}")]
    Short {
        /// Which field.
        field: &'static str,
    },
    /// A number or a length is beyond its bound.
    #[error("{field} is too large")]
    Large {
        /// Which field.
        field: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// Which field.
        field: &'static str,
    },
    /// A kind that this version does not know; the connection may live on.
    #[error("packet kind {kind} is not known")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// An id with the wrong sign.
    #[error("id of an event must be negative")]
    Sign,
    /// Bytes after the last field.
    #[error("{count} bytes after the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// A packet that has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet of {bytes} bytes is over the limit of {PACKET_BYTES_MAX}")]
pub struct EncodeError {
    /// Its size.
    pub bytes: usize,
}

impl Packet {
    /// The bytes of the packet.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::with_capacity(64);
        match self {
            Self::Call { id, method, payload } => {
                head(&mut buffer, CALL, *id);
                text(&mut buffer, method);
                buffer.put_slice(payload);
            }
            Self::Callback { id, status, payload } => {
                head(&mut buffer, CALLBACK, *id);
                put(&mut buffer, *status);
                buffer.put_slice(payload);
            }
            Self::Event {
                sequence,
                name,
                payload,
            } => {
                head(
                    &mut buffer,
                    EVENT,
                    i64::try_from(*sequence).unwrap_or(i64::MAX).saturating_neg(),
                );
                text(&mut buffer, name);
                buffer.put_slice(payload);
            }
            Self::Delta { id, payload } => {
                head(&mut buffer, DELTA, *id);
                buffer.put_slice(payload);
            }
            Self::Drain {
                delay_ms,
                next,
                token,
                slot,
            } => {
                head(&mut buffer, DRAIN, 0);
                put(&mut buffer, *delay_ms);
                text(&mut buffer, next);
                text(&mut buffer, token);
                put(&mut buffer, *slot);
            }
            Self::Ping { seen } => beat(&mut buffer, PING, *seen),
            Self::Pong { seen } => beat(&mut buffer, PONG, *seen),
        }
        if buffer.len() > PACKET_BYTES_MAX {
            return Err(EncodeError { bytes: buffer.len() });
        }
        Ok(buffer.freeze())
    }

    /// Reads one packet that fills `bytes` exactly. Payloads share the memory of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(DecodeError::Large { field: "packet" });
        }
        let mut rest: &[u8] = bytes;
        let (kind, tail) = rest.split_first().ok_or(DecodeError::Short { field: "kind" })?;
        rest = tail;
        let id = unzigzag(take(&mut rest, "id")?);
        let packet = match *kind {
            CALL => {
                let method = take_text(&mut rest, "method")?;
                Self::Call {
                    id,
                    method,
                    payload: payload(bytes, &mut rest),
                }
            }
            CALLBACK => {
                let status = take(&mut rest, "status")?;
                Self::Callback {
                    id,
                    status,
                    payload: payload(bytes, &mut rest),
                }
            }
            EVENT => {
                let sequence = u64::try_from(id.checked_neg().ok_or(DecodeError::Sign)?)
                    .map_err(|_| DecodeError::Sign)?;
                let name = take_text(&mut rest, "name")?;
                Self::Event {
                    sequence,
                    name,
                    payload: payload(bytes, &mut rest),
                }
            }
            DELTA => Self::Delta {
                id,
                payload: payload(bytes, &mut rest),
            },
            DRAIN => Self::Drain {
                delay_ms: take(&mut rest, "delay_ms")?,
                next: take_text(&mut rest, "next")?,
                token: take_text(&mut rest, "token")?,
                slot: take(&mut rest, "slot")?,
            },
            PING => Self::Ping {
                seen: take(&mut rest, "seen")?,
            },
            PONG => Self::Pong {
                seen: take(&mut rest, "seen")?,
            },
            kind => return Err(DecodeError::Kind { kind }),
        };
        if rest.is_empty() {
            Ok(packet)
        } else {
            Err(DecodeError::Trailing { count: rest.len() })
        }
    }
}

fn head(buffer: &mut BytesMut, kind: u8, id: i64) {
    buffer.put_u8(kind);
    put(buffer, zigzag(id));
}

fn beat(buffer: &mut BytesMut, kind: u8, seen: u64) {
    head(buffer, kind, 0);
    put(buffer, seen);
}

fn text(buffer: &mut BytesMut, text: &str) {
    put(buffer, u64::try_from(text.len()).unwrap_or(u64::MAX));
    buffer.put_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8], field: &'static str) -> Result<String, DecodeError> {
    let length = usize::try_from(take(rest, field)?).map_err(|_| DecodeError::Large { field })?;
    if length > NAME_BYTES_MAX {
        return Err(DecodeError::Large { field });
    }
    let (text, tail) = rest
        .split_at_checked(length)
        .ok_or(DecodeError::Short { field })?;
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| DecodeError::Text { field })
}

fn payload(bytes: &Bytes, rest: &mut &[u8]) -> Bytes {
    let payload = bytes.slice_ref(rest);
    *rest = &[];
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_packet() -> impl Strategy<Value = Packet> {
        let payload = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        prop_oneof![
            (any::<i64>(), ".{0,40}", payload()).prop_map(|(id, method, payload)| Packet::Call {
                id,
                method,
                payload
            }),
            (any::<i64>(), any::<u64>(), payload()).prop_map(|(id, status, payload)| Packet::Callback {
                id,
                status,
                payload
            }),
            (0..=i64::MAX as u64, ".{0,40}", payload()).prop_map(|(sequence, name, payload)| Packet::Event {
                sequence,
                name,
                payload
            }),
            (any::<i64>(), payload()).prop_map(|(id, payload)| Packet::Delta { id, payload }),
            (any::<u64>(), ".{0,40}", ".{0,40}", any::<u64>()).prop_map(|(delay_ms, next, token, slot)| {
                Packet::Drain {
                    delay_ms,
                    next,
                    token,
                    slot,
                }
            }),
            any::<u64>().prop_map(|seen| Packet::Ping { seen }),
            any::<u64>().prop_map(|seen| Packet::Pong { seen }),
        ]
    }

    #[test]
    fn bytes_are_as_documented() {
        let packet = Packet::Call {
            id: 1,
            method: "a/b".to_owned(),
            payload: Bytes::from_static(b"[]"),
        };
        assert_eq!(packet.encode().unwrap().as_ref(), b"\x01\x02\x03a/b[]");
        let event = Packet::Event {
            sequence: 1,
            name: "e".to_owned(),
            payload: Bytes::new(),
        };
        assert_eq!(event.encode().unwrap().as_ref(), b"\x03\x01\x01e");
    }

    #[test]
    fn refuses_what_is_no_packet_and_says_why() {
        for (bytes, error) in [
            (&b""[..], DecodeError::Short { field: "kind" }),
            (b"\x01", DecodeError::Short { field: "id" }),
            (b"\x01\x02\x05ab", DecodeError::Short { field: "method" }),
            (b"\x01\x02\x01\xff", DecodeError::Text { field: "method" }),
            (b"\x63\x02", DecodeError::Kind { kind: 0x63 }),
            (b"\x03\x02\x01e", DecodeError::Sign),
            (b"\x0c\x00\x01\x01", DecodeError::Trailing { count: 1 }),
            (
                b"\x0c\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                DecodeError::Large { field: "seen" },
            ),
        ] {
            assert_eq!(Packet::decode(&Bytes::copy_from_slice(bytes)), Err(error));
        }
        let large = Packet::Delta {
            id: 1,
            payload: Bytes::from(vec![0; PACKET_BYTES_MAX]),
        };
        assert!(large.encode().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packet in any_packet()) {
            prop_assert_eq!(Packet::decode(&packet.encode().unwrap()), Ok(packet));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Packet::decode(&Bytes::from(bytes));
        }
    }
}
