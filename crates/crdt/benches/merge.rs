//! Prints one table, quickly: `cargo bench -p pointsman-crdt`. `make bench-crdt` measures beside other libraries.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use pointsman_crdt::{
    Map, MapOperation, Operation, Replica, SequenceOperation, SetOperation, Stamp, State, Text, Value,
};

const FLIPS: u64 = 1_000_000;
const REGISTERS: u64 = 1_000;

struct Row {
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

fn replica(slot: u16) -> Replica {
    Replica::new(slot, 1).unwrap()
}

/// Flips of booleans in a document: deltas are made first, then joined at another replica.
fn flips(rows: &mut Vec<Row>, names: [&'static str; 5], make: impl Fn(u64) -> Operation) {
    let mut origin = State::<Map>::new();
    let mut bytes = 0_usize;
    let mut end_to_end = State::<Map>::new();
    let mut deltas = Vec::new();
    let mut whole = 0.0;
    let operations: Vec<MapOperation> = (0..FLIPS)
        .map(|flip| {
            let name = format!("f{:03}", flip.wrapping_mul(0x9e37_79b9) % REGISTERS);
            MapOperation::Update {
                name: name.as_str().into(),
                operation: Box::new(make(flip)),
            }
        })
        .collect();
    for operation in &operations {
        let start = Instant::now();
        let delta = origin.update(replica(1), operation).unwrap().unwrap();
        let encoded = delta.encode();
        end_to_end.join(&State::decode(&encoded).unwrap()).unwrap();
        whole += start.elapsed().as_secs_f64();
        bytes += encoded.len();
        deltas.push(delta);
    }
    assert!(origin == end_to_end, "both replicas have the same state");
    let mut receiver = State::<Map>::new();
    let start = Instant::now();
    for delta in &deltas {
        receiver.join(delta).unwrap();
    }
    let merging = start.elapsed().as_secs_f64();
    assert!(receiver == origin, "both replicas have the same state");
    let other = origin.clone();
    let start = Instant::now();
    for _ in 0..100 {
        black_box(&mut receiver).join(black_box(&other)).unwrap();
    }
    let join = start.elapsed().as_secs_f64() / 100.0;
    let [merges, flips, delta, state, full] = names;
    rows.push(Row {
        metric: merges,
        value: FLIPS as f64 / merging,
        unit: "1/s",
    });
    rows.push(Row {
        metric: flips,
        value: FLIPS as f64 / whole,
        unit: "1/s",
    });
    rows.push(Row {
        metric: delta,
        value: bytes as f64 / FLIPS as f64,
        unit: "B",
    });
    rows.push(Row {
        metric: state,
        value: origin.encode().len() as f64,
        unit: "B",
    });
    rows.push(Row {
        metric: full,
        value: join * 1e6,
        unit: "µs",
    });
}

/// Typing with jumps: nine of ten operations go on where the last one was.
fn text(rows: &mut Vec<Row>) {
    const OPERATIONS: u64 = 100_000;
    let mut state = State::<Text>::new();
    let (mut at, mut seed) = (0_u64, 1_u64);
    let mut deltas = Vec::new();
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = state.store.len();
        if (seed >> 33).is_multiple_of(20) && length > 0 {
            at = (seed >> 20) % length;
        }
        let operation = if (seed >> 40).is_multiple_of(6) && at > 0 {
            at -= 1;
            SequenceOperation::Delete { index: at, count: 1 }
        } else {
            at += 1;
            SequenceOperation::Insert {
                index: at - 1,
                values: vec!['x'],
            }
        };
        deltas.push(state.update(replica(1), &operation).unwrap().unwrap());
    }
    let typing = start.elapsed().as_secs_f64();
    let mut other = State::<Text>::new();
    let start = Instant::now();
    deltas.iter().for_each(|delta| other.join(delta).unwrap());
    let applying = start.elapsed().as_secs_f64();
    assert!(state == other);
    let bytes = state.encode();
    let start = Instant::now();
    black_box(State::<Text>::decode(&bytes).unwrap());
    let loading = start.elapsed().as_secs_f64();
    rows.push(Row {
        metric: "text local edits",
        value: OPERATIONS as f64 / typing,
        unit: "1/s",
    });
    rows.push(Row {
        metric: "text remote edits",
        value: OPERATIONS as f64 / applying,
        unit: "1/s",
    });
    rows.push(Row {
        metric: "text bytes, 100,000 edits",
        value: bytes.len() as f64,
        unit: "B",
    });
    rows.push(Row {
        metric: "text load",
        value: loading * 1e3,
        unit: "ms",
    });
}

fn removals(rows: &mut Vec<Row>) {
    const ELEMENTS: i64 = 10_000;
    let mut set = State::<pointsman_crdt::OrSet>::new();
    for element in 0..ELEMENTS {
        set.update(replica(1), &SetOperation::Add(Value::Integer(element)))
            .unwrap();
    }
    let mut other = set.clone();
    let start = Instant::now();
    for element in 0..500 {
        let delta = set
            .update(replica(1), &SetOperation::Remove(Value::Integer(element * 17)))
            .unwrap()
            .unwrap();
        other.join(&delta).unwrap();
    }
    let each = start.elapsed().as_secs_f64() / 500.0;
    assert!(set == other);
    rows.push(Row {
        metric: "or-set removal of 10,000",
        value: each * 1e6,
        unit: "µs",
    });
}

fn main() {
    let mut rows = Vec::new();
    let flag = [
        "flag merges",
        "flag flips, encoded",
        "flag delta",
        "1,000 flags after 1 M flips",
        "1,000 flags join",
    ];
    flips(&mut rows, flag, |flip| Operation::EnableWinsFlag(flip % 3 == 0));
    let lww = [
        "lww merges",
        "lww flips, encoded",
        "lww delta",
        "1,000 lww after 1 M flips",
        "1,000 lww join",
    ];
    flips(&mut rows, lww, |flip| {
        Operation::LwwRegister((Stamp::at(1_800_000_000_000 + flip), Value::Bool(flip % 3 == 0)))
    });
    text(&mut rows);
    removals(&mut rows);
    for row in &rows {
        println!("{:<32} {:>14.1} {}", row.metric, row.value, row.unit);
    }
}
