//! Values of applications: elements, register contents, list items.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::codec::{Reader, Writer, unzigzag, zigzag};
use crate::error::{DecodeError, LimitError, OperationError};

/// Nesting of lists and records.
pub(crate) const DEPTH_MAX: u32 = 32;
/// The first tag that a newer build may use.
pub(crate) const FIRST_UNKNOWN: u64 = 16;
const NAN: u64 = 0x7ff8_0000_0000_0000;
const FIELD: &str = "value";

/// An immutable value. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// IEEE 754; all NaN are one.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Values in order.
    List(Arc<[Value]>),
    /// Names, ascending, with values.
    Record(Arc<[(Arc<str>, Value)]>),
    /// From a newer build; kept as it came.
    Unknown {
        /// Its tag, 16 or more.
        tag: u64,
        /// Its content.
        bytes: Arc<[u8]>,
    },
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A record; of equal names the last counts.
    #[must_use]
    pub fn record(fields: impl IntoIterator<Item = (Arc<str>, Value)>) -> Self {
        let sorted: std::collections::BTreeMap<Arc<str>, Value> = fields.into_iter().collect();
        Self::Record(sorted.into_iter().collect())
    }

    /// Whether every reader takes it.
    ///
    /// # Errors
    /// When it is nested too deep, a record's names do not ascend, or an unknown tag is one that is known.
    pub fn check(&self) -> Result<(), OperationError> {
        self.check_at(0)
    }

    fn check_at(&self, depth: u32) -> Result<(), OperationError> {
        if depth > DEPTH_MAX {
            return Err(LimitError {
                what: "the nesting of a value",
                limit: u64::from(DEPTH_MAX),
            }
            .into());
        }
        match self {
            Self::List(items) => items.iter().try_for_each(|item| item.check_at(depth + 1)),
            Self::Record(fields) if !fields.is_sorted_by(|a, b| a.0 < b.0) => Err(OperationError::Value {
                reason: "the names of a record have to ascend; make it with `Value::record`",
            }),
            Self::Record(fields) => fields.iter().try_for_each(|field| field.1.check_at(depth + 1)),
            Self::Unknown { tag, .. } if *tag < FIRST_UNKNOWN => Err(OperationError::Value {
                reason: "tags below 16 are not for unknown values",
            }),
            _ => Ok(()),
        }
    }

    fn tag(&self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Integer(_) => 3,
            Self::Float(_) => 4,
            Self::Text(_) => 5,
            Self::Bytes(_) => 6,
            Self::List(_) => 7,
            Self::Record(_) => 8,
            Self::Unknown { tag, .. } => *tag,
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, to: &mut Writer) {
        to.varint(self.tag());
        match self {
            Self::Null | Self::Bool(_) => {}
            Self::Integer(value) => to.varint(zigzag(*value)),
            Self::Float(value) => to.raw(&canonical_bits(*value).to_le_bytes()),
            Self::Text(text) => to.block(text.as_bytes()),
            Self::Bytes(bytes) | Self::Unknown { bytes, .. } => to.block(bytes),
            Self::List(items) => {
                to.varint(items.len() as u64);
                items.iter().for_each(|item| item.encode(to));
            }
            Self::Record(fields) => {
                to.varint(fields.len() as u64);
                for (name, value) in fields.iter() {
                    to.block(name.as_bytes());
                    value.encode(to);
                }
            }
        }
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a value.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode_at(from, 0)
    }

    fn decode_at(from: &mut Reader<'_>, depth: u32) -> Result<Self, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Limit {
                field: FIELD,
                limit: u64::from(DEPTH_MAX),
            });
        }
        let bad = DecodeError::NotCanonical { field: FIELD };
        Ok(match from.varint(FIELD)? {
            0 => Self::Null,
            1 => Self::Bool(false),
            2 => Self::Bool(true),
            3 => Self::Integer(unzigzag(from.varint(FIELD)?)),
            4 => {
                let bits = from
                    .take(8, FIELD)?
                    .iter()
                    .rev()
                    .fold(0, |bits, byte| (bits << 8) | u64::from(*byte));
                let value = f64::from_bits(bits);
                if canonical_bits(value) != bits {
                    return Err(bad);
                }
                Self::Float(value)
            }
            5 => Self::Text(from.text(FIELD)?.into()),
            6 => Self::Bytes(from.block(FIELD)?.into()),
            7 => {
                let count = from.varint(FIELD)?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Self::decode_at(from, depth + 1)?);
                }
                Self::List(items.into())
            }
            8 => {
                let count = from.varint(FIELD)?;
                let mut fields: Vec<(Arc<str>, Self)> = Vec::new();
                for _ in 0..count {
                    let name: Arc<str> = from.text(FIELD)?.into();
                    if fields.last().is_some_and(|(last, _)| *last >= name) {
                        return Err(bad);
                    }
                    fields.push((name, Self::decode_at(from, depth + 1)?));
                }
                Self::Record(fields.into())
            }
            tag if tag >= FIRST_UNKNOWN => Self::Unknown {
                tag,
                bytes: from.block(FIELD)?.into(),
            },
            _ => return Err(bad),
        })
    }
}

pub(crate) fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => {
                f64::from_bits(canonical_bits(*a)).total_cmp(&f64::from_bits(canonical_bits(*b)))
            }
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            (Self::Record(a), Self::Record(b)) => a.cmp(b),
            (Self::Unknown { tag: a, bytes: x }, Self::Unknown { tag: b, bytes: y }) => (a, x).cmp(&(b, y)),
            _ => self.tag().cmp(&other.tag()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}
