//! `kubectl pointsman`: see and steer rollouts.
//!
//! [`view`], [`intent`] and [`goal`] are pure: what is shown, what is asked for and when following ends are matters of
//! the objects alone.
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
pub mod complete;
pub mod error;
pub mod follow;
pub mod goal;
pub mod intent;
pub mod paint;
pub mod table;
pub mod view;
