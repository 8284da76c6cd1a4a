//! Replicas, a router that knows revisions, and clients, on 127.0.0.1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "loopback/control.rs"]
mod control;
#[path = "loopback/harness.rs"]
mod harness;
#[path = "loopback/moves.rs"]
mod moves;
#[path = "loopback/replication.rs"]
mod replication;
#[path = "loopback/sessions.rs"]
mod sessions;
