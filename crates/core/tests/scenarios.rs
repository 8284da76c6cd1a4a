//! Runs every script of `tests/scenarios` and compares what happened with its golden file.
//! `POINTSMAN_BLESS=1` rewrites the golden files; read the difference before you commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/script.rs"]
mod script;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(ending: &str) -> BTreeSet<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect()
}

#[test]
fn every_script_ends_as_its_golden_file_says() {
    let bless = std::env::var_os("POINTSMAN_BLESS").is_some();
    let scripts = files("txt");
    assert!(scripts.len() >= 25, "only {} scripts found", scripts.len());
    let mut wrong = Vec::new();
    for path in &scripts {
        let text = fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("# "),
            "{}: say in the first line what it shows",
            path.display()
        );
        let got = script::Script::new().run(&text);
        let golden = path.with_extension("golden");
        if bless {
            fs::write(&golden, &got).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if wanted != got {
            eprintln!(
                "{}:\n{}",
                golden.display(),
                similar_asserts::SimpleDiff::from_str(&wanted, &got, "golden", "now")
            );
            wrong.push(golden);
        }
    }
    let golden: BTreeSet<_> = scripts.iter().map(|path| path.with_extension("golden")).collect();
    wrong.extend(files("golden").difference(&golden).cloned());
    assert!(
        wrong.is_empty(),
        "not as written, or without a script: {wrong:#?}"
    );
}
