//! Values as JSON. Every value has one form, and reading that form gives the value back.

use std::sync::Arc;

use serde_json::{Number, Value as Json, json};

use super::{At, JsonError, SAFE_MAX, integer, integer_to_json, object};
use crate::value::{DEPTH_MAX, FIRST_UNKNOWN, Value};

const FORMS: &str = "`$integer`, `$float`, `$bytes`, `$record` or `$unknown`, alone in its object";
const HEXADECIMAL: &str = "hexadecimal digits, lower case, two a byte";

impl Value {
    /// From its JSON form; `path` names it in errors.
    ///
    /// # Errors
    /// When the JSON is no value, or nested too deep.
    pub fn from_json(json: &Json, path: &str) -> Result<Self, JsonError> {
        Self::from_json_at(json, &At::root(path), 0)
    }

    pub(super) fn from_json_at(json: &Json, at: &At<'_>, depth: u32) -> Result<Self, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::Limit {
                path: at.to_string(),
                what: "the nesting of a value",
                limit: u64::from(DEPTH_MAX),
            });
        }
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(on) => Self::Bool(*on),
            Json::String(text) => Self::text(text),
            Json::Number(number) => number_from_json(number).ok_or_else(|| {
                at.wrong(
                    "a safe integer or a fraction, or {\"$integer\": \"…\"} or {\"$float\": \"…\"}",
                    json,
                )
            })?,
            Json::Array(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| Self::from_json_at(item, &at.index(index), depth + 1));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Json::Object(fields) => {
                if let Some((name, content)) = fields.iter().find(|(name, _)| name.starts_with('$')) {
                    let at = at.name(name);
                    if fields.len() > 1 {
                        return Err(at.unexpected(FORMS));
                    }
                    return Self::tagged(name, content, json, &at, depth);
                }
                let fields = fields.iter().map(|(name, content)| {
                    Ok((
                        Arc::from(name.as_str()),
                        Self::from_json_at(content, &at.name(name), depth + 1)?,
                    ))
                });
                Self::record(fields.collect::<Result<Vec<_>, JsonError>>()?)
            }
        })
    }

    fn tagged(name: &str, content: &Json, whole: &Json, at: &At<'_>, depth: u32) -> Result<Self, JsonError> {
        Ok(match name {
            "$integer" => {
                let number = integer(whole, at)?;
                i64::try_from(number)
                    .map(Self::Integer)
                    .map_err(|_| at.wrong("an integer of 64 bits", content))?
            }
            "$float" => content
                .as_str()
                .and_then(float_bits)
                .map(|bits| Self::Float(f64::from_bits(bits)))
                .ok_or_else(|| {
                    at.wrong("16 hexadecimal digits, lower case: the bits of IEEE 754", content)
                })?,
            "$bytes" => Self::Bytes(bytes(content, at)?.into()),
            "$record" => Self::record(pairs(content, at, depth)?),
            "$unknown" => {
                let parts = object(content, at)?;
                let tag = parts
                    .get("tag")
                    .map(|tag| integer(tag, &at.name("tag")))
                    .transpose()?;
                let tag = tag.and_then(|tag| u64::try_from(tag).ok());
                match (tag, parts.get("bytes"), parts.len()) {
                    (Some(tag), Some(content), 2) if tag >= FIRST_UNKNOWN => Self::Unknown {
                        tag,
                        bytes: bytes(content, &at.name("bytes"))?.into(),
                    },
                    _ => return Err(at.wrong("{\"tag\": 16 or more, \"bytes\": \"…\"}", content)),
                }
            }
            _ => return Err(at.unexpected(FORMS)),
        })
    }

    /// The JSON form. Integers that JSON numbers do not carry safely, whole floats, bytes and the like have forms of
    /// their own, so that no two values look the same.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(on) => Json::Bool(*on),
            Self::Integer(number) => integer_to_json(i128::from(*number)),
            Self::Float(number) => Number::from_f64(*number)
                .filter(|_| number.fract() != 0.0)
                .map_or_else(
                    || json!({ "$float": format!("{:016x}", self.float_bits()) }),
                    Json::Number,
                ),
            Self::Text(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => json!({ "$bytes": to_hexadecimal(bytes) }),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Record(fields) if fields.iter().any(|(name, _)| name.starts_with('$')) => {
                let pairs = fields
                    .iter()
                    .map(|(name, value)| json!([name.to_string(), value.to_json()]));
                json!({ "$record": pairs.collect::<Vec<_>>() })
            }
            Self::Record(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_json()))
                    .collect(),
            ),
            Self::Unknown { tag, bytes } => {
                json!({ "$unknown": { "bytes": to_hexadecimal(bytes), "tag": integer_to_json(i128::from(*tag)) } })
            }
        }
    }

    fn float_bits(&self) -> u64 {
        match self {
            Self::Float(number) => crate::value::canonical_bits(*number),
            _ => 0,
        }
    }
}

/// A number whose value is whole and safe.
pub(super) fn safe_integer(number: &Number) -> Option<i64> {
    let whole = number.as_i64().or_else(|| {
        // `1.0` and `1e2` are whole numbers to readers that know only doubles.
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        (float.abs() <= SAFE_MAX as f64).then_some(float as i64)
    })?;
    (whole.unsigned_abs() <= SAFE_MAX).then_some(whole)
}

/// Whole and safe: an integer. A fraction: a float. Anything else has lost digits on the way, or soon will.
fn number_from_json(number: &Number) -> Option<Value> {
    if let Some(whole) = safe_integer(number) {
        return Some(Value::Integer(whole));
    }
    number
        .as_f64()
        .filter(|float| float.fract() != 0.0)
        .map(Value::Float)
}

fn pairs(content: &Json, at: &At<'_>, depth: u32) -> Result<Vec<(Arc<str>, Value)>, JsonError> {
    let expected = "an array of [name, value]";
    let items = content.as_array().ok_or_else(|| at.wrong(expected, content))?;
    let mut pairs = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        match item.as_array().map(Vec::as_slice) {
            Some([Json::String(name), value]) => {
                pairs.push((name.as_str().into(), Value::from_json_at(value, &at, depth + 1)?));
            }
            _ => return Err(at.wrong("[name, value]", item)),
        }
    }
    Ok(pairs)
}

/// Digits without leading zeros, with a minus sign if need be.
pub(super) fn decimal(text: &str) -> Option<i128> {
    let number: i128 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn float_bits(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(is_digit);
    let bits = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
    (crate::value::canonical_bits(f64::from_bits(bits)) == bits).then_some(bits)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn bytes(json: &Json, at: &At<'_>) -> Result<Vec<u8>, JsonError> {
    json.as_str()
        .and_then(from_hexadecimal)
        .ok_or_else(|| at.wrong(HEXADECIMAL, json))
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn to_hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
    }
    text
}
