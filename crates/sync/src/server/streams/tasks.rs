//! Uploads that were taken: each has a task that writes it.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{BlobError, BlobWriter};
use crate::server::units::Fault;

/// Why a stream cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: String,
}

/// What the task of an upload tells the task of its session.
#[derive(Debug)]
pub(in crate::server) enum Report {
    /// So many bytes were taken.
    Taken { id: i64, bytes: u64 },
    /// It cannot go on.
    Broken { id: i64, refusal: Refusal },
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
        let refusal = Refusal {
            status: fault.status,
            reason: fault.public_message().to_owned(),
        };
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
