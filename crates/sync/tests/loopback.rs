//! Replicas, a router that knows revisions, and clients, on 127.0.0.1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "loopback/authentication.rs"]
mod authentication;
#[path = "loopback/control.rs"]
mod control;
#[path = "loopback/documents.rs"]
mod documents;
#[path = "loopback/events.rs"]
mod events;
#[path = "loopback/harness.rs"]
mod harness;
#[path = "loopback/http.rs"]
mod http;
#[path = "loopback/limits.rs"]
mod limits;
#[path = "loopback/moves.rs"]
mod moves;
#[path = "loopback/repeats.rs"]
mod repeats;
#[path = "loopback/replication.rs"]
mod replication;
#[path = "loopback/sessions.rs"]
mod sessions;
#[path = "loopback/streams.rs"]
mod streams;
#[path = "loopback/units.rs"]
mod units;
