//! Playing an editing trace.

use std::time::Instant;

use crate::subjects::{Automerge, Editor, Loro, PointsmanText, Yrs};
use pointsman_bench_sync::table::Row;

use crate::row;

/// Position, how many to delete, what to insert.
pub type Patch = (usize, usize, String);

pub struct Trace {
    pub name: String,
    pub patches: Vec<Patch>,
    pub end: Option<String>,
}

impl Trace {
    pub fn deletions(&self) -> usize {
        self.patches.iter().filter(|patch| patch.1 > 0).count()
    }

    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(path).expect("a readable trace");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let transactions = json["txns"].as_array().expect("`txns`");
        let patches = transactions.iter().flat_map(|transaction| {
            let patches = transaction["patches"].as_array().expect("`patches`");
            patches.iter().map(|patch| {
                let number = |at: usize| patch[at].as_u64().expect("a number") as usize;
                (number(0), number(1), patch[2].as_str().expect("text").to_string())
            })
        });
        Self {
            name: "the given file".into(),
            patches: patches.collect(),
            end: json["endContent"].as_str().map(Into::into),
        }
    }

    /// As many operations as the well-known trace of a paper's text, and of its shape: mostly typing on, sometimes deleting
    /// backwards, now and then a jump.
    pub fn made_up() -> Self {
        let mut seed = 1_u64;
        let mut random = |end: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) as usize) % end.max(1)
        };
        let (mut length, mut at) = (0_usize, 0_usize);
        let mut deleting = false;
        let mut patches = Vec::new();
        while patches.len() < 259_778 {
            if random(60) == 0 {
                at = random(length + 1);
            }
            if random(8) == 0 {
                deleting = random(10) < 3;
            }
            if deleting && at > 0 {
                at -= 1;
                length -= 1;
                patches.push((at, 1, String::new()));
            } else {
                let letter = char::from(b'a' + random(26) as u8);
                patches.push((at, 0, letter.to_string()));
                at += 1;
                length += 1;
            }
        }
        Self {
            name: "made up (seed 1)".into(),
            patches,
            end: None,
        }
    }
}

pub fn all(trace: &Trace, rows: &mut Vec<Row>) {
    let end = play::<PointsmanText>(trace, rows);
    assert_eq!(end, play::<Yrs>(trace, rows), "all read the same");
    assert_eq!(end, play::<Loro>(trace, rows), "all read the same");
    assert_eq!(end, play::<Automerge>(trace, rows), "all read the same");
}

fn play<E: Editor>(trace: &Trace, rows: &mut Vec<Row>) -> String {
    let mut editor = E::new();
    let start = Instant::now();
    for (position, deleted, inserted) in &trace.patches {
        editor.edit(*position, *deleted, inserted);
    }
    let applying = start.elapsed().as_secs_f64();
    let end = editor.read();
    if let Some(expected) = &trace.end {
        assert_eq!(expected, &end, "{}: the trace's end", E::NAME);
    }
    let start = Instant::now();
    let bytes = editor.state();
    let saving = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let loaded = E::load(&bytes);
    let reading = loaded.read();
    let loading = start.elapsed().as_secs_f64();
    assert_eq!(reading, end, "{}: what was saved is loaded", E::NAME);
    rows.push(row(E::NAME, "trace: apply all", applying * 1e3, "ms", "lower"));
    rows.push(row(E::NAME, "trace: save", saving * 1e3, "ms", "lower"));
    rows.push(row(E::NAME, "trace: bytes", bytes.len() as f64, "B", "lower"));
    if let Some(collected) = editor.collected() {
        rows.push(row(
            E::NAME,
            "trace: bytes once all is stable",
            collected.len() as f64,
            "B",
            "lower",
        ));
        let start = Instant::now();
        assert_eq!(E::load(&collected).read(), end);
        let loading = start.elapsed().as_secs_f64() * 1e3;
        rows.push(row(
            E::NAME,
            "trace: load once all is stable",
            loading,
            "ms",
            "lower",
        ));
    }
    rows.push(row(E::NAME, "trace: load and read", loading * 1e3, "ms", "lower"));
    end
}
