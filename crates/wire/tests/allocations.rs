//! What the hot paths allocate, counted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use pointsman_wire::{Codec, Dialect, Frame, Origin, Packet, Role, chunk};

const CHUNK_BYTES: usize = 64 * 1024;

#[test]
fn a_chunk_is_one_allocation_of_its_own_size() {
    let payload = vec![7_u8; CHUNK_BYTES];
    for id in [1, -1, 1_000_000] {
        let mut bytes = Bytes::new();
        let counted = measure(|| bytes = chunk(id, black_box(&payload)).unwrap());
        assert_eq!(counted.count_total, 1);
        assert_eq!(counted.bytes_total, bytes.len() as u64);
    }
}

#[test]
fn an_encoded_packet_is_one_allocation_of_its_own_size() {
    let packets = [
        Packet::StreamChunk {
            id: 1,
            payload: Bytes::from(vec![7; CHUNK_BYTES]),
        },
        Packet::Event {
            sequence: 9,
            name: "counter/changed".to_owned(),
            origin: Some(Origin { slot: 3, position: 7 }),
            payload: Bytes::from_static(b"{}"),
        },
        Packet::Ping { seen: 9 },
    ];
    for packet in packets {
        let mut bytes = Bytes::new();
        let counted = measure(|| bytes = black_box(&packet).encode().unwrap());
        assert_eq!(counted.count_total, 1, "{packet:?}");
        assert_eq!(counted.bytes_total, bytes.len() as u64);
        let counted = measure(|| bytes = black_box(&packet).encode_framed().unwrap());
        assert_eq!(counted.count_total, 1, "{packet:?}");
    }
}

#[test]
fn reading_a_chunk_shares_the_message() {
    let message = chunk(1, &vec![7; CHUNK_BYTES]).unwrap();
    let counted = measure(|| drop(black_box(Packet::decode(&message).unwrap())));
    // The count of references is made when a message is shared for the first time.
    assert!(counted.bytes_total <= 64, "{} bytes", counted.bytes_total);
    let counted = measure(|| drop(black_box(Packet::decode(&message).unwrap())));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_chunk_is_one_allocation_in_every_dialect() {
    for dialect in [Dialect::Binary, Dialect::MetacomInteger, Dialect::MetacomText] {
        let mut codec = Codec::new(dialect, Role::Server);
        let packet = Packet::StreamChunk {
            id: -12,
            payload: Bytes::from(vec![7; CHUNK_BYTES]),
        };
        let mut frame = Frame::Binary(Bytes::new());
        let counted = measure(|| frame = codec.write(black_box(&packet), None).unwrap());
        assert_eq!(counted.count_total, 1, "{dialect:?}");
        assert!(matches!(frame, Frame::Binary(bytes) if bytes.len() as u64 == counted.bytes_total));
    }
}
