//! Errors are values: each says of what kind it is and whether trying again can help.

use crate::packet::{NAME_BYTES_MAX, PACKET_BYTES_MAX};

/// What sort of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// A later version may know it. It is passed over, and the connection lives on.
    Unknown,
    /// The other end broke the protocol; the connection ends.
    Malformed,
    /// More bytes than a packet may have; the connection ends.
    Oversize,
    /// Our own caller asked for what the protocol has no bytes for. Nothing was sent.
    Invalid,
    /// A bound of the connection is reached. Nothing changed.
    Limit,
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same bytes fail for ever; change them.
    Never,
    /// The same can succeed once something else has ended.
    Later,
}

/// Bytes that are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("packet ends inside {field}")]
    Short {
        /// Which field.
        field: &'static str,
    },
    /// A number or a length is beyond its bound.
    #[error("{field} is too large")]
    Large {
        /// Which field.
        field: &'static str,
    },
    /// The packet is beyond its bound.
    #[error("packet of {bytes} bytes is over the limit of {PACKET_BYTES_MAX}")]
    Oversize {
        /// Its size.
        bytes: usize,
    },
    /// Text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// Which field.
        field: &'static str,
    },
    /// A kind that this version does not know; the connection may live on.
    #[error("packet kind {kind} is not known")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// An id that this kind cannot have.
    #[error("id of {kind} must be {rule}")]
    Id {
        /// Name of the kind.
        kind: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A chunk with nothing in it.
    #[error("{field} must have at least one byte")]
    Empty {
        /// Which field.
        field: &'static str,
    },
    /// Bytes after the last field.
    #[error("{count} bytes after the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl DecodeError {
    /// What sort of error it is.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Kind { .. } => Category::Unknown,
            Self::Oversize { .. } => Category::Oversize,
            Self::Short { .. }
            | Self::Large { .. }
            | Self::Text { .. }
            | Self::Id { .. }
            | Self::Empty { .. }
            | Self::Trailing { .. } => Category::Malformed,
        }
    }

    /// Whether the same bytes can be read later: never.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }

    /// The WebSocket close code that ends the session; `None` when it lives on.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        close_code(self.category())
    }
}

/// The close code of an error in what the other end sent.
pub(crate) fn close_code(category: Category) -> Option<u16> {
    match category {
        Category::Unknown | Category::Invalid | Category::Limit => None,
        Category::Malformed => Some(1002),
        Category::Oversize => Some(1009),
    }
}

/// A packet that has no bytes. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Too many bytes.
    #[error("packet of {bytes} bytes is over the limit of {PACKET_BYTES_MAX}; send less, or use a stream")]
    Oversize {
        /// Its size.
        bytes: usize,
    },
    /// Too many bytes for one message of the dialect.
    #[error("message of {bytes} bytes is over the limit of {most}; send less at once")]
    Message {
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// Too long a text.
    #[error("{field} of {bytes} bytes is over the limit of {NAME_BYTES_MAX}; use a shorter one")]
    Long {
        /// Which field.
        field: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A value that the field cannot have.
    #[error("{field} must be {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl EncodeError {
    /// What sort of error it is.
    #[must_use]
    pub fn category(&self) -> Category {
        Category::Invalid
    }

    /// Whether the same packet can be written later: never.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}
