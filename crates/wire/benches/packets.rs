//! Bytes of typical packets, and what writing and reading them costs, in the three dialects. Prints one table, and writes
//! `target/bench/wire.json` in the shape of the other benches. `cargo bench -p pointsman-wire`.
//!
//! Text ids are written here as our own ends choose them, `"1000"`; the ends of Metacom choose UUIDs, 32 bytes more.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pointsman_wire::{Codec, Dialect, Frame, Origin, Packet, Role, error_payload};
use serde_json::{Value, json};

const DIALECTS: [(Dialect, &str); 3] = [
    (Dialect::Binary, "binary"),
    (Dialect::MetacomInteger, "metacom-integer"),
    (Dialect::MetacomText, "metacom-text"),
];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(20);

/// Who sends what.
fn packets() -> Vec<(&'static str, Role, Packet)> {
    [calls(), streams_and_sessions()].concat()
}

fn calls() -> Vec<(&'static str, Role, Packet)> {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let id = 1000;
    // As long as a changed register of docs/CRDT.md.
    let state = Bytes::from_static(&[7; 12]);
    let call = |method: &str, payload| {
        let method = method.to_owned();
        Packet::Call { id, method, payload }
    };
    let event = Packet::Event {
        sequence: 1000,
        name: "chat/message".to_owned(),
        origin: Some(Origin {
            slot: 3,
            position: 1000,
        }),
        payload: text(r#"{"text":"hello"}"#),
    };
    let callback = |status, payload| Packet::Callback { id, status, payload };
    vec![
        (
            "toggle flip, DELTA",
            Role::Client,
            Packet::Delta {
                id,
                document: 0,
                payload: state,
            },
        ),
        (
            "toggle flip, CALL",
            Role::Client,
            call("toggle/set", text("[\"a\",true]")),
        ),
        (
            "CALL chat/say",
            Role::Client,
            call("chat/say", text(r#"{"text":"hello"}"#)),
        ),
        ("CALLBACK", Role::Server, callback(0, text("\"ok\""))),
        (
            "CALLBACK, an error",
            Role::Server,
            callback(404, error_payload("no such method")),
        ),
        ("EVENT", Role::Server, event),
    ]
}

fn streams_and_sessions() -> Vec<(&'static str, Role, Packet)> {
    let stream = -7;
    let drain = Packet::Drain {
        delay_ms: 1500,
        next: "6c9f7d5b8".to_owned(),
        token: "0123456789abcdef0123456789abcdef".to_owned(),
        slot: 3,
    };
    let init = Packet::StreamInit {
        id: stream,
        size: 1_000_000,
        name: "photo.jpg".to_owned(),
    };
    let chunk = Packet::StreamChunk {
        id: stream,
        payload: Bytes::from(vec![7; 64 * 1024]),
    };
    vec![
        ("STREAM_INIT", Role::Server, init),
        ("STREAM_CHUNK, 64 KiB", Role::Server, chunk),
        ("STREAM_END", Role::Server, Packet::StreamEnd { id: stream }),
        (
            "CREDIT",
            Role::Client,
            Packet::Credit {
                id: stream,
                bytes: 131_072,
            },
        ),
        ("DRAIN", Role::Server, drain),
        ("PING", Role::Client, Packet::Ping { seen: 1000 }),
    ]
}

/// Nanoseconds a turn: the median of five rounds.
fn measured(mut turn: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (start, mut turns) = (Instant::now(), 0_u32);
            while start.elapsed() < ROUND {
                for _ in 0..64 {
                    turn();
                }
                turns += 64;
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(turns)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap()
}

fn reading(dialect: Dialect, role: Role, packet: &Packet, frame: &Frame) -> f64 {
    let other = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let bytes = match frame {
        Frame::Text(text) => Bytes::from(text.clone()),
        Frame::Binary(bytes) => bytes.clone(),
    };
    let read = |codec: &mut Codec| match frame {
        Frame::Text(_) => codec.read_text(bytes.clone()),
        Frame::Binary(_) => codec.read_binary(&bytes),
    };
    if matches!(packet, Packet::Call { .. } | Packet::StreamInit { .. }) {
        // Each id is new to the one that reads.
        return measured(|| drop(black_box(read(&mut Codec::new(dialect, other)).unwrap())));
    }
    let mut codec = Codec::new(dialect, other);
    let (id, size, name) = (-1, 1, "a".to_owned());
    let init = Packet::StreamInit { id, size, name };
    let mut writer = Codec::new(dialect, role);
    let known = writer.write(&init, None).unwrap();
    let known = match known {
        Frame::Text(text) => Frame::Text(text.replace("-1", "-7")),
        binary => binary,
    };
    codec.read(known).unwrap();
    measured(|| drop(black_box(read(&mut codec).unwrap())))
}

fn main() {
    let mut rows: Vec<Value> = Vec::new();
    let mut row = |name: &str, dialect: &str, what: &str, value: f64, unit: &str| {
        let metric = format!("{name}, {dialect}, {what}");
        rows.push(json!({"bench": "wire", "subject": "pointsman", "metric": metric, "value": value, "unit": unit, "better": "lower"}));
    };
    println!(
        "{:<24} {:<16} {:>8} {:>12} {:>12}",
        "packet", "dialect", "bytes", "write, ns", "read, ns"
    );
    for (name, role, packet) in packets() {
        for (dialect, label) in DIALECTS {
            let mut codec = Codec::new(dialect, role);
            if role == Role::Server
                && matches!(packet, Packet::Callback { .. })
                && dialect == Dialect::MetacomText
            {
                // A client answers itself here: its own id is the one that it may write.
                codec = Codec::new(dialect, Role::Client);
            }
            let Ok(frame) = codec.write(&packet, None) else {
                println!("{name:<24} {label:<16} {:>8} {:>12} {:>12}", "-", "-", "-");
                continue;
            };
            let bytes = match &frame {
                Frame::Text(text) => text.len(),
                Frame::Binary(bytes) => bytes.len(),
            };
            let writing = measured(|| drop(black_box(codec.write(black_box(&packet), None).unwrap())));
            let reading = reading(dialect, role, &packet, &frame);
            println!("{name:<24} {label:<16} {bytes:>8} {writing:>12.0} {reading:>12.0}");
            row(name, label, "size", bytes as f64, "bytes");
            row(name, label, "write", writing, "ns");
            row(name, label, "read", reading, "ns");
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("wire.json"), format!("{:#}\n", Value::from(rows))).unwrap();
}
