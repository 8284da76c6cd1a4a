//! What comes in: packets, what calls ask for, and what streams tell.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use pointsman_wire::{Dialect, Packet, ReadError, Received};
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::calls::{Call, Job};
use super::{Ask, End, Session, close};
use crate::server::streams::{Blob, Happened, Step, Table};
use crate::server::units::Fault;

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
            Packet::StreamInit { .. }
            | Packet::StreamChunk { .. }
            | Packet::StreamEnd { .. }
            | Packet::StreamAbort { .. }
            | Packet::Credit { .. } => self.stream(packet).await,
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

    // === streams ===

    /// Made with the first stream: most sessions have none.
    fn table(&mut self) -> &mut Table {
        let dialect = self.codec.dialect().unwrap_or(Dialect::MetacomInteger);
        let size_max = self.hub.options.limits.file_bytes_max;
        self.streams
            .get_or_insert_with(|| Box::new(Table::new(dialect, size_max)))
    }

    async fn stream(&mut self, packet: Packet) -> Result<(), End> {
        if let Packet::StreamChunk { payload, .. } = &packet {
            let bytes = payload.len() as u64;
            self.hub
                .service
                .counts
                .stream_bytes_in
                .fetch_add(bytes, Ordering::Relaxed);
        }
        match self.table().take(packet) {
            Ok(step) => self.step(step).await,
            Err(error) => {
                self.hub
                    .service
                    .counts
                    .packets_refused
                    .fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "a stream breaks the rules");
                Err(close(CloseCode::Protocol, "packet of a stream breaks the rules"))
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Send(packets) => self.packets(&packets).await,
            Step::Keep { id, done } => {
                self.jobs.push_back(Job::Keep { id, done });
                Ok(())
            }
            Step::Confirm { id, packets } => {
                self.packets(&packets).await?;
                // A ping of the WebSocket behind the chunks tells by its pong that they have arrived.
                let text = Bytes::copy_from_slice(&id.to_be_bytes());
                self.write(Message::Ping(text)).await
            }
        }
    }

    pub(super) async fn packets(&mut self, packets: &[Packet]) -> Result<(), End> {
        for packet in packets {
            let counts = &self.hub.service.counts;
            match packet {
                Packet::StreamChunk { payload, .. } => {
                    let bytes = payload.len() as u64;
                    counts.stream_bytes_out.fetch_add(bytes, Ordering::Relaxed);
                }
                Packet::StreamAbort { .. } => {
                    counts.streams_aborted.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            self.send(packet).await?;
        }
        Ok(())
    }

    pub(super) async fn happened(&mut self, happened: Happened) -> Result<(), End> {
        let step = match happened {
            Happened::Reported(report) => self.table().report(report),
            Happened::Read(part) => self.table().read(part),
            Happened::Unstuck => return Ok(()),
        };
        self.step(step).await
    }

    fn confirmed(&mut self, bytes: &[u8]) {
        if let Ok(id) = <[u8; 8]>::try_from(bytes)
            && let Some(streams) = &mut self.streams
        {
            streams.confirmed(i64::from_be_bytes(id));
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
                        Some(id) => self.table().claim(id),
                        None => Err(Fault::new(
                            400,
                            "streamId: give the id of a stream that you have begun",
                        )),
                    };
                    let taken = taken.map(|(upload, done)| {
                        if let (Some(done), Some(id)) = (done, id) {
                            self.jobs.push_front(Job::Keep { id, done });
                        }
                        upload
                    });
                    let _ = answer.send(taken);
                }
                Ask::Send { name, blob, answer } => {
                    let sent = self.begin(&name, blob).await?;
                    let _ = answer.send(sent);
                }
            }
        }
        Ok(())
    }

    /// Tells the client of a stream; its bytes follow.
    async fn begin(&mut self, name: &str, blob: Blob) -> Result<Result<Value, Fault>, End> {
        let opened = match self.table().send(name, blob) {
            Ok(opened) => opened,
            Err(fault) => return Ok(Err(fault)),
        };
        let id = opened.id;
        self.hub.service.counts.files_sent.fetch_add(1, Ordering::Relaxed);
        self.ends.extend(opened.end);
        self.send(&opened.init).await?;
        Ok(Ok(self.codec.stream_value(id).unwrap_or_else(|| id.into())))
    }
}
