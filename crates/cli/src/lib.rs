//! `kubectl pointsman`: see and steer rollouts.
//!
//! [`view`] and [`intent`] are pure: what is shown and what is asked for follow from the objects alone.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod arguments;
pub mod cluster;
pub mod commands;
pub mod follow;
pub mod intent;
pub mod paint;
pub mod table;
pub mod view;
