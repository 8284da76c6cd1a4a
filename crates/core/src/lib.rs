//! The decisions of Pointsman, as pure functions of values.
//!
//! Nothing here reads a clock, draws a random number, logs or does I/O: `now` comes in, a whole desired world and
//! the time of the next look go out. The shell in `src/` observes, persists and applies.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod invariants;
pub mod rollout;
