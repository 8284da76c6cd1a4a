//! Where documents are stored: one trait, embedded by default.
//!
//! A store is a snapshot and a log of deltas for each document. A write is either whole or not there after a crash, and
//! writes of one document keep their order.

mod directory;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use directory::Directory;
pub use memory::Memory;

/// Why the storage cannot do what is asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or file cannot be used.
    #[error("data: {} cannot be used: {reason}; give a directory that this process may write to", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Reading or writing failed. What was not confirmed is not stored.
    #[error("the storage failed: {0}")]
    Failed(Arc<str>),
    /// The storage has ended.
    #[error("the storage has ended")]
    Ended,
}

/// What is written for one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Adds deltas to the log.
    Append(Vec<Bytes>),
    /// Replaces snapshot and log.
    Snapshot(Bytes),
    /// Removes snapshot and log.
    Erase,
}

/// A document's snapshot, if any, and its log; their join is the state.
pub type Parts = Vec<Bytes>;

/// Where documents are stored. Implementations order the writes of one document, and confirm what survives a crash.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Names of all documents.
    fn names(&self) -> Result<Vec<String>, StoreError>;

    /// All parts of a document; none when it is not stored. Sees every write that was asked for before.
    fn load(&self, name: &str) -> oneshot::Receiver<Result<Parts, StoreError>>;

    /// Writes, and answers once it is stored. Never waits: the number of writes on the way is bounded by the documents,
    /// which each have one.
    fn write(&self, name: &str, write: Write) -> oneshot::Receiver<Result<(), StoreError>>;

    /// A small value of the replica itself.
    fn get(&self, key: &'static str) -> Result<Option<Bytes>, StoreError>;

    /// Sets a small value of the replica itself, and returns once it is stored.
    fn set(&self, key: &'static str, value: &[u8]) -> Result<(), StoreError>;
}
