//! One function for each decoder: takes any bytes, and panics where a promise is broken. Feature `fuzz`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::dialect::{Codec, Dialect, Frame, Role};
use crate::packet::Packet;
use crate::streams::{STREAMS_MAX, Streams, Taken, WINDOW_BYTES};

/// Streams of these sessions are not larger.
const SIZE_MAX: u64 = 1 << 20;

/// A packet of the binary dialect: what is read is written so that it is read as the same.
pub fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::decode(&Bytes::copy_from_slice(bytes)) {
        let written = packet.encode();
        assert!(written.as_ref().is_ok_and(|written| written.len() <= bytes.len()));
        assert!(written.is_ok_and(|written| Packet::decode(&written) == Ok(packet)));
    }
}

/// The first text message of a session of Metacom: another codec that writes what was read is read the same.
pub fn json(bytes: &[u8]) {
    let mut server = Codec::metacom();
    let Ok(Some(received)) = server.read_text(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let meta = received.meta.as_deref();
    let mut client = Codec::new(server.dialect().unwrap_or(Dialect::MetacomInteger), Role::Client);
    // An empty name or a longer text than came cannot always be written.
    if let Ok(frame) = client.write(&received.packet, meta) {
        let again = Codec::metacom().read(frame);
        match (&received.packet, &again) {
            // Ids of callbacks that the other end chose, and stamps of events, are its own.
            (Packet::Callback { .. } | Packet::Event { .. }, _) => {}
            (packet, Ok(Some(again))) => assert!(again.packet == *packet),
            (packet, again) => assert!(again.is_ok(), "{packet:?}"),
        }
    }
}

/// A binary message of Metacom with numbers as ids.
pub fn chunk_integer(bytes: &[u8]) {
    chunk(Dialect::MetacomInteger, bytes);
}

/// A binary message of Metacom with texts as ids.
pub fn chunk_text(bytes: &[u8]) {
    chunk(Dialect::MetacomText, bytes);
}

fn chunk(dialect: Dialect, bytes: &[u8]) {
    // A client of this kind owns the positive ids, so that some are known.
    let mut codec = Codec::new(dialect, Role::Client);
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(Some(received)) = codec.read_binary(&bytes) {
        let written = codec.write(&received.packet, None);
        assert!(written == Ok(Frame::Binary(bytes)));
    }
}

/// Messages of one session, each `length u8 ‖ bytes`; an odd length means a binary one.
pub fn session(bytes: &[u8]) {
    let mut codec = Codec::metacom();
    let mut streams = Streams::new(Dialect::MetacomInteger, Role::Server, SIZE_MAX);
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first() {
        let (message, tail) = tail.split_at(tail.len().min((*length).into()));
        rest = tail;
        let message = Bytes::copy_from_slice(message);
        let read = match length % 2 {
            0 => codec.read_text(message),
            _ => codec.read_binary(&message),
        };
        match read {
            Ok(Some(received)) => {
                if let Ok(Taken::Refused { answer, .. }) = streams.take(received.packet) {
                    // The other end may have ended it with a text id that is not held any more.
                    let _ = codec.write(&answer, None);
                }
            }
            Ok(None) => {}
            Err(error) => assert!(error.answer().is_some() == error.close_code().is_none()),
        }
    }
}

/// Packets of streams, each `kind u8 ‖ id i8 ‖ amount u8`: never more waits than the window, never more than sixteen.
pub fn streams(bytes: &[u8]) {
    let mut streams = Streams::new(Dialect::Binary, Role::Server, SIZE_MAX);
    let mut waiting: BTreeMap<i64, u64> = BTreeMap::new();
    for step in bytes.chunks_exact(3) {
        let &[kind, id, amount] = step else { return };
        let id = i64::from(id.cast_signed());
        let size = u64::from(amount) << 10;
        let packet = match kind % 8 {
            0 => Packet::StreamInit {
                id,
                size,
                name: String::new(),
            },
            1 => Packet::StreamChunk {
                id,
                payload: Bytes::from(vec![0; usize::from(amount) << 10]),
            },
            2 => Packet::StreamEnd { id },
            3 => Packet::StreamAbort {
                id,
                status: 0,
                reason: String::new(),
            },
            4 => Packet::Credit { id, bytes: size },
            5 => {
                let _ = streams.open("", size);
                continue;
            }
            6 => {
                if let Ok(room) = streams.room(id) {
                    let pushed = streams.push(id, Bytes::from(vec![0; room]));
                    assert!(pushed.is_ok() == (room > 0));
                }
                continue;
            }
            _ => {
                let waits = waiting.get_mut(&id);
                let done = waits.map_or(0, std::mem::take);
                let _ = streams.consumed(id, done);
                continue;
            }
        };
        match streams.take(packet) {
            Ok(Taken::Chunk { id, payload }) => {
                let waits = waiting.entry(id).or_default();
                *waits += u64::try_from(payload.len()).unwrap_or(u64::MAX);
                assert!(*waits <= WINDOW_BYTES);
            }
            Ok(Taken::Refused { id, .. } | Taken::Aborted { id, .. }) => {
                waiting.remove(&id);
            }
            Ok(_) | Err(_) => {}
        }
        waiting.retain(|_, waits| *waits > 0);
        assert!(waiting.len() <= STREAMS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_decoder_takes_any_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            text in r#"\{"type":"(call|callback|event|stream)",("id":("a|b|-1"|-?[0-9]{1,3}),)?("(name|method|status)":"(end|[ab])",?)?("size":[0-9],)?"args":[\[{][^"]{0,2}\}"#,
        ) {
            super::packet(&bytes);
            super::json(&bytes);
            super::json(text.as_bytes());
            super::chunk_integer(&bytes);
            super::chunk_text(&bytes);
            super::session(&bytes);
            super::streams(&bytes);
        }

        #[test]
        fn streams_keep_their_bounds(steps in prop::collection::vec((0_u8..8, -4_i8..40, any::<u8>()), 0..200)) {
            let bytes: Vec<u8> = steps.iter().flat_map(|(kind, id, amount)| [*kind, id.cast_unsigned(), *amount]).collect();
            super::streams(&bytes);
        }
    }
}
