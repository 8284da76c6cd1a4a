//! The wire, sans I/O: bytes in, packets out.
//!
//! In the binary dialect `pointsman.v1` one packet fills one WebSocket message: `kind u8 ‖ zigzag-varint id ‖ body`. The
//! sign of an id tells who started: clients count up from 1, servers down from −1; the id of an EVENT is the negated
//! sequence number, which is also the resume point. `docs/PROTOCOL.md` has the layouts.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod chunk;
mod dialect;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod packet;
mod streams;
mod varint;

pub use chunk::chunk;
pub use dialect::{
    CALLS_MAX, Codec, DEPTH_MAX, Dialect, Frame, METACOM_CHUNK_BYTES_MAX, ReadError, Received, Role,
    WriteError, error_message, error_payload,
};
pub use error::{Category, DecodeError, EncodeError, Retry};
pub use packet::{NAME_BYTES_MAX, Origin, PACKET_BYTES_MAX, Packet, SUBPROTOCOL};
pub use streams::{
    CHUNK_BYTES, METACOM_CHUNKS_MAX, Opened, Pushed, STREAMS_MAX, StreamError, Streams, Taken, WINDOW_BYTES,
};
