//! The custom resources of Pointsman: structs, schemas and CEL rules, and nothing else.
//!
//! The YAML in `crds/` is generated from here (`make crds`); a test fails when it drifts.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod crds;
pub mod duration;
pub mod labels;
pub mod rollout;
