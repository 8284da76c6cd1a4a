use bytes::Bytes;
use pointsman_wire::{Dialect, Packet, Role, Streams, Taken, WINDOW_BYTES};
use serde_json::{Value, json};

use super::{compare, described, number};

/// One end of a connection, and what it was asked and said.
struct Table {
    streams: Streams,
    head: Value,
    steps: Vec<Value>,
}

/// Chunks are all zeros, and told by their length.
fn brief(packet: &Packet) -> Value {
    match packet {
        Packet::StreamChunk { id, payload } => {
            json!({"kind": packet.kind(), "id": id, "payload_bytes": payload.len()})
        }
        _ => described(packet),
    }
}

fn packets<const N: usize>(packets: [Option<Packet>; N]) -> Vec<Value> {
    packets.iter().flatten().map(brief).collect()
}

impl Table {
    fn new(name: &str, dialect: Dialect, role: Role, size_max: u64) -> Self {
        let head = json!({
            "name": name,
            "dialect": format!("{dialect:?}"),
            "role": format!("{role:?}"),
            "size_max": number(size_max),
        });
        let (streams, steps) = (Streams::new(dialect, role, size_max), Vec::new());
        Self { streams, head, steps }
    }

    fn open(&mut self, name: &str, size: u64) {
        let step = match self.streams.open(name, size) {
            Ok(opened) => json!({"send": packets([Some(opened.init), opened.end])}),
            Err(error) => json!({"error": error.to_string()}),
        };
        self.step(json!({"open": {"name": name, "size": number(size)}}), step);
    }

    fn push(&mut self, id: i64, bytes: usize) {
        let room = self.streams.room(id).ok();
        let step = match self.streams.push(id, Bytes::from(vec![0; bytes])) {
            Ok(pushed) => json!({"send": packets([Some(pushed.chunk), pushed.end])}),
            Err(error) => json!({"error": error.to_string()}),
        };
        self.step(json!({"push": {"id": id, "bytes": bytes, "room": room}}), step);
    }

    fn consumed(&mut self, id: i64, bytes: u64) {
        let credit = self.streams.consumed(id, bytes);
        let step = json!({"send": packets([credit])});
        self.step(json!({"consumed": {"id": id, "bytes": bytes}}), step);
    }

    fn abort(&mut self, id: i64, status: u64, reason: &str) {
        let step = match self.streams.abort(id, status, reason) {
            Ok(abort) => json!({"send": packets([Some(abort)])}),
            Err(error) => json!({"error": error.to_string()}),
        };
        self.step(
            json!({"abort": {"id": id, "status": status, "reason": reason}}),
            step,
        );
    }

    fn resume(&mut self, id: i64) {
        self.streams.resume(id).unwrap();
        self.step(json!({"resume": {"id": id}}), json!({}));
    }

    fn take(&mut self, packet: Packet) {
        let told = json!({"take": brief(&packet)});
        let step = match self.streams.take(packet) {
            Ok(taken) => meaning(&taken),
            Err(error) => json!({"error": error.to_string(), "close_code": error.close_code()}),
        };
        self.step(told, step);
    }

    fn init(&mut self, id: i64, size: u64) {
        let name = "a".to_owned();
        self.take(Packet::StreamInit { id, size, name });
    }

    fn chunk(&mut self, id: i64, bytes: usize) {
        let payload = Bytes::from(vec![0; bytes]);
        self.take(Packet::StreamChunk { id, payload });
    }

    fn end(&mut self, id: i64) {
        self.take(Packet::StreamEnd { id });
    }

    fn step(&mut self, mut asked: Value, step: Value) {
        let members = step.as_object().unwrap().clone();
        asked.as_object_mut().unwrap().extend(members);
        self.steps.push(asked);
    }

    fn line(mut self) -> Value {
        self.head["steps"] = self.steps.into();
        self.head
    }
}

fn meaning(taken: &Taken) -> Value {
    match taken {
        Taken::Opened { .. } => json!({"means": "opened"}),
        Taken::Chunk { .. } => json!({"means": "chunk"}),
        Taken::Ended { .. } => json!({"means": "ended"}),
        Taken::Aborted { .. } => json!({"means": "aborted"}),
        Taken::Room { .. } => json!({"means": "room"}),
        Taken::Refused { answer, .. } => json!({"means": "refused", "send": [brief(answer)]}),
        Taken::Nothing => json!({"means": "nothing"}),
        Taken::Other(_) => json!({"means": "other"}),
    }
}

const SIZE_MAX: u64 = 1 << 32;

fn receiver(name: &str) -> Table {
    Table::new(name, Dialect::Binary, Role::Server, SIZE_MAX)
}

fn receiving() -> Vec<Value> {
    let mut whole = receiver("an upload with credit");
    whole.init(1, 300_000);
    for _ in 0..4 {
        whole.chunk(1, 65_536);
    }
    whole.consumed(1, 20_000);
    whole.consumed(1, 20_000);
    whole.chunk(1, 37_856);
    whole.end(1);
    whole.consumed(1, 260_000);

    let mut credit = receiver("credit comes once half the window is free");
    credit.init(1, 3 * WINDOW_BYTES);
    credit.chunk(1, 200_000);
    credit.consumed(1, 131_071);
    credit.consumed(1, 1);
    credit.chunk(1, 193_216);
    credit.chunk(1, 1);
    credit.chunk(1, 1);

    let mut sizes = receiver("more and fewer bytes than the size");
    sizes.init(1, 5);
    sizes.chunk(1, 6);
    sizes.end(1);
    sizes.init(2, 5);
    sizes.chunk(2, 4);
    sizes.end(2);
    sizes.init(3, 0);
    sizes.end(3);
    sizes.init(4, SIZE_MAX + 1);
    sizes.chunk(5, 1);

    let mut many = receiver("at most sixteen, and ids are not used again");
    for id in 1..=17 {
        many.init(id, 1);
    }
    many.chunk(17, 1);
    many.abort(16, 403, "may not write");
    many.abort(16, 403, "may not write");
    many.chunk(16, 1);
    let (status, reason) = (499, String::new());
    many.take(Packet::StreamAbort {
        id: 15,
        status,
        reason,
    });
    many.init(18, 1);
    many.init(18, 1);
    many.init(3, 1);
    many.init(-1, 1);
    vec![whole.line(), credit.line(), sizes.line(), many.line()]
}

fn sending() -> Vec<Value> {
    let mut waits = Table::new(
        "a sender waits for credit",
        Dialect::Binary,
        Role::Client,
        SIZE_MAX,
    );
    waits.open("a", WINDOW_BYTES + 1);
    for _ in 0..4 {
        waits.push(1, 65_536);
    }
    waits.push(1, 1);
    waits.take(Packet::Credit { id: 1, bytes: 1 });
    waits.push(1, 1);
    waits.push(1, 1);
    waits.open("empty", 0);
    waits.take(Packet::Credit { id: 2, bytes: 1 });
    waits.take(Packet::Credit { id: 3, bytes: 1 });

    let mut refused = Table::new("a receiver gives up", Dialect::Binary, Role::Client, SIZE_MAX);
    refused.open("a", 9);
    let (status, reason) = (400, "no room on disk".to_owned());
    refused.take(Packet::StreamAbort {
        id: 1,
        status,
        reason,
    });
    refused.push(1, 9);

    let mut download = Table::new(
        "a download of Metacom waits after 32 chunks",
        Dialect::MetacomInteger,
        Role::Server,
        SIZE_MAX,
    );
    let chunk_bytes = 4_194_048;
    download.open("a", 32 * 4_194_048 + 1);
    for _ in 0..32 {
        download.push(-1, chunk_bytes);
    }
    download.push(-1, 1);
    download.resume(-1);
    download.push(-1, 1);
    download.open("b", 3_000_000);
    download.push(-2, 93_750);
    vec![waits.line(), refused.line(), download.line()]
}

#[test]
fn streams_go_as_in_the_file() {
    compare("streams.jsonl", &[receiving(), sending()].concat());
}
