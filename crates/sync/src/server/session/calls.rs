//! The methods that a session may call.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Session;
use crate::document::{NAME_BYTES_MAX, Rooms};
use crate::server::documents::WriteError;

const ROOMS_PER_SESSION_MAX: usize = 256;

/// Status, 0 for success, and result or error.
type Answer = (u64, Value);

impl Session {
    /// Answers a call, or fails it on purpose.
    pub(super) async fn call(&mut self, method: &str, payload: &Bytes) -> Answer {
        let number = self.hub.counts.requests.fetch_add(1, Ordering::Relaxed);
        let (status, value) = if fails(number, self.hub.options.fail_rate_percent) {
            (500, json!({"error": "failed on purpose (--fail-rate)"}))
        } else {
            match serde_json::from_slice::<Value>(payload) {
                Ok(arguments) => self.method(method, arguments).await,
                Err(error) => refused(400, &format!("arguments are not JSON: {error}")),
            }
        };
        if status >= 500 {
            self.hub.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        (status, value)
    }

    async fn method(&mut self, method: &str, arguments: Value) -> Answer {
        match method {
            "echo" => (0, arguments),
            "room/join" | "counter/set" | "counter/get" => {
                let room = arguments.get("room").and_then(Value::as_str);
                let Some(room) = room.filter(|room| (1..=NAME_BYTES_MAX).contains(&room.len())) else {
                    let text = format!("room: give the name of a room, text of 1 to {NAME_BYTES_MAX} bytes");
                    return refused(400, &text);
                };
                match method {
                    "room/join" => self.join(room),
                    "counter/set" => self.set(room, arguments.get("count")).await,
                    _ => self.get(room, arguments.get("entries") == Some(&Value::Bool(true))),
                }
            }
            _ => refused(404, &format!("no method {method}")),
        }
    }

    fn join(&mut self, room: &str) -> Answer {
        if !self.rooms.contains_key(room) {
            if self.rooms.len() >= ROOMS_PER_SESSION_MAX {
                return refused(
                    400,
                    &format!("room: at most {ROOMS_PER_SESSION_MAX} rooms a session"),
                );
            }
            let values = self.hub.documents.follow(room);
            self.rooms.insert(room.to_owned(), values);
        }
        let value = self.rooms.get(room).map_or(0, |values| *values.borrow());
        (0, json!({"value": value}))
    }

    async fn set(&mut self, room: &str, count: Option<&Value>) -> Answer {
        let Some(count) = count.and_then(Value::as_u64) else {
            return refused(400, "count: give a whole number, this writer's own total");
        };
        let written = match Rooms::delta(room, &self.writer, count) {
            Ok(delta) => self.hub.documents.write(delta).await,
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => (0, json!({"value": self.hub.documents.value(room)})),
            Err(error @ WriteError::Refused(_)) => refused(400, &error.to_string()),
            Err(error @ WriteError::NotHeld) => refused(503, &error.to_string()),
        }
    }

    fn get(&self, room: &str, entries: bool) -> Answer {
        let mut answer = json!({"value": self.hub.documents.value(room)});
        if entries && let Some(fields) = answer.as_object_mut() {
            fields.insert("entries".to_owned(), json!(self.hub.documents.writers(room)));
        }
        (0, answer)
    }
}

fn refused(status: u64, error: &str) -> Answer {
    (status, json!({"error": error}))
}

/// Evenly spread, so that a demonstration does not hang on luck.
fn fails(number: u64, percent: u8) -> bool {
    let percent = u64::from(percent.min(100));
    number.wrapping_add(1).wrapping_mul(percent) / 100 != number.wrapping_mul(percent) / 100
}
