//! Replicas as processes that are killed, lose their disks, are replaced, and become more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "replicas/generations.rs"]
mod generations;
#[path = "replicas/kills.rs"]
mod kills;
#[path = "replicas/more.rs"]
mod more;
#[path = "replicas/release.rs"]
mod release;
#[path = "replicas/service.rs"]
mod service;
#[path = "replicas/watcher.rs"]
mod watcher;
