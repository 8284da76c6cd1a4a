//! What comes in: packets, what calls ask for, and what streams tell.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use pointsman_wire::{PACKET_BYTES_MAX, Packet, ReadError, Received};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::calls::{Call, Job};
use super::{Ask, End, Session, close};
use crate::server::streams::{Blob, Report};
use crate::server::units::Fault;

/// Bytes of a stream that may be on the way where the dialect has credit.
const WINDOW_BYTES: u64 = 256 * 1024;
const CHUNK_BYTES: usize = 32 * 1024;
/// A client of Metacom puts at most so many chunks in order before it reads them.
const METACOM_CHUNKS: u64 = 32;
const METACOM_CHUNK_BYTES_MIN: u64 = 64 * 1024;
const METACOM_CHUNK_BYTES_MAX: u64 = 512 * 1024;

impl Session {
    pub(super) async fn message(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), End> {
        self.heard = tokio::time::Instant::now();
        let read = match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.spend(bytes.len())?;
                self.codec.read_binary(&bytes)
            }
            Some(Ok(Message::Text(text))) => {
                self.spend(text.len())?;
                self.codec.read_text(Bytes::from(text))
            }
            Some(Ok(Message::Pong(bytes))) => {
                self.confirmed(&bytes);
                return Ok(());
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => return Ok(()),
            Some(Err(SocketError::Capacity(_))) => {
                self.hub
                    .service
                    .counts
                    .packets_refused
                    .fetch_add(1, Ordering::Relaxed);
                return Err(close(CloseCode::Size, "packet is too large"));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        match read {
            Ok(Some(received)) => self.packet(received).await,
            Ok(None) => Ok(()),
            Err(error) => self.refused(&error).await,
        }
    }

    /// Counts what somebody who has not signed in sends.
    fn spend(&mut self, bytes: usize) -> Result<(), End> {
        if let Some(stranger) = &mut self.stranger {
            match stranger.bytes_left.checked_sub(bytes) {
                Some(left) => stranger.bytes_left = left,
                None => return Err(self.unknown()),
            }
        }
        Ok(())
    }

    async fn refused(&mut self, error: &ReadError) -> Result<(), End> {
        self.hub
            .service
            .counts
            .packets_refused
            .fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "a packet is refused");
        if let Some(answer) = error.answer() {
            return self.write(Message::Text(answer.into())).await;
        }
        let reason = match error {
            ReadError::Text => "packets of this dialect are binary",
            ReadError::Oversize { .. } => "packet is too large",
            _ => "packet is malformed",
        };
        match error.close_code() {
            Some(code) => Err(close(CloseCode::from(code), reason)),
            None => Ok(()),
        }
    }

    async fn packet(&mut self, received: Received) -> Result<(), End> {
        let Received { packet, meta } = received;
        match packet {
            Packet::Call { id, method, payload } => {
                let arguments = payload;
                self.call(Call {
                    id,
                    method,
                    arguments,
                    meta,
                })
                .await
            }
            Packet::Ping { .. } => self.send(&Packet::Pong { seen: 0 }).await,
            Packet::StreamInit { id, size, .. } => {
                let window = self.binary().then_some(WINDOW_BYTES);
                let begun = self.streams.begin(id, size, window);
                self.or_abort(id, begun).await
            }
            Packet::StreamChunk { id, payload } => {
                let counts = &self.hub.service.counts;
                counts
                    .stream_bytes_in
                    .fetch_add(payload.len() as u64, Ordering::Relaxed);
                let taken = self.streams.chunk(id, payload);
                self.or_abort(id, taken).await
            }
            Packet::StreamEnd { id } => {
                let ended = self.streams.end(id).map(|done| {
                    if let Some(done) = done {
                        self.jobs.push_back(Job::Keep { id, done });
                    }
                });
                self.or_abort(id, ended).await
            }
            Packet::StreamAbort { id, .. } => {
                self.streams.forget(id);
                Ok(())
            }
            Packet::Credit { id, bytes } => {
                self.streams.grant(id, bytes);
                Ok(())
            }
            Packet::Delta {
                id,
                document,
                payload,
            } => self.delta(id, document, &payload).await,
            Packet::Digest {
                id,
                document,
                payload,
            } => self.digest(id, document, &payload).await,
            // The others are for the other end.
            _ => Ok(()),
        }
    }

    async fn or_abort(
        &mut self,
        id: i64,
        done: Result<(), crate::server::streams::Refusal>,
    ) -> Result<(), End> {
        match done {
            Ok(()) => Ok(()),
            Err(refusal) => self.abort(id, refusal.status, &refusal.reason).await,
        }
    }

    // === what calls ask for ===

    pub(super) async fn asks(&mut self) -> Result<(), End> {
        while let Some(ask) = self.connection.next_ask() {
            match ask {
                Ask::Event { name, payload } => self.event(&name, payload).await?,
                Ask::Take { stream, answer } => {
                    let id = self.codec.stream_id(&stream).filter(|id| *id > 0);
                    let taken = match id {
                        Some(id) => self.streams.take(id).map(|(upload, done)| {
                            if let Some(done) = done {
                                self.jobs.push_front(Job::Keep { id, done });
                            }
                            upload
                        }),
                        None => Err(Fault::new(
                            400,
                            "streamId: give the id of a stream that you have begun",
                        )),
                    };
                    let _ = answer.send(taken);
                }
                Ask::Send { name, blob, answer } => {
                    let sent = self.begin(name, blob).await?;
                    let _ = answer.send(sent);
                }
            }
        }
        Ok(())
    }

    /// Tells the client of a stream; its bytes follow.
    async fn begin(&mut self, name: String, blob: Blob) -> Result<Result<serde_json::Value, Fault>, End> {
        let size = blob.size;
        let (chunk_bytes, credit) = if self.binary() {
            (CHUNK_BYTES, WINDOW_BYTES)
        } else {
            let chunk = size
                .div_ceil(METACOM_CHUNKS)
                .clamp(METACOM_CHUNK_BYTES_MIN, METACOM_CHUNK_BYTES_MAX);
            (to_usize(chunk), chunk.saturating_mul(METACOM_CHUNKS))
        };
        let id = match self.streams.send(blob, chunk_bytes, to_usize(credit)) {
            Ok(id) => id,
            Err(fault) => return Ok(Err(fault)),
        };
        self.hub.service.counts.files_sent.fetch_add(1, Ordering::Relaxed);
        self.send(&Packet::StreamInit { id, size, name }).await?;
        Ok(Ok(self.codec.stream_value(id).unwrap_or_else(|| id.into())))
    }

    // === what streams tell ===

    pub(super) async fn report(&mut self, report: Report) -> Result<(), End> {
        match report {
            Report::Taken { id, bytes } => match self.streams.taken(id, bytes) {
                Some(bytes) => self.send(&Packet::Credit { id, bytes }).await,
                None => Ok(()),
            },
            Report::Chunk { id, bytes } if self.streams.sends(id) => {
                let counts = &self.hub.service.counts;
                counts
                    .stream_bytes_out
                    .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let sent = bytes.len();
                self.send(&Packet::StreamChunk { id, payload: bytes }).await?;
                self.confirm(id, sent).await
            }
            Report::Ended { id } if self.streams.sends(id) => {
                self.streams.forget(id);
                self.send(&Packet::StreamEnd { id }).await
            }
            Report::Broken { id, refusal } => {
                self.streams.forget(id);
                self.abort(id, refusal.status, &refusal.reason).await
            }
            Report::Chunk { .. } | Report::Ended { .. } | Report::Unstuck => Ok(()),
        }
    }

    /// Metacom has no credit: a ping of the WebSocket behind the chunks tells by its pong that they have arrived.
    async fn confirm(&mut self, id: i64, sent: usize) -> Result<(), End> {
        if self.binary() {
            return Ok(());
        }
        let every = to_usize(METACOM_CHUNK_BYTES_MIN.saturating_mul(METACOM_CHUNKS / 2));
        match self.streams.confirm(id, sent, every) {
            Some(bytes) => {
                let count = u64::try_from(bytes).unwrap_or(u64::MAX);
                let text = [id.to_be_bytes(), count.to_be_bytes()].concat();
                self.write(Message::Ping(Bytes::from(text))).await
            }
            None => Ok(()),
        }
    }

    fn confirmed(&mut self, bytes: &[u8]) {
        if let Some((id, count)) = bytes.split_first_chunk::<8>()
            && let Ok(count) = <[u8; 8]>::try_from(count)
            && !self.binary()
        {
            self.streams
                .grant(i64::from_be_bytes(*id), u64::from_be_bytes(count));
        }
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(PACKET_BYTES_MAX)
}
