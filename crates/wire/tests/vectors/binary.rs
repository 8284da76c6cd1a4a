use bytes::Bytes;
use pointsman_wire::{Origin, Packet};
use serde_json::json;

use super::{bytes, compare, described, hex, stands};

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn event(sequence: u64, origin: Option<Origin>) -> Packet {
    let (name, payload) = ("chat/message".to_owned(), payload(r#"{"text":"a"}"#));
    Packet::Event {
        sequence,
        name,
        origin,
        payload,
    }
}

fn calls() -> Vec<(&'static str, Packet)> {
    let call = |id, method: &str, payload| {
        let method = method.to_owned();
        Packet::Call { id, method, payload }
    };
    let callback = |id, status, payload| Packet::Callback { id, status, payload };
    vec![
        (
            "call",
            call(1, "counter/set", payload(r#"{"room":"a","count":1}"#)),
        ),
        ("call without arguments", call(2, "a/b", Bytes::new())),
        (
            "call with text that is not ASCII",
            call(64, "é/日本", payload("[\"🚦\"]")),
        ),
        ("call of a server", call(-1, "a/b", payload("[]"))),
        (
            "call with the longest name",
            call(1, &"m".repeat(1024), Bytes::new()),
        ),
        ("call with the largest id", call(i64::MAX, "a/b", Bytes::new())),
        ("call with the smallest id", call(i64::MIN, "a/b", Bytes::new())),
        ("callback", callback(1, 0, payload("\"ok\""))),
        (
            "callback with an error",
            callback(1, 404, payload(r#"{"error":"no such method"}"#)),
        ),
        ("callback without a payload", callback(63, 0, Bytes::new())),
        (
            "callback with the largest status",
            callback(-64, u64::MAX, Bytes::new()),
        ),
        ("event of this session", event(1, None)),
        ("event of slot 0", event(2, Some(Origin { slot: 0, position: 0 }))),
        (
            "event of the last slot",
            event(
                300,
                Some(Origin {
                    slot: u16::MAX,
                    position: u64::MAX,
                }),
            ),
        ),
        (
            "event with the largest sequence",
            event(i64::MAX.cast_unsigned(), None),
        ),
    ]
}

fn streams() -> Vec<(&'static str, Packet)> {
    let init = |id, size, name: &str| Packet::StreamInit {
        id,
        size,
        name: name.to_owned(),
    };
    let abort = |id, status, reason: &str| Packet::StreamAbort {
        id,
        status,
        reason: reason.to_owned(),
    };
    vec![
        ("stream of a client begins", init(1, 100_000, "blob")),
        ("stream of a server begins", init(-1, 5, "x")),
        ("empty stream without a name begins", init(2, 0, "")),
        ("stream of the largest size begins", init(3, u64::MAX, "a")),
        (
            "chunk",
            Packet::StreamChunk {
                id: -1,
                payload: payload("hello"),
            },
        ),
        (
            "chunk of one byte",
            Packet::StreamChunk {
                id: 200,
                payload: Bytes::from_static(&[0]),
            },
        ),
        ("end", Packet::StreamEnd { id: -1 }),
        ("abort", abort(1, 400, "ended after 4 of 5 bytes")),
        ("abort without a reason", abort(-1, 0, "")),
        (
            "credit",
            Packet::Credit {
                id: 1,
                bytes: 131_072,
            },
        ),
        (
            "credit of the most bytes",
            Packet::Credit {
                id: -1,
                bytes: u64::MAX,
            },
        ),
    ]
}

fn documents_and_sessions() -> Vec<(&'static str, Packet)> {
    let state = || Bytes::from_static(&[0x22, 1, 0x70, 1, 2, 0, 0, 1]);
    let drain = |next: &str, token: &str, slot| Packet::Drain {
        delay_ms: 250,
        next: next.to_owned(),
        token: token.to_owned(),
        slot,
    };
    let name = || "room/a".to_owned();
    vec![
        (
            "delta of a client",
            Packet::Delta {
                id: 7,
                document: 0,
                payload: state(),
            },
        ),
        (
            "delta of a server",
            Packet::Delta {
                id: -9,
                document: 255,
                payload: state(),
            },
        ),
        (
            "digest of nothing",
            Packet::Digest {
                id: 8,
                document: 0,
                payload: Bytes::new(),
            },
        ),
        (
            "digest",
            Packet::Digest {
                id: 8,
                document: 1 << 40,
                payload: state(),
            },
        ),
        ("drain to a revision", drain("6c9f", "t-1", 3)),
        ("drain to anywhere", drain("", "", 0)),
        ("ping", Packet::Ping { seen: 0 }),
        ("pong", Packet::Pong { seen: 1 << 53 }),
        (
            "delta of a peer",
            Packet::PeerDelta {
                id: 1,
                name: name(),
                payload: state(),
            },
        ),
        (
            "digest of a peer",
            Packet::PeerDigest {
                id: 2,
                name: name(),
                payload: Bytes::new(),
            },
        ),
    ]
}

#[test]
fn binary_packets_have_the_bytes_of_the_file() {
    let packets = [calls(), streams(), documents_and_sessions()].concat();
    let lines: Vec<_> = packets
        .iter()
        .map(|(name, packet)| {
            let bytes = packet.encode().unwrap();
            assert_eq!(Packet::decode(&bytes).as_ref(), Ok(packet), "{name}");
            json!({"name": name, "hex": hex(&bytes), "packet": described(packet)})
        })
        .collect();
    compare("binary.jsonl", &lines);
}

#[test]
fn bytes_of_the_file_are_read_as_its_packets() {
    let lines = stands("binary.jsonl");
    assert!(lines.len() > 30);
    for line in lines {
        let packet = Packet::decode(&bytes(line["hex"].as_str().unwrap())).unwrap();
        assert_eq!(described(&packet), line["packet"], "{}", line["name"]);
    }
}
