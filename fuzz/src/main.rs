//! `fuzz [TARGET] [SECONDS] [SEED]`: runs targets with changed inputs; the first that fails is saved and ends the run.
#![allow(clippy::expect_used, reason = "a tool for developers")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pointsman_fuzz::{Target, fuzz, targets};

/// An input that takes longer than this has found something as well.
const SLOW: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let number = |text: Option<String>, usual: u64| text.and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (seconds, seed) = (number(arguments.next(), 10), number(arguments.next(), 1));
    let chosen: Vec<Target> = targets()
        .into_iter()
        .filter(|target| name.is_empty() || target.name == name)
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
        eprintln!("there is no target `{name}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut failed = false;
    for target in chosen {
        failed |= !run(&target, Duration::from_secs(seconds), seed);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run(target: &Target, time: Duration, seed: u64) -> bool {
    let (start, mut last) = (Instant::now(), Vec::new());
    let mut began = start;
    let result = catch_unwind(AssertUnwindSafe(|| {
        fuzz(target, seed, |_, input| {
            assert!(began.elapsed() < SLOW, "the input took {:?}", began.elapsed());
            last.clear();
            last.extend_from_slice(input);
            began = Instant::now();
            start.elapsed() < time
        })
    }));
    match result {
        Ok(found) => {
            println!(
                "{:<24} {:>10} inputs, {:>5} places, seed {seed}",
                target.name, found.inputs, found.places
            );
            true
        }
        Err(_) => {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz/found");
            std::fs::create_dir_all(&folder).expect("a folder for what was found");
            let path = folder.join(format!("{}-{seed}", target.name));
            std::fs::write(&path, &last).expect("saved");
            let hex: String = last.iter().map(|byte| format!("{byte:02x}")).collect();
            println!(
                "{}: failed, seed {seed}, saved as {}\n{hex}",
                target.name,
                path.display()
            );
            false
        }
    }
}
