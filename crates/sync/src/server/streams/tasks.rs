//! The tasks that carry files, and what they tell the task of their session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Blob, BlobError, BlobWriter};
use crate::server::units::Fault;

/// Why a stream is not taken, or no longer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Refusal {
    pub(in crate::server) status: u16,
    pub(in crate::server) reason: String,
}

pub(super) fn refusal(status: u16, reason: impl Into<String>) -> Refusal {
    Refusal {
        status,
        reason: reason.into(),
    }
}

/// What the tasks of streams tell the task of their session.
pub(in crate::server) enum Report {
    /// So many bytes of an upload were taken.
    Taken { id: i64, bytes: u64 },
    /// The next bytes of a download.
    Chunk { id: i64, bytes: Bytes },
    /// A download is complete.
    Ended { id: i64 },
    /// It cannot go on.
    Broken { id: i64, refusal: Refusal },
    /// There is room to read on.
    Unstuck,
}

pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// An upload that a method took.
#[derive(Debug)]
pub(in crate::server) struct Upload {
    pub(super) id: i64,
    /// Bytes that are to come.
    pub(in crate::server) size: u64,
    pub(super) pieces: mpsc::Receiver<Piece>,
    pub(super) reports: mpsc::Sender<Report>,
    /// Resolved once the file is kept.
    pub(super) done: oneshot::Sender<()>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "{} bytes", bytes.len()),
            Self::End => formatter.write_str("end"),
        }
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken { id, bytes } => write!(formatter, "{id}: {bytes} taken"),
            Self::Chunk { id, bytes } => write!(formatter, "{id}: {} bytes", bytes.len()),
            Self::Ended { id } => write!(formatter, "{id}: ended"),
            Self::Broken { id, refusal } => write!(formatter, "{id}: {refusal:?}"),
            Self::Unstuck => formatter.write_str("unstuck"),
        }
    }
}

impl Upload {
    /// Writes everything and keeps it; tells the session how that went.
    pub(in crate::server) async fn store(mut self, writer: Box<dyn BlobWriter>) {
        match self.write(writer).await {
            Ok(true) => {
                let _ = self.done.send(());
            }
            // Its session ended or it was given up: the writer leaves nothing.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "an upload failed");
                self.give_up(&error).await;
            }
        }
    }

    /// Ends the stream without taking it.
    pub(in crate::server) async fn give_up(self, error: &BlobError) {
        let fault = Fault::new(error.status(), error.to_string());
        let refusal = refusal(fault.status, fault.public_message());
        let _ = self.reports.send(Report::Broken { id: self.id, refusal }).await;
    }

    async fn write(&mut self, mut writer: Box<dyn BlobWriter>) -> Result<bool, BlobError> {
        while let Some(piece) = self.pieces.recv().await {
            match piece {
                Piece::Bytes(bytes) => {
                    let count = bytes.len() as u64;
                    writer.write(bytes).await?;
                    let taken = Report::Taken {
                        id: self.id,
                        bytes: count,
                    };
                    if self.reports.send(taken).await.is_err() {
                        return Ok(false);
                    }
                }
                Piece::End => {
                    writer.commit().await?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Reads a file and reports it.
pub(super) async fn carry(
    id: i64,
    mut blob: Blob,
    chunk_bytes: usize,
    credit: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
) {
    let mut left = blob.size;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(chunk_bytes);
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(permit) = credit.acquire_many(wanted).await else {
            return;
        };
        permit.forget();
        let bytes = match blob.reader.read(count).await {
            Ok(bytes) if bytes.len() == count => bytes,
            Ok(_) | Err(_) => {
                let refusal = refusal(500, "the file cannot be read to its end");
                let _ = reports.send(Report::Broken { id, refusal }).await;
                return;
            }
        };
        left = left.saturating_sub(count as u64);
        if reports.send(Report::Chunk { id, bytes }).await.is_err() {
            return;
        }
    }
    let _ = reports.send(Report::Ended { id }).await;
}
