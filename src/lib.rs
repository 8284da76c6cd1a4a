//! The operator: the imperative shell around the pure core.
//!
//! [`app`] wires it, [`rollout`] is the controller, readable from top to bottom; `docs/ARCHITECTURE.md` is the map.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod kubernetes;
pub mod revision;
pub mod rollout;
pub mod telemetry;
pub mod watches;
