//! A real cluster, the operator in it, and live clients: what the end-to-end tests, the demo and the benches share.
// Indexing a JSON value gives null where there is nothing; it does not panic.
#![allow(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cluster;
pub mod command;
pub mod install;
pub mod load;
pub mod plain;
pub mod report;
pub mod rollout;
pub mod screen;
