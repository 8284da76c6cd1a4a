//! Bytes for the hot paths: chunks of streams, and packets that many sockets get.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EncodeError;
use crate::packet::{PACKET_BYTES_MAX, Packet, STREAM_CHUNK, Sink};
use crate::varint::{put, zigzag};

/// The header of a WebSocket frame has at most this many bytes when a server sends it.
const FRAME_HEADER_BYTES_MAX: usize = 10;
/// FIN and the opcode of a binary message, RFC 6455 §5.2.
const BINARY_MESSAGE: u8 = 0x82;

/// The packet STREAM_CHUNK of the binary dialect from borrowed bytes, in one allocation.
///
/// There is no room in front for a WebSocket header: a library such as tungstenite copies header and payload into its
/// own write buffer all the same, so the room would be paid for and never used. Who writes to the TCP stream himself
/// takes [`Packet::encode_framed`].
pub fn chunk(id: i64, payload: &[u8]) -> Result<Bytes, EncodeError> {
    let (field, rule) = match (id, payload) {
        (0, _) => ("id of a stream", "other than 0"),
        (_, []) => ("payload", "of at least one byte"),
        _ => {
            let mut head = [0_u8; 11];
            let head = head_of(id, &mut head);
            let bytes = head.len().saturating_add(payload.len());
            if bytes > PACKET_BYTES_MAX {
                return Err(EncodeError::Oversize { bytes });
            }
            // Of the exact size, so that freezing it allocates nothing more.
            let mut buffer = BytesMut::with_capacity(bytes);
            buffer.put_slice(head);
            buffer.put_slice(payload);
            return Ok(buffer.freeze());
        }
    };
    Err(EncodeError::Field { field, rule })
}

fn head_of(id: i64, head: &mut [u8; 11]) -> &[u8] {
    let mut written = Filled { head, count: 0 };
    written.byte(STREAM_CHUNK);
    put(&mut written, zigzag(id));
    let Filled { head, count } = written;
    head.get(..count).unwrap_or_default()
}

struct Filled<'a> {
    head: &'a mut [u8; 11],
    count: usize,
}

impl Sink for Filled<'_> {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.head.get_mut(self.count) {
            *place = byte;
            self.count += 1;
        }
    }

    fn slice(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }
}

impl Packet {
    /// The packet as one whole WebSocket frame of a server (not masked, RFC 6455 §5.2), in one allocation: for a packet
    /// that goes to many sockets whose TCP streams the caller writes to himself.
    pub fn encode_framed(&self) -> Result<Bytes, EncodeError> {
        let bytes = self.size()?;
        let mut header = [0_u8; FRAME_HEADER_BYTES_MAX];
        let header = frame_header(bytes, &mut header);
        let mut buffer = BytesMut::with_capacity(header.len().saturating_add(bytes));
        buffer.put_slice(header);
        self.write(&mut buffer);
        Ok(buffer.freeze())
    }
}

fn frame_header(bytes: usize, header: &mut [u8; FRAME_HEADER_BYTES_MAX]) -> &[u8] {
    let [first, length, rest @ ..] = header;
    *first = BINARY_MESSAGE;
    let count = if let Ok(short) = u8::try_from(bytes)
        && short < 126
    {
        *length = short;
        2
    } else if let Ok(middle) = u16::try_from(bytes) {
        *length = 126;
        let [high, low, ..] = rest;
        [*high, *low] = middle.to_be_bytes();
        4
    } else {
        *length = 127;
        *rest = u64::try_from(bytes).unwrap_or(u64::MAX).to_be_bytes();
        FRAME_HEADER_BYTES_MAX
    };
    header.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_the_bytes_of_its_packet() {
        for id in [1, -1, 64, i64::MIN, i64::MAX] {
            let payload = Bytes::from_static(b"hello");
            let packet = Packet::StreamChunk {
                id,
                payload: payload.clone(),
            };
            assert_eq!(chunk(id, &payload), packet.encode());
        }
        let most = vec![7; PACKET_BYTES_MAX - 2];
        assert_eq!(chunk(1, &most).unwrap().len(), PACKET_BYTES_MAX);
        assert!(chunk(64, &most).is_err());
        assert!(chunk(1, &[]).is_err());
        assert!(chunk(0, b"a").is_err());
    }

    #[test]
    fn a_framed_packet_has_its_length_in_front() {
        for (size, header) in [
            (3, &b"\x82\x03"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let packet = Packet::StreamChunk {
                id: 1,
                payload: Bytes::from(vec![1; size - 2]),
            };
            let framed = packet.encode_framed().unwrap();
            assert_eq!(framed.slice(..header.len()), header);
            assert_eq!(framed.slice(header.len()..), packet.encode().unwrap());
        }
    }
}
