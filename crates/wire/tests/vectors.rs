//! The files of `tests/vectors/wire`, which other languages read too. `POINTSMAN_BLESS=1` writes them anew; read the
//! difference. `README.md` there says what the members are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "vectors/binary.rs"]
mod binary;
#[path = "vectors/metacom.rs"]
mod metacom;
#[path = "vectors/refused.rs"]
mod refused;
#[path = "vectors/streams.rs"]
mod streams;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pointsman_wire::{Frame, Packet};
use serde_json::{Value, json};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/wire")
        .join(name)
}

fn stands(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Compares the lines with the file, or writes it.
fn compare(name: &str, lines: &[Value]) {
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        let text = lines
            .iter()
            .fold(String::new(), |text, line| text + &format!("{line}\n"));
        std::fs::write(path(name), text).unwrap();
        return;
    }
    let stands = stands(name);
    // The order of members depends on the features with which serde_json is built; it means nothing.
    for (index, (found, expected)) in lines.iter().zip(&stands).enumerate() {
        assert_eq!(found, expected, "{name}:{}", index + 1);
    }
    assert_eq!(lines.len(), stands.len(), "{name}; POINTSMAN_BLESS=1 writes it");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Bytes {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A number, or its digits where JavaScript's numbers are not exact.
fn number(value: impl Into<i128>) -> Value {
    let value = value.into();
    match i64::try_from(value) {
        Ok(small) if small.unsigned_abs() < 1 << 53 => small.into(),
        _ => value.to_string().into(),
    }
}

/// `text` or `hex`.
fn put_frame(line: &mut Value, frame: &Frame) {
    match frame {
        Frame::Text(text) => line["text"] = text.as_str().into(),
        Frame::Binary(bytes) => line["hex"] = hex(bytes).into(),
    }
}

fn described(packet: &Packet) -> Value {
    let kind = packet.kind();
    match packet {
        Packet::Call { id, method, payload } => {
            json!({"kind": kind, "id": number(*id), "method": method, "payload": hex(payload)})
        }
        Packet::Callback { id, status, payload } => {
            json!({"kind": kind, "id": number(*id), "status": number(*status), "payload": hex(payload)})
        }
        Packet::Event {
            sequence,
            name,
            origin,
            payload,
        } => {
            let origin =
                origin.map(|origin| json!({"slot": origin.slot, "position": number(origin.position)}));
            let payload = hex(payload);
            json!({"kind": kind, "sequence": number(*sequence), "name": name, "origin": origin, "payload": payload})
        }
        Packet::StreamInit { id, size, name } => {
            json!({"kind": kind, "id": number(*id), "size": number(*size), "name": name})
        }
        Packet::StreamChunk { id, payload } => {
            json!({"kind": kind, "id": number(*id), "payload": hex(payload)})
        }
        Packet::StreamEnd { id } => json!({"kind": kind, "id": number(*id)}),
        Packet::StreamAbort { id, status, reason } => {
            json!({"kind": kind, "id": number(*id), "status": number(*status), "reason": reason})
        }
        Packet::Credit { id, bytes } => json!({"kind": kind, "id": number(*id), "bytes": number(*bytes)}),
        Packet::Delta {
            id,
            document,
            payload,
        }
        | Packet::Digest {
            id,
            document,
            payload,
        } => {
            json!({"kind": kind, "id": number(*id), "document": number(*document), "payload": hex(payload)})
        }
        Packet::Drain {
            delay_ms,
            next,
            token,
            slot,
        } => {
            json!({"kind": kind, "delay_ms": number(*delay_ms), "next": next, "token": token, "slot": number(*slot)})
        }
        Packet::Ping { seen } | Packet::Pong { seen } => json!({"kind": kind, "seen": number(*seen)}),
        Packet::PeerDelta { id, name, payload } | Packet::PeerDigest { id, name, payload } => {
            json!({"kind": kind, "id": number(*id), "name": name, "payload": hex(payload)})
        }
    }
}
