use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::{Category, DecodeError, EncodeError};

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_stream_packet() -> impl Strategy<Value = Packet> {
    let id = || any::<i64>().prop_filter("ids of streams are not 0", |id| *id != 0);
    prop_oneof![
        (id(), any::<u64>(), text()).prop_map(|(id, size, name)| Packet::StreamInit { id, size, name }),
        (id(), prop::collection::vec(any::<u8>(), 1..200)).prop_map(|(id, payload)| Packet::StreamChunk {
            id,
            payload: payload.into()
        }),
        id().prop_map(|id| Packet::StreamEnd { id }),
        (id(), any::<u64>(), text()).prop_map(|(id, status, reason)| Packet::StreamAbort {
            id,
            status,
            reason
        }),
        (id(), any::<u64>()).prop_map(|(id, bytes)| Packet::Credit { id, bytes }),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let id = any::<i64>;
    let origin =
        prop::option::of((any::<u16>(), any::<u64>()).prop_map(|(slot, position)| Origin { slot, position }));
    prop_oneof![
        (id(), text(), payload()).prop_map(|(id, method, payload)| Packet::Call { id, method, payload }),
        (id(), any::<u64>(), payload()).prop_map(|(id, status, payload)| Packet::Callback {
            id,
            status,
            payload
        }),
        (1..=i64::MAX.cast_unsigned(), text(), origin, payload()).prop_map(
            |(sequence, name, origin, payload)| Packet::Event {
                sequence,
                name,
                origin,
                payload
            }
        ),
        any_stream_packet(),
        (id(), any::<u64>(), payload()).prop_map(|(id, document, payload)| Packet::Delta {
            id,
            document,
            payload
        }),
        (id(), any::<u64>(), payload()).prop_map(|(id, document, payload)| Packet::Digest {
            id,
            document,
            payload
        }),
        (any::<u64>(), text(), text(), any::<u64>()).prop_map(|(delay_ms, next, token, slot)| {
            Packet::Drain {
                delay_ms,
                next,
                token,
                slot,
            }
        }),
        any::<u64>().prop_map(|seen| Packet::Ping { seen }),
        any::<u64>().prop_map(|seen| Packet::Pong { seen }),
        (id(), text(), payload()).prop_map(|(id, name, payload)| Packet::PeerDelta { id, name, payload }),
        (id(), text(), payload()).prop_map(|(id, name, payload)| Packet::PeerDigest { id, name, payload }),
    ]
}

#[test]
fn bytes_are_as_documented() {
    let call = Packet::Call {
        id: 1,
        method: "a/b".to_owned(),
        payload: Bytes::from_static(b"[]"),
    };
    assert_eq!(call.encode().unwrap().as_ref(), b"\x01\x02\x03a/b[]");
    let event = |origin| Packet::Event {
        sequence: 1,
        name: "e".to_owned(),
        origin,
        payload: Bytes::from_static(b"{}"),
    };
    assert_eq!(event(None).encode().unwrap().as_ref(), b"\x03\x01\x01e\x00{}");
    let origin = Some(Origin { slot: 0, position: 9 });
    assert_eq!(
        event(origin).encode().unwrap().as_ref(),
        b"\x03\x01\x01e\x01\x09{}"
    );
    let chunk = Packet::StreamChunk {
        id: -1,
        payload: Bytes::from_static(b"hello"),
    };
    assert_eq!(chunk.encode().unwrap().as_ref(), b"\x05\x01hello");
}

#[test]
fn refuses_what_is_no_packet_and_says_why() {
    let id = |kind, rule| DecodeError::Id { kind, rule };
    for (bytes, error) in [
        (&b""[..], DecodeError::Short { field: "kind" }),
        (b"\x01", DecodeError::Short { field: "id" }),
        (b"\x01\x02\x05ab", DecodeError::Short { field: "method" }),
        (b"\x01\x02\x81\x08", DecodeError::Large { field: "method" }),
        (b"\x01\x02\x01\xff", DecodeError::Text { field: "method" }),
        (b"\x63\x02", DecodeError::Kind { kind: 0x63 }),
        (b"\x00\x02", DecodeError::Kind { kind: 0 }),
        (b"\x03\x02\x01e\x00", id("EVENT", "negative")),
        (b"\x03\x00\x01e\x00", id("EVENT", "negative")),
        (b"\x03\x01\x01e", DecodeError::Short { field: "origin" }),
        (b"\x03\x01\x01e\x01", DecodeError::Short { field: "position" }),
        (
            b"\x03\x01\x01e\x81\x80\x04\x00",
            DecodeError::Large { field: "origin" },
        ),
        (b"\x05\x00a", id("a stream", "other than 0")),
        (b"\x05\x02", DecodeError::Empty { field: "payload" }),
        (b"\x06\x02a", DecodeError::Trailing { count: 1 }),
        (b"\x0c\x02\x01", id("PING", "0")),
        (b"\x0c\x00\x01\x01", DecodeError::Trailing { count: 1 }),
        (
            b"\x0c\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            DecodeError::Large { field: "seen" },
        ),
    ] {
        assert_eq!(
            Packet::decode(&Bytes::copy_from_slice(bytes)),
            Err(error),
            "{bytes:x?}"
        );
    }
}

#[test]
fn each_error_says_how_the_session_goes_on() {
    let refused = |bytes: Vec<u8>| Packet::decode(&Bytes::from(bytes)).unwrap_err();
    assert_eq!(refused(vec![0x63, 2]).category(), Category::Unknown);
    assert_eq!(refused(vec![0x63, 2]).close_code(), None);
    assert_eq!(refused(vec![1]).close_code(), Some(1002));
    assert_eq!(refused(vec![0; PACKET_BYTES_MAX + 1]).close_code(), Some(1009));
}

#[test]
fn does_not_write_what_nobody_reads() {
    let bytes = |count| Bytes::from(vec![0; count]);
    let delta = |count| Packet::Delta {
        id: 1,
        document: 0,
        payload: bytes(count),
    };
    assert_eq!(
        delta(PACKET_BYTES_MAX - 3).encode().unwrap().len(),
        PACKET_BYTES_MAX
    );
    assert_eq!(
        delta(PACKET_BYTES_MAX - 2).encode(),
        Err(EncodeError::Oversize {
            bytes: PACKET_BYTES_MAX + 1
        })
    );
    let long = Packet::Call {
        id: 1,
        method: "m".repeat(NAME_BYTES_MAX + 1),
        payload: Bytes::new(),
    };
    let (field, bytes) = ("method", NAME_BYTES_MAX + 1);
    assert_eq!(long.encode(), Err(EncodeError::Long { field, bytes }));
    for sequence in [0, u64::MAX] {
        let event = Packet::Event {
            sequence,
            name: String::new(),
            origin: None,
            payload: Bytes::new(),
        };
        let refused = event.encode();
        assert!(matches!(
            refused,
            Err(EncodeError::Field {
                field: "sequence",
                ..
            })
        ));
    }
    assert!(Packet::StreamEnd { id: 0 }.encode().is_err());
    let payload = Bytes::new();
    assert!(Packet::StreamChunk { id: 1, payload }.encode().is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read(packet in any_packet()) {
        let bytes = packet.encode().unwrap();
        prop_assert_eq!(packet.size(), Ok(bytes.len()));
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0_u8..17, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes: Bytes = std::iter::once(kind).chain(bytes).collect();
        if let Ok(packet) = Packet::decode(&bytes) {
            // Overlong varints are read and written short.
            let written = packet.encode().unwrap();
            prop_assert!(written.len() <= bytes.len());
            prop_assert_eq!(Packet::decode(&written), Ok(packet));
        }
    }
}
