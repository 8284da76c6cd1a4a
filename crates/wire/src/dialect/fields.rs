//! The members of a JSON packet, each checked by itself so that an error names it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{DEPTH_MAX, ReadError};
use crate::packet::NAME_BYTES_MAX;

/// What every JavaScript number can hold exactly.
pub(super) const INTEGER_MAX: i64 = (1 << 53) - 1;
/// A text id has at most so many bytes: one byte holds its length in a chunk.
const TEXT_ID_BYTES_MAX: usize = 255;

/// Members that mean something; others are passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) size: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) args: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    pub(super) meta: Option<&'a RawValue>,
}

/// A member that is `null` is there all the same.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// An id as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Id<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
}

impl<'a> Fields<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        // A sequence would be read as the members in order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            let problem = "it does not begin with {".to_owned();
            return Err(ReadError::Json { problem });
        }
        if depth(bytes) > DEPTH_MAX {
            return Err(ReadError::Depth);
        }
        serde_json::from_slice(bytes).map_err(|error| ReadError::Json {
            problem: error.to_string(),
        })
    }

    pub(super) fn id(&self) -> Result<Id<'a>, ReadError> {
        let field = "id";
        let rule = "a number other than 0, or a text of 1 to 255 bytes";
        let raw = self.id.ok_or(ReadError::Field { field, rule })?.get();
        let id = if raw.starts_with('"') {
            let text: Text<'_> = serde_json::from_str(raw).map_err(|_| ReadError::Field { field, rule })?;
            Some(Id::Text(text.0))
                .filter(|id| matches!(id, Id::Text(text) if (1..=TEXT_ID_BYTES_MAX).contains(&text.len())))
        } else {
            let number = serde_json::from_str::<i64>(raw).ok();
            let number = number.filter(|id| *id != 0 && (-INTEGER_MAX..=INTEGER_MAX).contains(id));
            number.map(Id::Integer)
        };
        id.ok_or(ReadError::Field { field, rule })
    }

    pub(super) fn size(&self) -> Result<u64, ReadError> {
        let (field, rule) = ("size", "a number from 0 to 2^53 - 1");
        let raw = self.size.ok_or(ReadError::Field { field, rule })?.get();
        let size = serde_json::from_str::<u64>(raw).ok();
        size.filter(|size| *size <= INTEGER_MAX.unsigned_abs())
            .ok_or(ReadError::Field { field, rule })
    }
}

/// A text that shares the packet's bytes unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A member that must be a text of a bounded length.
pub(super) fn text<'a>(field: &'static str, raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, ReadError> {
    let rule = "a text of at most 1,024 bytes";
    let text = raw.and_then(|raw| serde_json::from_str::<Text<'a>>(raw.get()).ok());
    text.map(|text| text.0)
        .filter(|text| text.len() <= NAME_BYTES_MAX)
        .ok_or(ReadError::Field { field, rule })
}

/// How deep arrays and objects are nested. Sound for JSON; for other bytes any number will do, the parser refuses them.
pub(super) fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
