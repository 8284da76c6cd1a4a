//! What can be wrong with a message.

use super::{CALLS_MAX, DEPTH_MAX, Dialect};
use crate::error::{Category, DecodeError, EncodeError, Retry, close_code};

/// A message that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No packet of the binary dialect.
    #[error(transparent)]
    Packet(#[from] DecodeError),
    /// A text message in the binary dialect.
    #[error("packets of this dialect are binary messages")]
    Text,
    /// Too many bytes.
    #[error("message of {bytes} bytes is over the limit of {most}")]
    Oversize {
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// No JSON, or no object, or a member twice.
    #[error("packet is not a JSON object: {problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// JSON too deep.
    #[error("packet is nested deeper than {DEPTH_MAX}")]
    Depth,
    /// A member that is missing or not as it must be.
    #[error("{field} must be {rule}")]
    Field {
        /// Which member.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// Too many calls wait for an answer. The call was not taken: answer it with [`ReadError::answer`].
    #[error("more than {CALLS_MAX} calls wait for their answers; wait for some")]
    Calls {
        /// Id of the call.
        id: String,
    },
    /// Too many streams at once. The stream was not taken: answer it with [`ReadError::answer`].
    #[error("too many streams are open; end some")]
    Streams {
        /// Id of the stream.
        id: String,
    },
}

impl ReadError {
    /// What sort of error it is.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Packet(error) => error.category(),
            Self::Oversize { .. } => Category::Oversize,
            Self::Text | Self::Json { .. } | Self::Depth | Self::Field { .. } => Category::Malformed,
            Self::Calls { .. } | Self::Streams { .. } => Category::Limit,
        }
    }

    /// Whether the same message can be read later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.category() {
            Category::Limit => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// The WebSocket close code that ends the session; `None` when it lives on.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Text => Some(1003),
            _ => close_code(self.category()),
        }
    }

    /// The text message that answers what was not taken for want of room.
    #[must_use]
    pub fn answer(&self) -> Option<String> {
        let answer = match self {
            Self::Calls { id } => {
                let error = serde_json::json!({"code": 503, "message": self.to_string()});
                serde_json::json!({"type": "callback", "id": id, "error": error})
            }
            Self::Streams { id } => serde_json::json!({"type": "stream", "id": id, "status": "terminate"}),
            _ => return None,
        };
        Some(answer.to_string())
    }
}

/// A packet that the dialect cannot say. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The packet itself is wrong.
    #[error(transparent)]
    Packet(#[from] EncodeError),
    /// The dialect has no such packet.
    #[error("{packet} has no form in {dialect:?}")]
    Absent {
        /// Name of its kind.
        packet: &'static str,
        /// The dialect.
        dialect: Dialect,
    },
    /// The other end has not told its dialect.
    #[error("{packet} can be written once the client has sent its first packet with an id")]
    Undetermined {
        /// Name of its kind.
        packet: &'static str,
    },
    /// A text id that is not in use any more, for example of a call that is answered.
    #[error("id {id} is not in use; each call is answered once")]
    Over {
        /// Its number.
        id: i64,
    },
    /// A payload that is no JSON.
    #[error("{field} must be JSON: {problem}")]
    Json {
        /// Which member.
        field: &'static str,
        /// What the parser says.
        problem: String,
    },
}

impl WriteError {
    /// What sort of error it is.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Undetermined { .. } => Category::Limit,
            Self::Packet(_) | Self::Absent { .. } | Self::Over { .. } | Self::Json { .. } => {
                Category::Invalid
            }
        }
    }

    /// Whether the same packet can be written later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.category() {
            Category::Limit => Retry::Later,
            _ => Retry::Never,
        }
    }
}
