//! Packets to messages.

use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error_message;
use crate::dialect::fields::INTEGER_MAX;
use crate::dialect::{Codec, Dialect, Frame, METACOM_CHUNK_BYTES_MAX, WriteError};
use crate::error::EncodeError;
use crate::packet::{PACKET_BYTES_MAX, Packet};

/// A number of 64 bits with its sign has at most this many digits.
const NUMBER_BYTES_MAX: usize = 20;

/// The members of a packet in the order in which Metacom writes them.
#[derive(Default, Serialize)]
struct Members<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Failure {
    code: u64,
    message: String,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Id {
    Integer(i64),
    Text(String),
}

impl Codec {
    pub(in crate::dialect) fn write_metacom(
        &mut self,
        packet: &Packet,
        meta: Option<&[u8]>,
    ) -> Result<Frame, WriteError> {
        if let Packet::StreamChunk { id, payload } = packet {
            return self.write_chunk(packet, *id, payload);
        }
        if matches!(packet, Packet::Ping { .. } | Packet::Pong { .. })
            && self.dialect != Some(Dialect::MetacomText)
        {
            return Ok(Frame::Text("{}".to_owned()));
        }
        let mut members = self.members(packet)?;
        if matches!(packet, Packet::Call { .. } | Packet::Callback { .. }) {
            members.meta = json("meta", meta.unwrap_or_default())?;
        }
        let text = serde_json::to_string(&members).map_err(|error| WriteError::Json {
            field: "packet",
            problem: error.to_string(),
        })?;
        let bytes = text.len();
        if bytes > PACKET_BYTES_MAX {
            return Err(EncodeError::Oversize { bytes }.into());
        }
        self.written(packet);
        Ok(Frame::Text(text))
    }

    /// A call is answered once, a stream ends once. Nothing changed unless the message is made.
    fn written(&mut self, packet: &Packet) {
        match packet {
            Packet::Callback { id, .. } => self.texts.calls.remove(*id),
            Packet::StreamEnd { id } | Packet::StreamAbort { id, .. } => self.texts.streams.end(*id),
            _ => {}
        }
    }

    fn members<'a>(&self, packet: &'a Packet) -> Result<Members<'a>, WriteError> {
        let mut members = Members::default();
        match packet {
            Packet::Call { id, method, payload } => {
                members.kind = "call";
                members.id = Some(self.call_id(packet, *id)?);
                members.method = Some(method);
                members.args = json("args", payload)?;
            }
            Packet::Callback { id, status, payload } => {
                members.kind = "callback";
                members.id = Some(self.call_id(packet, *id)?);
                match *status {
                    0 => members.result = json("result", payload)?,
                    code => {
                        let message = error_message(payload);
                        members.error = Some(Failure { code, message });
                    }
                }
            }
            Packet::Event { name, payload, .. } => {
                members.kind = "event";
                members.name = Some(name);
                members.data = json("data", payload)?;
            }
            Packet::StreamInit { id, size, name } => {
                members.kind = "stream";
                members.id = Some(self.stream_written(packet, *id)?);
                // Clients take a packet without either for one that is malformed.
                let size = Some(*size).filter(|size| *size <= INTEGER_MAX.unsigned_abs());
                members.size = Some(size.ok_or_else(|| wrong("size", "at most 2^53 - 1"))?);
                let name = Some(name.as_str()).filter(|name| !name.is_empty());
                members.name = Some(name.ok_or_else(|| wrong("name", "of at least one byte"))?);
            }
            Packet::StreamEnd { id } => {
                members.kind = "stream";
                members.id = Some(self.stream_written(packet, *id)?);
                members.status = Some("end");
            }
            Packet::StreamAbort { id, .. } => {
                members.kind = "stream";
                members.id = Some(self.stream_written(packet, *id)?);
                members.status = Some("terminate");
            }
            Packet::StreamChunk { .. }
            | Packet::Credit { .. }
            | Packet::Delta { .. }
            | Packet::Digest { .. }
            | Packet::Drain { .. }
            | Packet::Ping { .. }
            | Packet::Pong { .. }
            | Packet::PeerDelta { .. }
            | Packet::PeerDigest { .. } => {
                let (packet, dialect) = (packet.kind(), self.dialect.unwrap_or(Dialect::MetacomInteger));
                return Err(WriteError::Absent { packet, dialect });
            }
        }
        // The bounds of names are the same in every dialect.
        packet.check()?;
        Ok(members)
    }

    fn told(&self, packet: &Packet) -> Result<Dialect, WriteError> {
        let packet = packet.kind();
        self.dialect.ok_or(WriteError::Undetermined { packet })
    }

    fn call_id(&self, packet: &Packet, id: i64) -> Result<Id, WriteError> {
        match self.told(packet)? {
            Dialect::MetacomText if self.role.owns(id) => Ok(Id::Text(id.to_string())),
            Dialect::MetacomText => match self.texts.calls.text(id) {
                Some(text) => Ok(Id::Text(text.to_owned())),
                None => Err(WriteError::Over { id }),
            },
            _ if id != 0 && (-INTEGER_MAX..=INTEGER_MAX).contains(&id) => Ok(Id::Integer(id)),
            _ => Err(wrong("id", "a number other than 0, within 2^53 - 1")),
        }
    }

    fn stream_written(&self, packet: &Packet, id: i64) -> Result<Id, WriteError> {
        match self.told(packet)? {
            Dialect::MetacomText => {
                let text = self.stream_text(id).ok_or(WriteError::Over { id })?;
                Ok(Id::Text(text))
            }
            _ => Ok(Id::Integer(stream_integer(id)?.into())),
        }
    }

    /// One allocation, of the exact size.
    fn write_chunk(&self, packet: &Packet, id: i64, payload: &Bytes) -> Result<Frame, WriteError> {
        if payload.is_empty() {
            return Err(wrong("payload", "of at least one byte"));
        }
        let most = METACOM_CHUNK_BYTES_MAX;
        let bound = |head: usize| {
            let bytes = head.saturating_add(payload.len());
            if bytes > most {
                return Err(EncodeError::Message { bytes, most });
            }
            Ok(bytes)
        };
        let mut buffer;
        if self.told(packet)? == Dialect::MetacomText {
            let mut own = [0_u8; NUMBER_BYTES_MAX];
            let text = if self.role.owns(id) {
                decimal(id, &mut own)
            } else {
                let text = self.texts.streams.text(id);
                text.ok_or(WriteError::Over { id })?.as_bytes()
            };
            buffer = BytesMut::with_capacity(bound(text.len().saturating_add(1))?);
            buffer.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
            buffer.put_slice(text);
        } else {
            let id = stream_integer(id)?.to_be_bytes();
            buffer = BytesMut::with_capacity(bound(id.len())?);
            buffer.put_slice(&id);
        }
        buffer.put_slice(payload);
        Ok(Frame::Binary(buffer.freeze()))
    }
}

/// The id as it is written, without an allocation.
fn decimal(id: i64, place: &mut [u8; NUMBER_BYTES_MAX]) -> &[u8] {
    let mut rest = place.as_mut_slice();
    let left = match write!(rest, "{id}") {
        Ok(()) => rest.len(),
        // Cannot be: the place holds every number.
        Err(_) => NUMBER_BYTES_MAX,
    };
    place
        .get(..NUMBER_BYTES_MAX.saturating_sub(left))
        .unwrap_or_default()
}

/// An empty payload is a member that is left out.
fn json<'a>(field: &'static str, payload: &'a [u8]) -> Result<Option<&'a RawValue>, WriteError> {
    if payload.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(payload)
        .map(Some)
        .map_err(|error| WriteError::Json {
            field,
            problem: error.to_string(),
        })
}

fn stream_integer(id: i64) -> Result<i32, WriteError> {
    match i32::try_from(id) {
        Ok(id) if id != 0 => Ok(id),
        _ => Err(wrong("id of a stream", "a number of 32 bits other than 0")),
    }
}

fn wrong(field: &'static str, rule: &'static str) -> WriteError {
    EncodeError::Field { field, rule }.into()
}
