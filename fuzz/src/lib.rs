//! Fuzz targets: one function per decoder. A target decodes, and when that works, uses what came out; it panics when an
//! invariant does not hold. The same functions run with a bounded number of inputs in `cargo test`, as long as wanted by
//! `make fuzz`, and under libFuzzer. Another crate's decoders get a module like `crdt` and a line in `targets`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken invariant has to stop the run"
)]

mod crdt;
mod mutate;
mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use mutate::{Mutator, Random};

/// A decoder and what must hold for what it accepts.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name on the command line.
    pub name: &'static str,
    /// Inputs to start from.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Panics when an invariant does not hold. Says in few words how far the input came: inputs that come somewhere new
    /// are kept and changed further.
    pub run: fn(&[u8]) -> String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    [crdt::TARGETS, wire::TARGETS].concat()
}

/// Feeds one input to a target by its name; for other tools.
pub fn run(name: &str, input: &[u8]) {
    let target = targets().into_iter().find(|target| target.name == name);
    let _ = (target
        .unwrap_or_else(|| panic!("there is no target `{name}`"))
        .run)(input);
}

/// The folder of shared vectors of a crate.
fn vectors(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors")
        .join(folder)
}

/// Lines of a vector file.
fn lines(folder: &str, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(vectors(folder).join(format!("{name}.jsonl"))).expect("vectors");
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What a number of inputs found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Inputs that were tried.
    pub inputs: u64,
    /// How many places they came to.
    pub places: usize,
}

/// Feeds a target with its corpus and then with changed inputs as long as `go_on` says.
pub fn fuzz(target: &Target, seed: u64, mut go_on: impl FnMut(u64, &[u8]) -> bool) -> Found {
    let mut mutator = Mutator::new(seed, (target.corpus)());
    let mut seen = BTreeSet::new();
    let mut found = Found::default();
    loop {
        let input = mutator.input();
        if !go_on(found.inputs, &input) {
            return found;
        }
        found.inputs += 1;
        if seen.insert((target.run)(&input)) {
            mutator.keep(input);
            found.places = seen.len();
        }
    }
}
