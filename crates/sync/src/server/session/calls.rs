//! The methods that a session may call.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Session;
use crate::server::documents::{DocumentError, ROOM_BYTES_MAX, room_name};

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
                let Some(room) = room.filter(|room| (1..=ROOM_BYTES_MAX).contains(&room.len())) else {
                    let text = format!("room: give the name of a room, text of 1 to {ROOM_BYTES_MAX} bytes");
                    return refused(400, &text);
                };
                match method {
                    "room/join" => self.join(room).await,
                    "counter/set" => self.set(room, arguments.get("count")).await,
                    _ => {
                        self.get(room, arguments.get("entries") == Some(&Value::Bool(true)))
                            .await
                    }
                }
            }
            _ => refused(404, &format!("no method {method}")),
        }
    }

    async fn join(&mut self, room: &str) -> Answer {
        if !self.rooms.contains_key(room) {
            if self.rooms.len() >= ROOMS_PER_SESSION_MAX {
                return refused(
                    400,
                    &format!("room: at most {ROOMS_PER_SESSION_MAX} rooms a session"),
                );
            }
            match self.hub.documents.watch(&room_name(room)).await {
                Ok(changes) => self.rooms.insert(room.to_owned(), changes),
                Err(error) => return failed(&error),
            };
        }
        self.value(room).await
    }

    async fn value(&mut self, room: &str) -> Answer {
        match self.hub.documents.counter_value(room).await {
            Ok(value) => (0, json!({"value": value})),
            Err(error) => failed(&error),
        }
    }

    async fn set(&mut self, room: &str, count: Option<&Value>) -> Answer {
        let Some(count) = count.and_then(Value::as_u64) else {
            return refused(400, "count: give a whole number, this writer's own total");
        };
        match self.hub.documents.counter_set(room, &self.writer, count).await {
            Ok(()) => self.value(room).await,
            Err(error) => failed(&error),
        }
    }

    async fn get(&mut self, room: &str, entries: bool) -> Answer {
        let (status, mut answer) = self.value(room).await;
        if entries
            && status == 0
            && let Some(fields) = answer.as_object_mut()
        {
            match self.hub.documents.counter_totals(room).await {
                Ok(totals) => fields.insert("entries".to_owned(), json!(totals)),
                Err(error) => return failed(&error),
            };
        }
        (status, answer)
    }
}

fn failed(error: &DocumentError) -> Answer {
    refused(u64::from(error.status()), &error.to_string())
}

fn refused(status: u64, error: &str) -> Answer {
    (status, json!({"error": error}))
}

/// Evenly spread, so that a demonstration does not hang on luck.
fn fails(number: u64, percent: u8) -> bool {
    let percent = u64::from(percent.min(100));
    number.wrapping_add(1).wrapping_mul(percent) / 100 != number.wrapping_mul(percent) / 100
}
