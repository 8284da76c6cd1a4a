//! Replication of documents: which replica holds which, and what one copy of one document does. Pure: time, messages and
//! membership come in, messages and effects go out, so that a simulation runs the same code as the server.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod copy;
pub mod members;
mod message;
mod parts;
mod placement;
mod view;

pub use copy::{DocumentCopy, Effect, Settings, WriteError};
pub use message::Message;
pub use parts::parts as split;
pub use placement::{Copies, holders};
pub use view::{Member, View};

/// Replicas that hold a document of a placed space, unless told otherwise.
pub const COPIES: usize = 2;
/// Bytes of a document's name at most.
pub const NAME_BYTES_MAX: usize = 256;
