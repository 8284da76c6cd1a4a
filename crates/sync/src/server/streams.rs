//! Files in and out: where they are kept, and the tasks that carry them.
//!
//! An upload has a task of its own, so that a slow disk holds up nobody's packets. The session's task owns the socket and
//! passes pieces on.

mod directory;
mod memory;
mod table;
mod tasks;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use directory::Directory;
pub use memory::Memory;
pub(super) use table::{Happened, Step, Table};
pub(super) use tasks::Upload;

/// Bytes of a file's name at most.
pub const NAME_BYTES_MAX: usize = 200;

/// Why a file cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The name cannot be used. Another one can.
    #[error(
        "name: give 1 to {NAME_BYTES_MAX} bytes without '/', '\\' and control characters, and no '.' in front"
    )]
    Name,
    /// Nothing has that name.
    #[error("name: there is no file {0}")]
    Unknown(String),
    /// The file is larger than one may be.
    #[error("size: a file has at most {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// All files together would be too large. There may be room later.
    #[error("no room for {bytes} bytes beside the files that are here")]
    Full {
        /// What was asked for.
        bytes: u64,
    },
    /// More or fewer bytes came than were said.
    #[error("size: {expected} bytes were said, {got} came")]
    Size {
        /// What was said.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The disk fails. It may work again later.
    #[error("the disk fails: {0}")]
    Disk(#[from] std::io::Error),
}

impl BlobError {
    /// Like HTTP's.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Name | Self::Size { .. } => 400,
            Self::Unknown(_) => 404,
            Self::TooLarge { .. } => 413,
            Self::Full { .. } => 507,
            Self::Disk(_) => 500,
        }
    }
}

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files together, unfinished ones included.
    pub total_bytes_max: u64,
}

/// A place for files.
pub trait Blobs: Send + Sync + 'static {
    /// Begins a file of exactly so many bytes. Until it is committed nothing is seen of it, and the one of the same
    /// name stays as it is.
    fn create<'a>(
        &'a self,
        name: &'a str,
        size: u64,
    ) -> BoxFuture<'a, Result<Box<dyn BlobWriter>, BlobError>>;
    /// Opens a file. It is read as it is now, even when it is replaced meanwhile.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Blob, BlobError>>;
    /// Bytes kept now, unfinished files included.
    fn bytes(&self) -> u64;
}

/// A file that is being written. Dropped before it is committed, it leaves nothing.
pub trait BlobWriter: Send {
    /// Adds bytes; fails when they are more than were said.
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;
    /// Keeps the file; fails when bytes are missing. Afterwards it survives a crash, where there is a disk.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>>;
}

/// A file that is being read.
pub struct Blob {
    /// Its bytes.
    pub size: u64,
    /// Where they come from.
    pub reader: Box<dyn BlobReader>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Blob").field("size", &self.size).finish()
    }
}

/// The bytes of a file.
pub trait BlobReader: Send {
    /// The next bytes, exactly so many unless the file ends before.
    fn read(&mut self, bytes_max: usize) -> BoxFuture<'_, Result<Bytes, BlobError>>;
}

/// True for what may name a file. It goes into a directory as it is.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && !name
            .chars()
            .any(|one| one == '/' || one == '\\' || one.is_control())
}

/// Bytes in use, so that the sum of all files stays bounded while several are written at once.
#[derive(Debug, Default)]
struct Budget {
    used: std::sync::atomic::AtomicU64,
}

impl Budget {
    fn take(&self, bytes: u64, max: u64) -> Result<(), BlobError> {
        use std::sync::atomic::Ordering::Relaxed;
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        let taken = self.used.fetch_update(Relaxed, Relaxed, fits);
        taken.map(drop).map_err(|_| BlobError::Full { bytes })
    }

    fn give_back(&self, bytes: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        self.used.fetch_sub(bytes, Relaxed);
    }

    fn used(&self) -> u64 {
        self.used.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Checks name and size before anything is reserved.
fn admit(name: &str, size: u64, limits: BlobLimits) -> Result<(), BlobError> {
    if !is_name(name) {
        return Err(BlobError::Name);
    }
    if size > limits.file_bytes_max {
        return Err(BlobError::TooLarge {
            max: limits.file_bytes_max,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
