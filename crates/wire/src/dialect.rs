//! Three dialects of the same packets, sans I/O: messages of a WebSocket in, packets out, and back.
//!
//! One [`Codec`] belongs to one connection. It holds what the dialect needs to remember: which of the Metacom dialects the
//! other end speaks, and which number each of its text ids has. Nothing of it outlives the connection.

mod error;
mod fields;
mod metacom;
#[cfg(test)]
mod tests;
mod texts;

use bytes::Bytes;

pub use error::{ReadError, WriteError};
pub use metacom::{error_message, error_payload};
use texts::Texts;

use crate::error::DecodeError;
use crate::packet::{PACKET_BYTES_MAX, Packet};

/// A binary message of Metacom has at most this many bytes. Its client makes one chunk of each part of a Blob, however
/// large, and cannot be told otherwise.
pub const METACOM_CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Arrays and objects of JSON are nested at most this deep.
pub const DEPTH_MAX: usize = 64;
/// At most so many calls of one connection wait for their answers where ids are texts.
pub const CALLS_MAX: usize = 1024;

/// How packets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `pointsman.v1`.
    Binary,
    /// JSON with numbers as ids: npm `metacom` 3.
    MetacomInteger,
    /// JSON with texts as ids: Metacom as in its repository since October 2025.
    MetacomText,
}

impl Dialect {
    /// No message of a WebSocket has more bytes than this.
    #[must_use]
    pub fn message_bytes_max(self) -> usize {
        match self {
            Self::Binary => PACKET_BYTES_MAX,
            Self::MetacomInteger | Self::MetacomText => METACOM_CHUNK_BYTES_MAX,
        }
    }
}

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ids count up from 1.
    Client,
    /// Ids count down from −1.
    Server,
}

impl Role {
    /// Whether we started what has this id.
    pub(crate) fn owns(self, id: i64) -> bool {
        match self {
            Self::Client => id > 0,
            Self::Server => id < 0,
        }
    }

    /// The id of what we start as number `count`, from 1.
    pub(crate) fn id(self, count: i64) -> i64 {
        match self {
            Self::Client => count,
            Self::Server => count.saturating_neg(),
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A message of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The packet.
    pub packet: Packet,
    /// `meta` of a Metacom packet, JSON: carried through, never looked at.
    pub meta: Option<Bytes>,
}

impl From<Packet> for Received {
    fn from(packet: Packet) -> Self {
        Self { packet, meta: None }
    }
}

/// Reads and writes the messages of one connection.
///
/// It holds at most 1,024 text ids of calls and 64 of streams, each of at most 255 bytes and held twice: less than 1 MiB,
/// whatever the other end sends, and nothing at all in the other dialects. Reading a message allocates no more than
/// three times its size.
#[derive(Debug)]
pub struct Codec {
    role: Role,
    /// `None` in a session of Metacom that has not told yet.
    dialect: Option<Dialect>,
    /// Events read so far: Metacom numbers none, so their place is counted.
    events: u64,
    texts: Texts,
}

impl Codec {
    /// For a connection whose dialect is known.
    #[must_use]
    pub fn new(dialect: Dialect, role: Role) -> Self {
        Self {
            role,
            dialect: Some(dialect),
            events: 0,
            texts: Texts::new(role.other()),
        }
    }

    /// For a server whose client offered no subprotocol: the first packet with an id tells which Metacom it speaks.
    #[must_use]
    pub fn metacom() -> Self {
        Self {
            dialect: None,
            ..Self::new(Dialect::MetacomInteger, Role::Server)
        }
    }

    /// The dialect, once it is known.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// What a message says; `None` when there is nothing to do, be it that a later version knows what it means.
    pub fn read(&mut self, frame: Frame) -> Result<Option<Received>, ReadError> {
        match frame {
            Frame::Text(text) => self.read_text(Bytes::from(text)),
            Frame::Binary(bytes) => self.read_binary(&bytes),
        }
    }

    /// As [`Codec::read`], for a text message whose bytes the caller has already: payloads share them.
    pub fn read_text(&mut self, bytes: Bytes) -> Result<Option<Received>, ReadError> {
        if self.dialect == Some(Dialect::Binary) {
            return Err(ReadError::Text);
        }
        let (most, found) = (PACKET_BYTES_MAX, bytes.len());
        if found > most {
            return Err(ReadError::Oversize { bytes: found, most });
        }
        self.read_json(&bytes)
    }

    /// As [`Codec::read`], for a binary message.
    pub fn read_binary(&mut self, bytes: &Bytes) -> Result<Option<Received>, ReadError> {
        if self.dialect != Some(Dialect::Binary) {
            return self.read_chunk(bytes);
        }
        match Packet::decode(bytes) {
            Ok(packet) => Ok(Some(packet.into())),
            Err(DecodeError::Kind { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The message for a packet. `meta`, JSON, goes with CALL and CALLBACK where the dialect has a place for it: the binary
    /// one has none.
    pub fn write(&mut self, packet: &Packet, meta: Option<&[u8]>) -> Result<Frame, WriteError> {
        match self.dialect {
            Some(Dialect::Binary) => Ok(Frame::Binary(packet.encode()?)),
            _ => self.write_metacom(packet, meta),
        }
    }

    /// The id of a stream from a call's argument: a number, or a text where ids are texts.
    #[must_use]
    pub fn stream_id(&self, argument: &serde_json::Value) -> Option<i64> {
        match self.dialect {
            Some(Dialect::MetacomText) => self.stream_number(argument.as_str()?),
            _ => argument.as_i64().filter(|id| *id != 0),
        }
    }

    /// The id of a stream for a result or an argument, as the dialect writes it.
    #[must_use]
    pub fn stream_value(&self, id: i64) -> Option<serde_json::Value> {
        match self.dialect {
            Some(Dialect::MetacomText) => self.stream_text(id).map(Into::into),
            _ => Some(id.into()),
        }
    }
}
