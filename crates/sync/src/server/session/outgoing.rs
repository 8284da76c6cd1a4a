//! What goes out: answers, events, changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::SinkExt as _;
use pointsman_wire::{Frame, Origin, Packet};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

use super::{End, Session, WRITE_WITHIN};
use crate::server::hub::lock;
use crate::server::units::Published;

impl Session {
    pub(super) async fn changes(&mut self) -> Result<(), End> {
        let changed: Vec<String> = lock(&self.connection.rooms)
            .iter_mut()
            .filter(|(_, changes)| changes.has_changed().unwrap_or(false))
            .map(|(room, changes)| {
                changes.borrow_and_update();
                room.clone()
            })
            .collect();
        for room in changed {
            // A room that does not answer now is looked at again with its next change.
            let Ok(value) = self.hub.documents.counter_value(&room).await else {
                continue;
            };
            let change = json!({"room": room, "value": value});
            self.event("counter/changed", Bytes::from(change.to_string()))
                .await?;
        }
        Ok(())
    }

    pub(super) async fn publish(
        &mut self,
        event: Result<Arc<Published>, broadcast::error::RecvError>,
    ) -> Result<(), End> {
        match event {
            // Nobody hears anything before it is known who it is.
            Ok(_) if self.stranger.is_some() => Ok(()),
            Ok(event) => {
                let (name, payload) = (event.name.clone(), event.payload.clone());
                self.tell(name, event.origin, payload).await
            }
            Err(broadcast::error::RecvError::Lagged(count)) => {
                self.hub
                    .service
                    .counts
                    .events_missed
                    .fetch_add(count, Ordering::Relaxed);
                let missed = json!({"count": count});
                self.event("session/missed", Bytes::from(missed.to_string()))
                    .await
            }
            Err(broadcast::error::RecvError::Closed) => Err(End::Gone),
        }
    }

    pub(super) async fn event(&mut self, name: &str, payload: Bytes) -> Result<(), End> {
        self.tell(name.to_owned(), None, payload).await
    }

    async fn tell(&mut self, name: String, origin: Option<Origin>, payload: Bytes) -> Result<(), End> {
        self.sequence = self.sequence.saturating_add(1);
        self.send(&Packet::Event {
            sequence: self.sequence,
            name,
            origin,
            payload,
        })
        .await
    }

    pub(super) async fn answer(
        &mut self,
        id: i64,
        status: u16,
        value: &Value,
        meta: Option<&[u8]>,
    ) -> Result<(), End> {
        let packet = |status: u16, value: &Value| Packet::Callback {
            id,
            status: status.into(),
            payload: Bytes::from(value.to_string()),
        };
        let mut frame = self.codec.write(&packet(status, value), meta);
        if frame.is_err() {
            let error = json!({"error": "the answer does not fit into one packet; ask for less"});
            frame = self.codec.write(&packet(413, &error), None);
        }
        match frame {
            Ok(frame) => self.write(message(frame)).await,
            Err(error) => {
                tracing::debug!(%error, "an answer cannot be written");
                Ok(())
            }
        }
    }

    /// Sends a packet; one that the dialect cannot say is left out.
    pub(super) async fn send(&mut self, packet: &Packet) -> Result<(), End> {
        match self.codec.write(packet, None) {
            Ok(frame) => self.write(message(frame)).await,
            Err(error) => {
                tracing::debug!(%error, "a packet cannot be written");
                Ok(())
            }
        }
    }

    pub(super) async fn write(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(WRITE_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

pub(super) fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(text.into()),
        Frame::Binary(bytes) => Message::Binary(bytes),
    }
}
