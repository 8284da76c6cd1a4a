//! What goes over the socket: `length u32 big-endian ‖ header ‖ body`.
//!
//! The header is postcard: compact, and both ends are of one build. The body is what the header says: a message, an
//! answer or a start argument.

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

use crate::handle::State;
use crate::settings::Settings;

/// Of headers and of how they are ordered. Both ends must have the same.
pub(super) const VERSION: u16 = 1;
/// A header is shorter: 1,024 reply addresses, or a reason of 4 KiB.
const HEADER_BYTES_MAX: usize = 32 << 10;

const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// From the process that asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Down {
    /// First.
    Welcome {
        version: u16,
        message_bytes_max: u32,
        stop_within_ms: u64,
    },
    /// The body is the start argument.
    Start {
        actor: u32,
        kind: String,
        settings: Settings,
    },
    /// The body is the message; the numbers are of the reply addresses in it.
    Deliver { actor: u32, replies: Vec<u64> },
    /// Nobody refers to it any more.
    Unreferenced { actor: u32 },
    /// An order to end it, with the time until its deadline.
    Stop { actor: u32, drain: bool, within_ms: u64 },
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Up {
    /// First.
    Hello { version: u16 },
    /// So many messages have left the mailbox: credit for as many more.
    Taken { actor: u32, count: u32 },
    /// The body is the answer.
    Answer { number: u64 },
    /// There is no answer.
    NoAnswer { number: u64 },
    /// What an actor does now.
    Is { actor: u32, state: State },
}

/// Cuts the stream into frames, and refuses longer ones than a message of so many bytes needs.
pub(super) fn codec(message_bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(message_bytes_max.saturating_add(HEADER_BYTES_MAX))
        .new_codec()
}

/// Appends a frame. Lengths are checked where messages come in.
pub(super) fn put<H: Serialize>(buffer: &mut BytesMut, header: &H, body: &[u8]) -> Result<(), String> {
    let header = postcard::to_allocvec(header).map_err(|error| error.to_string())?;
    let length = u32::try_from(header.len() + body.len());
    buffer.put_u32(length.map_err(|_| "a frame of more than 4 GiB".to_owned())?);
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(body);
    Ok(())
}

/// A buffer without content, and without the memory of a long message.
pub(super) fn emptied(mut buffer: BytesMut) -> BytesMut {
    if buffer.capacity() > BUFFER_BYTES_KEPT {
        return BytesMut::new();
    }
    buffer.clear();
    buffer
}

/// Reads a header and what follows it.
pub(super) fn take<'a, H: Deserialize<'a>>(frame: &'a [u8]) -> Result<(H, &'a [u8]), String> {
    postcard::take_from_bytes(frame).map_err(|error| format!("a frame that is not ours: {error}"))
}
