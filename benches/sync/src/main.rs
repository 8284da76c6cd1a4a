//! Replicated types beside other libraries: the same work for each, in one run. Prints a table and writes
//! `target/bench/crdt.json`. `bench-crdt [--trace FILE]` takes an editing trace as JSON: `{"txns": [{"patches": [[position,
//! deleted, "inserted"], …]}, …], "endContent": "…"}`; without one, a made-up one of the same shape is played.

mod flips;
mod subjects;
mod trace;

use pointsman_bench_sync::table::{self, Row};
use trace::Trace;

pub fn row(
    subject: &'static str,
    metric: impl Into<String>,
    value: f64,
    unit: &'static str,
    better: &'static str,
) -> Row {
    Row {
        bench: "crdt".to_owned(),
        subject: subject.to_owned(),
        metric: metric.into(),
        value,
        unit: unit.to_owned(),
        better: better.to_owned(),
    }
}

fn main() {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != "--trace")
        .skip(1);
    let trace = match arguments.next() {
        Some(path) => Trace::read(&path),
        None => Trace::made_up(),
    };
    println!(
        "list trace: {}, {} operations, {} of them delete",
        trace.name,
        trace.patches.len(),
        trace.deletions()
    );
    let mut rows = Vec::new();
    flips::all(&mut rows);
    trace::all(&trace, &mut rows);
    println!("{}", table::table(&rows));
    table::write("crdt", &rows).expect("written");
}
