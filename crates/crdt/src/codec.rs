//! Reading and writing of canonical bytes.

use crate::dot::Dot;
use crate::error::DecodeError;

/// Collects bytes.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A number, seven bits a byte, lowest first.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Length, then bytes.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A dot that need not be in a context.
    pub(crate) fn plain_dot(&mut self, dot: Dot) {
        self.varint(u64::from(dot.slot));
        self.varint(dot.incarnation());
        self.varint(dot.sequence());
    }
}

/// Takes bytes from the front. Never allocates more than the input is long.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How much is left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// A number in its shortest form.
    ///
    /// # Errors
    /// When the bytes end, or the number is longer than 64 bits or than it needs to be.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for index in 0..10_u32 {
            let (first, rest) = self.bytes.split_first().ok_or(DecodeError::Short { field })?;
            self.bytes = rest;
            let part = u64::from(first & 0x7f);
            if index == 9 && part > 1 {
                break;
            }
            value |= part << (index * 7);
            if first & 0x80 == 0 {
                if part == 0 && index > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(DecodeError::Number { field })
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, length: u64, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Short { field })?;
        let (head, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(DecodeError::Short { field })?;
        self.bytes = rest;
        Ok(head)
    }

    /// Length, then bytes.
    ///
    /// # Errors
    /// When there are fewer bytes than the length says.
    pub fn block(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.varint(field)?;
        self.take(length, field)
    }

    /// Length, then UTF-8.
    ///
    /// # Errors
    /// When it is not.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.block(field)?).map_err(|_| DecodeError::NotText { field })
    }

    pub(crate) fn plain_dot(&mut self, field: &'static str) -> Result<Dot, DecodeError> {
        let slot = u16::try_from(self.varint(field)?).map_err(|_| DecodeError::Number { field })?;
        let (incarnation, sequence) = (self.varint(field)?, self.varint(field)?);
        Dot::from_parts(slot, incarnation, sequence).ok_or(DecodeError::Number { field })
    }
}

pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
