//! The sync service: live WebSocket sessions over shared documents, its client and its load tool.
//!
//! [`server`] is one replica, [`client`] one session that survives moves and cuts, [`load`] many of them with a report.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod client;
mod hex;
pub mod load;
mod points;
pub mod server;
pub mod spaces;
pub mod store;
