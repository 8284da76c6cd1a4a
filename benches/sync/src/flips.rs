//! Boolean registers that are set over and over.

use std::time::Instant;

use crate::subjects::{Automerge, Crdts, Loro, Pointsman, Registers, Yrs, merges_decoded};
use pointsman_bench_sync::table::Row;

use crate::row;

pub const REGISTERS: u64 = 1_000;
const FLIPS: u64 = 50_000;
/// Ours alone: as far as the goal says.
const MANY: u64 = 1_000_000;

pub fn key(register: u64) -> String {
    format!("f{register:03}")
}

fn flip(step: u64) -> (String, bool) {
    (
        key(step.wrapping_mul(0x9e37_79b9) % REGISTERS),
        step.is_multiple_of(3),
    )
}

pub fn all(rows: &mut Vec<Row>) {
    run::<Pointsman>(rows);
    run::<Crdts>(rows);
    run::<Yrs>(rows);
    run::<Loro>(rows);
    run::<Automerge>(rows);
    let decoded = [
        (Pointsman::NAME, deltas::<Pointsman>()),
        (Crdts::NAME, deltas::<Crdts>()),
    ];
    for (name, rate) in merges_decoded(&decoded) {
        rows.push(row(name, "merge alone, decoded before", rate, "1/s", "higher"));
    }
    many(rows);
}

fn deltas<S: Registers>() -> Vec<Vec<u8>> {
    let mut origin = S::new(2);
    (0..FLIPS)
        .map(|step| {
            let (key, on) = flip(step);
            origin.set(&key, on)
        })
        .collect()
}

fn run<S: Registers>(rows: &mut Vec<Row>) {
    let (mut origin, mut other) = (S::new(0), S::new(1));
    let steps: Vec<(String, bool)> = (0..FLIPS).map(flip).collect();
    let mut bytes = 0;
    let start = Instant::now();
    for (key, on) in &steps {
        let delta = origin.set(key, *on);
        bytes += delta.len();
        other.receive(&delta);
    }
    let whole = start.elapsed().as_secs_f64();
    assert_eq!(origin.read(), other.read(), "{}: both read the same", S::NAME);
    rows.push(row(
        S::NAME,
        "flips: set, encode, decode, merge",
        FLIPS as f64 / whole,
        "1/s",
        "higher",
    ));
    rows.push(row(
        S::NAME,
        "delta of a flip",
        bytes as f64 / FLIPS as f64,
        "B",
        "lower",
    ));
    rows.push(row(
        S::NAME,
        "state of 1,000 after 50,000 flips",
        origin.state().len() as f64,
        "B",
        "lower",
    ));

    let deltas = deltas::<S>();
    let mut other = S::new(3);
    let start = Instant::now();
    deltas.iter().for_each(|delta| other.receive(delta));
    let merging = start.elapsed().as_secs_f64();
    rows.push(row(
        S::NAME,
        "decode and merge",
        FLIPS as f64 / merging,
        "1/s",
        "higher",
    ));

    // Two replicas that each flipped half of the registers since they met.
    let mut left = S::new(4);
    let mut right = S::new(5);
    (0..REGISTERS).for_each(|register| drop(left.set(&key(register), true)));
    right.join(&mut left);
    for register in 0..REGISTERS / 2 {
        left.set(&key(register), false);
        right.set(&key(REGISTERS - 1 - register), false);
    }
    let start = Instant::now();
    left.join(&mut right);
    let joining = start.elapsed().as_secs_f64();
    assert!(left.read().values().all(|on| !on), "{}: all are off", S::NAME);
    rows.push(row(
        S::NAME,
        "full join of 1,000, with bytes",
        joining * 1e6,
        "µs",
        "lower",
    ));
}

/// How size stays over a million flips and a hundred generations.
fn many(rows: &mut Vec<Row>) {
    let mut subject = Pointsman::new(0);
    let mut sizes = Vec::new();
    for step in 1..=MANY {
        let (key, on) = flip(step);
        subject.set(&key, on);
        if step % (MANY / 10) == 0 {
            sizes.push(subject.state().len());
        }
    }
    println!("bytes of 1,000 registers at each 100,000 flips: {sizes:?}");
    rows.push(row(
        Pointsman::NAME,
        "state of 1,000 after 1,000,000 flips",
        sizes[9] as f64,
        "B",
        "lower",
    ));

    use pointsman_crdt::{Map, MapOperation, Operation, Replica, State};
    let mut state = State::<Map>::new();
    let (mut sizes, mut step) = (Vec::new(), 0);
    for generation in 1..=100 {
        for _ in 0..10_000 {
            step += 1;
            let (key, on) = flip(step);
            let operation = MapOperation::Update {
                name: key.as_str().into(),
                operation: Box::new(Operation::EnableWinsFlag(on)),
            };
            let replica = Replica::new((step % 3) as u16, generation).expect("in range");
            state.update(replica, &operation).expect("possible");
        }
        (0..3).for_each(|slot| state.retire(Replica::new(slot, generation).expect("in range")));
        if generation % 10 == 0 {
            sizes.push(state.encode().len());
        }
    }
    println!("bytes of 1,000 registers at each tenth generation of three replicas: {sizes:?}");
    rows.push(row(
        Pointsman::NAME,
        "state of 1,000 after 100 generations",
        sizes[9] as f64,
        "B",
        "lower",
    ));
}
