//! Replicated types beside other libraries: the same work for each, in one run. Prints a table and writes
//! `target/bench/crdt.json`. `bench-crdt [--trace FILE]` takes an editing trace as JSON: `{"txns": [{"patches": [[position,
//! deleted, "inserted"], …]}, …], "endContent": "…"}`; without one, a made-up one of the same shape is played.

mod flips;
mod subjects;
mod trace;

use std::fmt::Write as _;
use std::path::Path;

use trace::Trace;

pub struct Row {
    subject: &'static str,
    metric: String,
    value: f64,
    unit: &'static str,
    better: &'static str,
}

pub fn row(
    subject: &'static str,
    metric: impl Into<String>,
    value: f64,
    unit: &'static str,
    better: &'static str,
) -> Row {
    Row {
        subject,
        metric: metric.into(),
        value,
        unit,
        better,
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
    print(&rows);
    write(&rows);
}

/// One line a metric, one column a subject.
fn print(rows: &[Row]) {
    let mut metrics: Vec<&Row> = Vec::new();
    for row in rows {
        if !metrics.iter().any(|seen| seen.metric == row.metric) {
            metrics.push(row);
        }
    }
    let subjects = ["pointsman", "crdts", "yrs", "loro", "automerge"];
    let mut text = format!("{:<40}", "");
    subjects
        .iter()
        .for_each(|subject| write!(text, " {subject:>12}").expect("text"));
    for metric in metrics {
        let unit = metric.unit;
        write!(text, "\n{:<40}", format!("{} [{unit}]", metric.metric)).expect("text");
        for subject in subjects {
            let found = rows
                .iter()
                .find(|row| row.metric == metric.metric && row.subject == subject);
            match found {
                Some(row) if row.value >= 100.0 => write!(text, " {:>12.0}", row.value),
                Some(row) => write!(text, " {:>12.2}", row.value),
                None => write!(text, " {:>12}", "-"),
            }
            .expect("text");
        }
    }
    println!("{text}");
}

fn write(rows: &[Row]) {
    let rows = rows.iter().map(|row| {
        serde_json::json!({
            "bench": "crdt", "subject": row.subject, "metric": row.metric, "value": row.value, "unit": row.unit,
            "better": row.better,
        })
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&folder).expect("a folder for the numbers");
    let json = serde_json::Value::Array(rows.collect());
    std::fs::write(folder.join("crdt.json"), format!("{json}\n")).expect("written");
}
