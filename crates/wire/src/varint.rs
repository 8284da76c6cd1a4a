//! Integers of variable length, seven bits a byte, lowest first.

use crate::error::DecodeError;
use crate::packet::Sink;

/// Ten bytes hold 64 bits.
const BYTES_MAX: u32 = 10;

pub(crate) fn put(sink: &mut impl Sink, mut value: u64) {
    while value >= 0x80 {
        sink.byte(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    sink.byte(u8::try_from(value).unwrap_or(0));
}

pub(crate) fn take(bytes: &mut &[u8], field: &'static str) -> Result<u64, DecodeError> {
    let mut value: u64 = 0;
    for index in 0..BYTES_MAX {
        let (first, rest) = bytes.split_first().ok_or(DecodeError::Short { field })?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        let shifted = part
            .checked_shl(index * 7)
            .filter(|shifted| shifted >> (index * 7) == part);
        value |= shifted.ok_or(DecodeError::Large { field })?;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Large { field })
}

pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
