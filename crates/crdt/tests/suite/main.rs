//! One suite for every type and every engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod bounds;
mod engines;
mod garbage;
mod hostile;
#[cfg(feature = "json")]
mod json;
mod laws;
mod model;
mod random;
mod regressions;
mod sample;
mod sequences;
mod typescript;
mod vectors;
