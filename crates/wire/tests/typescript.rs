//! Packets that the TypeScript client has written are read here as what it says, and written the same.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use pointsman_wire::Packet;
use serde_json::{Value as Json, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn described(packet: &Packet) -> Json {
    match packet {
        Packet::Call { id, method, payload } => {
            json!({"kind": "CALL", "id": id, "method": method, "payload": hex(payload)})
        }
        Packet::Callback { id, status, payload } => {
            json!({"kind": "CALLBACK", "id": id, "status": status, "payload": hex(payload)})
        }
        Packet::Event {
            sequence,
            name,
            origin,
            payload,
        } => {
            let origin = origin.map(|origin| json!({"slot": origin.slot, "position": origin.position}));
            json!({"kind": "EVENT", "sequence": sequence, "name": name, "origin": origin, "payload": hex(payload)})
        }
        Packet::StreamInit { id, size, name } => {
            json!({"kind": "STREAM_INIT", "id": id, "size": size, "name": name})
        }
        Packet::StreamChunk { id, payload } => {
            json!({"kind": "STREAM_CHUNK", "id": id, "payload": hex(payload)})
        }
        Packet::StreamEnd { id } => json!({"kind": "STREAM_END", "id": id}),
        Packet::StreamAbort { id, status, reason } => {
            json!({"kind": "STREAM_ABORT", "id": id, "status": status, "reason": reason})
        }
        Packet::Credit { id, bytes } => json!({"kind": "CREDIT", "id": id, "bytes": bytes}),
        Packet::Delta {
            id,
            document,
            payload,
        } => {
            json!({"kind": "DELTA", "id": id, "document": document, "payload": hex(payload)})
        }
        Packet::Digest {
            id,
            document,
            payload,
        } => {
            json!({"kind": "DIGEST", "id": id, "document": document, "payload": hex(payload)})
        }
        Packet::Drain {
            delay_ms,
            next,
            token,
            slot,
        } => {
            json!({"kind": "DRAIN", "delay_ms": delay_ms, "next": next, "token": token, "slot": slot})
        }
        Packet::Ping { seen } => json!({"kind": "PING", "seen": seen}),
        Packet::Pong { seen } => json!({"kind": "PONG", "seen": seen}),
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_of_typescript_are_read_and_written_the_same() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/typescript/wire.jsonl"
    );
    let mut count = 0;
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let bytes = Bytes::from(unhex(line["hex"].as_str().unwrap()));
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(packet.encode().unwrap(), bytes);
        let (found, told) = (described(&packet), &line["packet"]);
        for (name, value) in found.as_object().unwrap() {
            assert_eq!(value, told.get(name).unwrap_or(&Json::Null), "{line}");
        }
        count += 1;
    }
    assert!(count > 100, "{count} packets");
}
