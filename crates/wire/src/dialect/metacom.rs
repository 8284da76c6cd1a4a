//! Packets as JSON, chunks of streams as binary messages with the id in front.

mod read;
mod write;

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Codec;

/// Status of a stream whose other end terminated it: Metacom has no number for that.
const TERMINATED: u64 = 499;

/// The payload of a CALLBACK that says what went wrong: `{"error": message}`.
#[must_use]
pub fn error_payload(message: &str) -> Bytes {
    // A text has always a form in JSON.
    let payload = serde_json::to_vec(&Failed {
        error: message.into(),
    });
    Bytes::from(payload.unwrap_or_default())
}

/// What went wrong, from the payload of a CALLBACK whose status is not 0.
#[must_use]
pub fn error_message(payload: &[u8]) -> String {
    // Only what is looked for is kept, however much there is.
    if let Ok(message) = serde_json::from_slice::<String>(payload) {
        return message;
    }
    match serde_json::from_slice::<Failed<'_>>(payload) {
        Ok(failed) => failed.error.into_owned(),
        Err(_) => String::from_utf8_lossy(payload).into_owned(),
    }
}

#[derive(Deserialize, Serialize)]
struct Failed<'a> {
    error: Cow<'a, str>,
}

impl Codec {
    /// Text ids of ours are our numbers.
    fn own(&self, text: &str) -> Option<i64> {
        let id = text.parse::<i64>().ok()?;
        (self.role.owns(id) && id.to_string() == text).then_some(id)
    }

    pub(super) fn stream_number(&self, text: &str) -> Option<i64> {
        self.own(text).or_else(|| self.texts.streams.number(text))
    }

    pub(super) fn stream_text(&self, id: i64) -> Option<String> {
        if self.role.owns(id) {
            return Some(id.to_string());
        }
        self.texts.streams.text(id).map(ToOwned::to_owned)
    }
}
