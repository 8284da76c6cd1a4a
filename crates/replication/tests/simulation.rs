//! Many replicas of some documents under partitions, crashes, lost disks, wrong clocks and releases, in virtual time.
//!
//! Every run is a function of its seed. `POINTSMAN_SEED=n` runs one seed and prints what happens; `POINTSMAN_SEEDS=n`
//! runs more of them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod simulation {
    pub mod check;
    pub mod network;
    pub mod node;
    pub mod random;
    pub mod world;
}

use simulation::world::{Plan, World};

/// Runs every seed, and says which one failed and how to see it.
fn seeds(plan: &Plan) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let one: Option<u64> = number("POINTSMAN_SEED");
    let range = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("POINTSMAN_SEEDS").unwrap_or(plan.seeds),
    };
    let mut acknowledged = 0;
    for seed in range {
        let run = std::panic::catch_unwind(|| World::run(plan, seed, one.is_some()));
        match run {
            Ok(writes) => acknowledged += writes,
            Err(_) => panic!("seed {seed} fails; see it with POINTSMAN_SEED={seed}"),
        }
    }
    // A run in which nothing is acknowledged shows nothing.
    assert!(
        one.is_some() || acknowledged > 20 * plan.seeds,
        "{acknowledged} writes"
    );
    println!("{}: {acknowledged} acknowledged writes, none lost", plan.name);
}

#[test]
fn replicas_converge_and_keep_what_they_acknowledged() {
    seeds(&Plan {
        name: "partitions, crashes, lost disks",
        seeds: 60,
        ..Plan::default()
    });
}

#[test]
fn clocks_five_minutes_wrong_hold_nothing_up() {
    seeds(&Plan {
        name: "clocks wrong by up to five minutes",
        seeds: 20,
        skew_ms: 300_000,
        ..Plan::default()
    });
}

#[test]
fn a_release_hands_every_document_over() {
    seeds(&Plan {
        name: "replicas replaced one by one under writes",
        seeds: 20,
        faults: false,
        releases: 6,
        ..Plan::default()
    });
}

#[test]
fn everybody_holds_what_is_everywhere() {
    seeds(&Plan {
        name: "documents that everybody holds",
        seeds: 20,
        everywhere: true,
        ..Plan::default()
    });
}

/// A fault between just two, that nobody else sees.
#[test]
fn two_that_never_see_each_other_have_the_same_through_the_third() {
    seeds(&Plan {
        name: "two of three apart",
        seeds: 20,
        nodes: 3,
        faults: false,
        apart: true,
        ..Plan::default()
    });
}
