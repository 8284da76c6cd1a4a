//! Messages to packets.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{TERMINATED, error_payload};
use crate::dialect::fields::{Fields, Id, text};
use crate::dialect::texts::Refused;
use crate::dialect::{Codec, Dialect, METACOM_CHUNK_BYTES_MAX, ReadError, Received, Role};
use crate::packet::Packet;

const INTEGER_ID_BYTES: usize = 4;

impl Codec {
    pub(in crate::dialect) fn read_json(&mut self, bytes: &Bytes) -> Result<Option<Received>, ReadError> {
        let fields = Fields::parse(bytes)?;
        let meta = fields.meta.map(|meta| share(bytes, meta));
        let Some(kind) = fields.kind else {
            return self.ping(bytes);
        };
        let kind = text("type", Some(kind))?;
        let packet = match kind.as_ref() {
            "call" => {
                let id = fields.id()?;
                let method = text("method", fields.method)?.into_owned();
                Packet::Call {
                    id: self.call(&id)?,
                    method,
                    payload: payload(bytes, fields.args),
                }
            }
            "callback" => match self.answered(&fields.id()?)? {
                Some(id) => callback(id, bytes, &fields)?,
                // Of a call that nobody waits for.
                None => return Ok(None),
            },
            "event" => {
                let name = text("name", fields.name)?.into_owned();
                self.events = self.events.saturating_add(1);
                Packet::Event {
                    sequence: self.events,
                    name,
                    origin: None,
                    payload: payload(bytes, fields.data),
                }
            }
            "stream" => match self.stream(&fields)? {
                Some(packet) => packet,
                None => return Ok(None),
            },
            // A later version may know it.
            _ => return Ok(None),
        };
        Ok(Some(Received { packet, meta }))
    }

    /// `{}`; the server's answer to it is the same.
    fn ping(&self, bytes: &[u8]) -> Result<Option<Received>, ReadError> {
        if bytes
            .iter()
            .any(|byte| !matches!(byte, b'{' | b'}') && !byte.is_ascii_whitespace())
        {
            let (field, rule) = ("type", "one of call, callback, event and stream");
            return Err(ReadError::Field { field, rule });
        }
        let packet = match (self.dialect, self.role) {
            // Has no ping; whoever sends one expects nothing.
            (Some(Dialect::MetacomText), _) => return Ok(None),
            (_, Role::Server) => Packet::Ping { seen: 0 },
            (_, Role::Client) => Packet::Pong { seen: 0 },
        };
        Ok(Some(packet.into()))
    }

    /// The first id tells the dialect, and all others follow.
    fn settle(&mut self, id: &Id<'_>) -> Result<(), ReadError> {
        let found = match id {
            Id::Integer(_) => Dialect::MetacomInteger,
            Id::Text(_) => Dialect::MetacomText,
        };
        if *self.dialect.get_or_insert(found) == found {
            return Ok(());
        }
        let (field, rule) = ("id", "of the same type in every packet of a session");
        Err(ReadError::Field { field, rule })
    }

    fn call(&mut self, id: &Id<'_>) -> Result<i64, ReadError> {
        self.settle(id)?;
        match id {
            Id::Integer(id) => Ok(*id),
            Id::Text(text) => self.texts.calls.insert(text).map_err(|refused| match refused {
                Refused::InUse => in_use(),
                Refused::Full => ReadError::Calls {
                    id: text.as_ref().to_owned(),
                },
            }),
        }
    }

    fn answered(&mut self, id: &Id<'_>) -> Result<Option<i64>, ReadError> {
        self.settle(id)?;
        Ok(match id {
            Id::Integer(id) => Some(*id),
            Id::Text(text) => self.own(text),
        })
    }

    fn stream(&mut self, fields: &Fields<'_>) -> Result<Option<Packet>, ReadError> {
        let id = fields.id()?;
        let Some(status) = fields.status else {
            let (name, size) = (text("name", fields.name)?.into_owned(), fields.size()?);
            let id = self.opened(&id)?;
            return Ok(Some(Packet::StreamInit { id, size, name }));
        };
        let status = text("status", Some(status))?;
        self.settle(&id)?;
        let id = match &id {
            Id::Integer(id) => Some(stream_integer(*id)?),
            Id::Text(text) => self.stream_number(text),
        };
        // Of a stream that is over.
        let Some(id) = id else { return Ok(None) };
        let packet = match status.as_ref() {
            "end" => Packet::StreamEnd { id },
            "terminate" => Packet::StreamAbort {
                id,
                status: TERMINATED,
                reason: "terminated".to_owned(),
            },
            _ => {
                let (field, rule) = ("status", "end or terminate");
                return Err(ReadError::Field { field, rule });
            }
        };
        self.texts.streams.end(id);
        Ok(Some(packet))
    }

    fn opened(&mut self, id: &Id<'_>) -> Result<i64, ReadError> {
        self.settle(id)?;
        match id {
            Id::Integer(id) => stream_integer(*id),
            Id::Text(text) if self.own(text).is_some() => Err(in_use()),
            Id::Text(text) => self.texts.streams.insert(text).map_err(|refused| match refused {
                Refused::InUse => in_use(),
                Refused::Full => ReadError::Streams {
                    id: text.as_ref().to_owned(),
                },
            }),
        }
    }

    /// A chunk: the id, in front, as the dialect has it.
    pub(in crate::dialect) fn read_chunk(&mut self, bytes: &Bytes) -> Result<Option<Received>, ReadError> {
        let (most, found) = (METACOM_CHUNK_BYTES_MAX, bytes.len());
        if found > most {
            return Err(ReadError::Oversize { bytes: found, most });
        }
        let (id, payload) = match self.dialect {
            Some(Dialect::MetacomInteger) => {
                let (field, rule) = ("id of a chunk", "4 bytes");
                let (id, payload) = bytes
                    .split_first_chunk::<INTEGER_ID_BYTES>()
                    .ok_or(ReadError::Field { field, rule })?;
                (Some(stream_integer(i32::from_be_bytes(*id).into())?), payload)
            }
            Some(Dialect::MetacomText) => {
                let (field, rule) = ("id of a chunk", "its length in one byte, and UTF-8");
                let error = || ReadError::Field { field, rule };
                let (length, rest) = bytes.split_first().ok_or_else(error)?;
                let (id, payload) = rest.split_at_checked((*length).into()).ok_or_else(error)?;
                let id = std::str::from_utf8(id).map_err(|_| error())?;
                (self.stream_number(id), payload)
            }
            Some(Dialect::Binary) | None => {
                let (field, rule) = ("a chunk", "after the first packet with an id");
                return Err(ReadError::Field { field, rule });
            }
        };
        match id {
            // A chunk with nothing in it changes nothing.
            Some(id) if !payload.is_empty() => {
                let payload = bytes.slice_ref(payload);
                Ok(Some(Packet::StreamChunk { id, payload }.into()))
            }
            _ => Ok(None),
        }
    }
}

/// The other members of an error are passed over, however many.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

fn callback(id: i64, bytes: &Bytes, fields: &Fields<'_>) -> Result<Packet, ReadError> {
    let Some(error) = fields.error else {
        let payload = payload(bytes, fields.result);
        let status = 0;
        return Ok(Packet::Callback { id, status, payload });
    };
    let (field, rule) = ("error", "an object with code and message");
    let failure: Failure<'_> =
        serde_json::from_str(error.get()).map_err(|_| ReadError::Field { field, rule })?;
    let code = failure
        .code
        .and_then(|code| serde_json::from_str::<u64>(code.get()).ok());
    let message = failure
        .message
        .and_then(|message| serde_json::from_str::<String>(message.get()).ok());
    Ok(Packet::Callback {
        id,
        // The other end may say nothing, or words.
        status: code.filter(|code| *code > 0).unwrap_or(500),
        payload: error_payload(&message.unwrap_or_default()),
    })
}

fn stream_integer(id: i64) -> Result<i64, ReadError> {
    let (field, rule) = ("id of a stream", "a number of 32 bits other than 0");
    match i32::try_from(id) {
        Ok(small) if small != 0 => Ok(id),
        _ => Err(ReadError::Field { field, rule }),
    }
}

fn in_use() -> ReadError {
    let (field, rule) = ("id", "one that is not in use");
    ReadError::Field { field, rule }
}

fn share(bytes: &Bytes, raw: &RawValue) -> Bytes {
    bytes.slice_ref(raw.get().as_bytes())
}

/// A member that is left out is an empty payload.
fn payload(bytes: &Bytes, raw: Option<&RawValue>) -> Bytes {
    raw.map(|raw| share(bytes, raw)).unwrap_or_default()
}
