//! Bytes of contexts and of dots that refer to them; `docs/CRDT.md` §9.

use super::{Context, Interval};
use crate::codec::{Reader, Writer};
use crate::dot::{Dot, counter_of, split_counter};
use crate::error::DecodeError;

const FIELD: &str = "context";
const BAD: DecodeError = DecodeError::NotCanonical { field: FIELD };

impl Context {
    /// Appends the encoding.
    pub fn encode(&self, to: &mut Writer) {
        let slots = self.intervals.chunk_by(|a, b| a.slot == b.slot);
        to.varint(slots.clone().count() as u64);
        let mut next_slot = 0;
        for group in slots {
            let Some(slot) = group.first().map(|interval| interval.slot) else {
                continue;
            };
            let inc = group
                .first()
                .map_or(0, |interval| split_counter(interval.first).0);
            let many = group
                .iter()
                .any(|i| split_counter(i.first).0 != inc || split_counter(i.last).0 != inc);
            let gap = u64::from(slot) - next_slot;
            next_slot = u64::from(slot) + 1;
            let count = group.len() as u64;
            to.varint((gap << 3) | (u64::from(many) << 2) | (count - 1).min(3));
            if count >= 4 {
                to.varint(count - 4);
            }
            if many {
                encode_many(group, to);
            } else {
                encode_single(inc, group, to);
            }
        }
    }

    /// Bytes of the encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::new();
        self.encode(&mut to);
        to.into_bytes()
    }

    /// Reads what `to_bytes` gave.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a context.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let context = Self::decode(&mut from)?;
        if from.is_empty() {
            Ok(context)
        } else {
            Err(DecodeError::Trailing { left: from.left() })
        }
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a context.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let slots = from.varint(FIELD)?;
        let mut context = Self::new();
        let mut next_slot = 0_u64;
        for _ in 0..slots {
            let head = from.varint(FIELD)?;
            let slot = u16::try_from(next_slot.checked_add(head >> 3).ok_or(BAD)?).map_err(|_| BAD)?;
            next_slot = u64::from(slot) + 1;
            let mut count = (head & 3) + 1;
            if count == 4 {
                count = from.varint(FIELD)?.checked_add(4).ok_or(BAD)?;
            }
            let start = context.intervals.len();
            if head & 4 == 0 {
                decode_single(slot, count, &mut context, from)?;
            } else {
                decode_many(slot, count, &mut context, from)?;
                let inc = context
                    .intervals
                    .get(start)
                    .map_or(0, |i| split_counter(i.first).0);
                let group = context.intervals.iter().skip(start);
                if group
                    .into_iter()
                    .all(|i| split_counter(i.first).0 == inc && split_counter(i.last).0 == inc)
                {
                    return Err(BAD);
                }
            }
        }
        Ok(context)
    }

    /// Appends a reference to a dot of this context. A dot that is not here breaks invariant S1; it is written so that
    /// no reader accepts it.
    pub(crate) fn encode_dot(&self, dot: Dot, bit: bool, to: &mut Writer) {
        let Some((index, interval)) = self.find(dot) else {
            to.varint(u64::MAX);
            return;
        };
        to.varint(((index as u64) << 1) | u64::from(bit));
        if interval.first == interval.last {
            return;
        }
        let ((inc, seq), (last_inc, _)) = (split_counter(interval.first), split_counter(interval.last));
        if inc == last_inc {
            to.varint(dot.sequence() - seq);
        } else {
            to.varint(dot.incarnation() - inc);
            to.varint(dot.sequence());
        }
    }

    pub(crate) fn decode_dot(&self, from: &mut Reader<'_>) -> Result<(Dot, bool), DecodeError> {
        let unknown = DecodeError::UnknownDot { field: "dot" };
        let head = from.varint("dot")?;
        let index = usize::try_from(head >> 1).map_err(|_| unknown.clone())?;
        let interval = *self.intervals.get(index).ok_or(unknown.clone())?;
        let inc = split_counter(interval.first).0;
        let counter = if interval.first == interval.last {
            interval.first
        } else if inc == split_counter(interval.last).0 {
            let offset = from.varint("dot")?;
            interval.first.checked_add(offset).ok_or(unknown.clone())?
        } else {
            let inc = inc.checked_add(from.varint("dot")?).ok_or(unknown.clone())?;
            let seq = from.varint("dot")?;
            counter_of(inc, seq).ok_or(unknown.clone())?
        };
        let dot = Dot {
            slot: interval.slot,
            counter,
        };
        if interval.contains(dot) {
            Ok((dot, head & 1 == 1))
        } else {
            Err(unknown)
        }
    }
}

impl Context {
    /// Appends dots of this context that ascend, with a bit.
    pub(crate) fn encode_observed(&self, dots: &[Dot], bit: bool, to: &mut Writer) {
        to.varint(((dots.len() as u64) << 1) | u64::from(bit));
        dots.iter().for_each(|dot| self.encode_dot(*dot, false, to));
    }

    pub(crate) fn decode_observed(&self, from: &mut Reader<'_>) -> Result<(Vec<Dot>, bool), DecodeError> {
        let head = from.varint("observed")?;
        let mut dots: Vec<Dot> = Vec::new();
        for _ in 0..head >> 1 {
            let (dot, bit) = self.decode_dot(from)?;
            if bit || dots.last().is_some_and(|last| *last >= dot) {
                return Err(DecodeError::NotCanonical { field: "observed" });
            }
            dots.push(dot);
        }
        Ok((dots, head & 1 == 1))
    }

    /// Reads a part of this context that is not empty.
    pub(crate) fn decode_part(&self, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let part = Self::decode(from)?;
        if part.is_empty() || !part.is_subset(self) {
            return Err(DecodeError::UnknownDot { field: "observed" });
        }
        Ok(part)
    }
}

fn encode_single(inc: u64, group: &[Interval], to: &mut Writer) {
    to.varint(inc);
    let mut previous: Option<u64> = None;
    for interval in group {
        let z = previous.map_or_else(
            || split_counter(interval.first).1,
            |last| interval.first - last - 2,
        );
        let long = interval.last > interval.first;
        to.varint((z << 1) | u64::from(long));
        if long {
            to.varint(interval.last - interval.first - 1);
        }
        previous = Some(interval.last);
    }
}

fn decode_single(slot: u16, count: u64, to: &mut Context, from: &mut Reader<'_>) -> Result<(), DecodeError> {
    let inc = from.varint(FIELD)?;
    let mut previous: Option<u64> = None;
    for _ in 0..count {
        let head = from.varint(FIELD)?;
        let first = match previous {
            None => counter_of(inc, head >> 1),
            Some(last) => last.checked_add(2).and_then(|next| next.checked_add(head >> 1)),
        };
        let first = first.ok_or(BAD)?;
        let more = if head & 1 == 1 {
            from.varint(FIELD)?.checked_add(1).ok_or(BAD)?
        } else {
            0
        };
        let last = first.checked_add(more).ok_or(BAD)?;
        if split_counter(first).0 != inc || split_counter(last).0 != inc {
            return Err(BAD);
        }
        to.intervals.push(Interval { slot, first, last });
        previous = Some(last);
    }
    Ok(())
}

fn encode_many(group: &[Interval], to: &mut Writer) {
    let mut previous: Option<u64> = None;
    for interval in group {
        let (inc, seq) = split_counter(interval.first);
        let previous_inc = previous.map_or(0, |last| split_counter(last).0);
        to.varint(inc - previous_inc);
        let z = match previous {
            Some(last) if inc == previous_inc => interval.first - last - 2,
            _ => seq,
        };
        let long = interval.last > interval.first;
        to.varint((z << 1) | u64::from(long));
        if long {
            let (last_inc, last_seq) = split_counter(interval.last);
            to.varint(last_inc - inc);
            to.varint(if last_inc == inc {
                interval.last - interval.first - 1
            } else {
                last_seq
            });
        }
        previous = Some(interval.last);
    }
}

fn decode_many(slot: u16, count: u64, to: &mut Context, from: &mut Reader<'_>) -> Result<(), DecodeError> {
    let mut previous: Option<u64> = None;
    for _ in 0..count {
        let previous_inc = previous.map_or(0, |last| split_counter(last).0);
        let inc = previous_inc.checked_add(from.varint(FIELD)?).ok_or(BAD)?;
        let head = from.varint(FIELD)?;
        let first = match previous {
            Some(last) if inc == previous_inc => last
                .checked_add(2)
                .and_then(|next| next.checked_add(head >> 1))
                .filter(|c| split_counter(*c).0 == inc),
            _ => counter_of(inc, head >> 1),
        };
        let first = first.ok_or(BAD)?;
        if previous.is_some_and(|last| first < last.saturating_add(2)) {
            return Err(BAD);
        }
        let mut last = first;
        if head & 1 == 1 {
            let more_inc = from.varint(FIELD)?;
            let seq = from.varint(FIELD)?;
            last = if more_inc == 0 {
                first
                    .checked_add(seq)
                    .and_then(|c| c.checked_add(1))
                    .filter(|c| split_counter(*c).0 == inc)
            } else {
                inc.checked_add(more_inc).and_then(|inc| counter_of(inc, seq))
            }
            .ok_or(BAD)?;
        }
        to.intervals.push(Interval { slot, first, last });
        previous = Some(last);
    }
    Ok(())
}
