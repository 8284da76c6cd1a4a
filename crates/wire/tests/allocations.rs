//! What the hot paths allocate, counted.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use allocation_counter::measure;
use bytes::Bytes;
use pointsman_wire::{Codec, Dialect, Frame, Origin, PACKET_BYTES_MAX, Packet, Role, chunk};

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

#[test]
fn a_session_holds_less_than_a_mebibyte_whatever_comes() {
    let mut codec = None;
    let counted = measure(|| {
        let mut server = Codec::metacom();
        for id in 0..5_000 {
            let id = format!("{id:0>255}");
            let call = format!(r#"{{"type":"call","id":"{id}","method":"a/b"}}"#);
            let _ = server.read(Frame::Text(call));
            let stream = format!(r#"{{"type":"stream","id":"{id}","name":"a","size":1}}"#);
            let _ = server.read(Frame::Text(stream));
        }
        codec = Some(server);
    });
    assert!(counted.bytes_current > 256 * 1024, "{}", counted.bytes_current);
    assert!(counted.bytes_current < 1024 * 1024, "{}", counted.bytes_current);
    drop(codec);
}

#[test]
fn reading_allocates_no_more_than_three_times_the_message() {
    let fill = |head: &str, part: &str, tail: &str| {
        let count = (PACKET_BYTES_MAX - head.len() - tail.len()) / part.len();
        format!("{head}{}{tail}", part.repeat(count))
    };
    for text in [
        fill(r#"{"type":"callback","id":1,"error":{"more":[0"#, ",0", "]}}"),
        fill(r#"{"type":"callback","id":1,"error":{"message":""#, "\\n", "\"}}"),
        fill(r#"{"type":"call","id":1,"method":""#, "\\u0041", "\"}"),
        fill(r#"{"type":"call","id":1,"method":"a/b","args":[{}"#, ",{}", "]}"),
        fill(r#"{"type":"call","id":1"#, r#","a":1"#, "}"),
        fill("", "{\"a\":", ""),
        fill("", "[", ""),
    ] {
        let mut client = Codec::new(Dialect::MetacomInteger, Role::Client);
        let most = 3 * text.len() as u64;
        let bytes = Bytes::from(text);
        let counted = measure(|| drop(black_box(client.read_text(bytes.clone()))));
        assert!(
            counted.bytes_max <= most,
            "{} for {:?}",
            counted.bytes_max,
            bytes.slice(..60)
        );
    }
}
