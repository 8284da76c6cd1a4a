//! Packets. Their bytes are in `encode` and `decode`.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use encode::Sink;

/// Name of the dialect in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "pointsman.v1";
/// A packet has at most this many bytes.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// A name, a reason or a token has at most this many bytes.
pub const NAME_BYTES_MAX: usize = 1024;

const CALL: u8 = 1;
const CALLBACK: u8 = 2;
const EVENT: u8 = 3;
const STREAM_INIT: u8 = 4;
pub(crate) const STREAM_CHUNK: u8 = 5;
const STREAM_END: u8 = 6;
const STREAM_ABORT: u8 = 7;
const CREDIT: u8 = 8;
const DELTA: u8 = 9;
const DIGEST: u8 = 10;
const DRAIN: u8 = 11;
const PING: u8 = 12;
const PONG: u8 = 13;
const PEER_DELTA: u8 = 14;
const PEER_DIGEST: u8 = 15;

/// Where an event began, and its place there: the resume point of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Slot of the replica at which it began.
    pub slot: u16,
    /// Its place in that replica's count.
    pub position: u64,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Asks for something; answered by a CALLBACK with the same id.
    Call {
        /// Chosen by the caller.
        id: i64,
        /// `unit/method`.
        method: String,
        /// Arguments, JSON.
        payload: Bytes,
    },
    /// Answers a CALL, acknowledges a DELTA or answers a DIGEST.
    Callback {
        /// Id of the CALL, DELTA or DIGEST.
        id: i64,
        /// 0 for success, otherwise a number like HTTP's.
        status: u64,
        /// Result, or the text of the error.
        payload: Bytes,
    },
    /// Something happened.
    Event {
        /// Position in the session's sequence, from 1 to 2⁶³ − 1.
        sequence: u64,
        /// `unit/event`.
        name: String,
        /// Where it began; `None` for what concerns this session alone.
        origin: Option<Origin>,
        /// What happened, JSON.
        payload: Bytes,
    },
    /// A stream begins.
    StreamInit {
        /// Of the stream: up from 1 for clients, down from −1 for servers.
        id: i64,
        /// All its bytes.
        size: u64,
        /// What the sender calls it.
        name: String,
    },
    /// The next bytes of a stream.
    StreamChunk {
        /// Of the stream.
        id: i64,
        /// At least one byte.
        payload: Bytes,
    },
    /// The stream is whole.
    StreamEnd {
        /// Of the stream.
        id: i64,
    },
    /// The stream ends before it is whole.
    StreamAbort {
        /// Of the stream.
        id: i64,
        /// A number like HTTP's.
        status: u64,
        /// Why.
        reason: String,
    },
    /// The receiver of a stream has room for more.
    Credit {
        /// Of the stream.
        id: i64,
        /// So many more bytes may be sent.
        bytes: u64,
    },
    /// Changed document state.
    Delta {
        /// Chosen by the sender; the negated sequence number from a server.
        id: i64,
        /// Index of the document on this socket.
        document: u64,
        /// Encoded state.
        payload: Bytes,
    },
    /// What the sender has of a document; answered by a DELTA with what it lacks, and a CALLBACK.
    Digest {
        /// Chosen by the sender.
        id: i64,
        /// Index of the document on this socket.
        document: u64,
        /// Causal context, and context of the live dots; empty for nothing.
        payload: Bytes,
    },
    /// The session is to move.
    Drain {
        /// Wait this long before making the new socket.
        delay_ms: u64,
        /// Revision to ask for; empty when any will do.
        next: String,
        /// Resume token.
        token: String,
        /// Slot of the replica that drains.
        slot: u64,
    },
    /// Are you there?
    Ping {
        /// Last sequence number that the sender has seen.
        seen: u64,
    },
    /// I am.
    Pong {
        /// Last sequence number that the sender has seen.
        seen: u64,
    },
    /// Changed document state, between replicas.
    PeerDelta {
        /// Chosen by the sender.
        id: i64,
        /// Name of the document.
        name: String,
        /// Encoded state.
        payload: Bytes,
    },
    /// What the sender has of a document, between replicas.
    PeerDigest {
        /// Chosen by the sender.
        id: i64,
        /// Name of the document.
        name: String,
        /// As in DIGEST.
        payload: Bytes,
    },
}

impl Packet {
    /// Name of its kind, as in `docs/PROTOCOL.md`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call { .. } => "CALL",
            Self::Callback { .. } => "CALLBACK",
            Self::Event { .. } => "EVENT",
            Self::StreamInit { .. } => "STREAM_INIT",
            Self::StreamChunk { .. } => "STREAM_CHUNK",
            Self::StreamEnd { .. } => "STREAM_END",
            Self::StreamAbort { .. } => "STREAM_ABORT",
            Self::Credit { .. } => "CREDIT",
            Self::Delta { .. } => "DELTA",
            Self::Digest { .. } => "DIGEST",
            Self::Drain { .. } => "DRAIN",
            Self::Ping { .. } => "PING",
            Self::Pong { .. } => "PONG",
            Self::PeerDelta { .. } => "PEER_DELTA",
            Self::PeerDigest { .. } => "PEER_DIGEST",
        }
    }
}
