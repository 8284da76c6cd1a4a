//! Decoders of `pointsman-wire`: its own functions say what must hold; here is what they start from, and how far they come.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::Bytes;
use pointsman_wire::{Codec, Dialect, Packet, Role, fuzz};

use crate::{Target, lines, unhex};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "wire-packet",
        corpus: packets,
        run: fuzz_packet,
    },
    Target {
        name: "wire-json",
        corpus: texts,
        run: fuzz_json,
    },
    Target {
        name: "wire-chunk-integer",
        corpus: chunks,
        run: fuzz_chunk_integer,
    },
    Target {
        name: "wire-chunk-text",
        corpus: chunks,
        run: fuzz_chunk_text,
    },
    Target {
        name: "wire-session",
        corpus: sessions,
        run: fuzz_session,
    },
    Target {
        name: "wire-streams",
        corpus: streams,
        run: fuzz_streams,
    },
];

// === what they start from ===

const SESSIONS: [&str; 2] = ["metacom-integer", "metacom-text"];

fn field(file: &str, name: &str) -> Vec<Vec<u8>> {
    let lines = lines("wire", file);
    let found = lines.iter().filter_map(|line| line.get(name)?.as_str());
    found
        .map(|text| match name {
            "hex" => unhex(text),
            _ => text.as_bytes().to_vec(),
        })
        .collect()
}

fn packets() -> Vec<Vec<u8>> {
    [field("binary", "hex"), field("refused", "hex")].concat()
}

fn texts() -> Vec<Vec<u8>> {
    let files = SESSIONS.iter().chain(&["refused"]);
    files.flat_map(|file| field(file, "text")).collect()
}

fn chunks() -> Vec<Vec<u8>> {
    let files = SESSIONS.iter().chain(&["refused"]);
    files.flat_map(|file| field(file, "hex")).collect()
}

/// The steps of the clients, as `fuzz::session` takes them: text messages of even length, binary ones of odd length.
fn sessions() -> Vec<Vec<u8>> {
    let session = |file: &str| {
        let mut all = Vec::new();
        for line in lines("wire", file) {
            if line["from"] != "client" {
                continue;
            }
            let (mut message, odd) = match (line["text"].as_str(), line["hex"].as_str()) {
                (Some(text), _) => (text.as_bytes().to_vec(), 0),
                (None, hex) => (unhex(hex.unwrap_or_default()), 1),
            };
            if message.len() % 2 != odd {
                // JSON takes a space at its end, a chunk another byte.
                message.push(b' ');
            }
            if let Ok(length) = u8::try_from(message.len()) {
                all.push(length);
                all.extend(message);
            }
        }
        all
    };
    SESSIONS.iter().map(|file| session(file)).collect()
}

/// Uploads and downloads as `fuzz::streams` takes them: kind, id, kilobytes.
fn streams() -> Vec<Vec<u8>> {
    const INIT: u8 = 0;
    const CHUNK: u8 = 1;
    const END: u8 = 2;
    const ABORT: u8 = 3;
    const CREDIT: u8 = 4;
    const OPEN: u8 = 5;
    const PUSH: u8 = 6;
    const CONSUMED: u8 = 7;
    vec![
        [[INIT, 1, 64], [CHUNK, 1, 64], [CONSUMED, 1, 0], [END, 1, 0]].concat(),
        [
            [INIT, 1, 9],
            [INIT, 2, 9],
            [CHUNK, 2, 9],
            [ABORT, 1, 0],
            [END, 2, 0],
        ]
        .concat(),
        [[OPEN, 0, 200], [PUSH, 255, 0], [CREDIT, 255, 200], [PUSH, 255, 0]].concat(),
        (1..=17).flat_map(|id| [INIT, id, 1]).collect(),
    ]
}

// === how far they come ===

/// What it is, or what is wrong with it; numbers and names in it are not a place of their own.
fn place(outcome: &Result<impl Debug, impl ToString>) -> String {
    match outcome {
        Ok(read) => word(read),
        Err(error) => error
            .to_string()
            .chars()
            .map(|char| if char.is_ascii_digit() { '0' } else { char })
            .take(40)
            .collect(),
    }
}

/// The first name of what `Debug` writes.
fn word(read: &impl Debug) -> String {
    let text = format!("{read:?}");
    let kind = text.split("packet: ").last().unwrap_or_default();
    let mut words = kind.split(|char: char| !char.is_ascii_alphanumeric());
    words.next().unwrap_or_default().to_owned()
}

/// How many bits a size has.
fn bits(size: usize) -> u32 {
    usize::BITS - size.leading_zeros()
}

fn fuzz_packet(input: &[u8]) -> String {
    fuzz::packet(input);
    place(&Packet::decode(&Bytes::copy_from_slice(input)))
}

fn fuzz_json(input: &[u8]) -> String {
    fuzz::json(input);
    place(&Codec::metacom().read_text(Bytes::copy_from_slice(input)))
}

fn fuzz_chunk_integer(input: &[u8]) -> String {
    fuzz::chunk_integer(input);
    chunk(Dialect::MetacomInteger, input)
}

fn fuzz_chunk_text(input: &[u8]) -> String {
    fuzz::chunk_text(input);
    chunk(Dialect::MetacomText, input)
}

fn chunk(dialect: Dialect, input: &[u8]) -> String {
    let read = Codec::new(dialect, Role::Client).read_binary(&Bytes::copy_from_slice(input));
    format!("{} {}", place(&read), bits(input.len()))
}

fn fuzz_session(input: &[u8]) -> String {
    fuzz::session(input);
    let mut codec = Codec::metacom();
    let mut places = BTreeSet::new();
    let mut rest = input;
    while let Some((length, tail)) = rest.split_first() {
        let (message, tail) = tail.split_at(tail.len().min((*length).into()));
        rest = tail;
        let message = Bytes::copy_from_slice(message);
        let read = match length % 2 {
            0 => codec.read_text(message),
            _ => codec.read_binary(&message),
        };
        places.insert(place(&read));
    }
    places.into_iter().collect::<Vec<_>>().join(", ")
}

fn fuzz_streams(input: &[u8]) -> String {
    fuzz::streams(input);
    let kinds: BTreeSet<u8> = input.chunks_exact(3).map(|step| step[0] % 8).collect();
    let ids: BTreeSet<u8> = input.chunks_exact(3).map(|step| step[1]).collect();
    format!("{kinds:?} {}", bits(ids.len()))
}
