//! Bytes of sequences: runs by dot, as long as they go.

use super::run::{Content, Place, Run};
use super::{Element, NODES_MAX, Sequence, SequenceEffect};
use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::dot::Dot;
use crate::error::{DecodeError, OperationError};
use crate::value::Value;

const FIELD: &str = "run";
const FLAG_BITS: u32 = 6;
const DELETED: u64 = 1;
const PLACED: u64 = 2;
const LEFT: u64 = 4;
const PARENT: u64 = 8;
const ORIGIN: u64 = 16;
const RAISED: u64 = 32;

impl Element for Value {
    const TAG: u64 = 13;
    const NAME: &'static str = "list";

    fn encode_run(run: &[Self], to: &mut Writer) {
        run.iter().for_each(|value| value.encode(to));
    }

    fn decode_run(count: u64, from: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        (0..count).map(|_| Self::decode(from)).collect()
    }

    fn check(&self) -> Result<(), OperationError> {
        Self::check(self)
    }
}

impl Element for char {
    const TAG: u64 = 14;
    const NAME: &'static str = "text";

    fn encode_run(run: &[Self], to: &mut Writer) {
        let text: String = run.iter().collect();
        to.block(text.as_bytes());
    }

    fn decode_run(count: u64, from: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let run: Vec<Self> = from.text(FIELD)?.chars().collect();
        if run.len() as u64 == count {
            Ok(run)
        } else {
            Err(DecodeError::NotCanonical { field: FIELD })
        }
    }
}

impl<T: Element> Sequence<T> {
    pub(super) fn encode_runs(&self, context: &Context, to: &mut Writer) {
        let mut runs = self.runs().peekable();
        while let Some(run) = runs.next() {
            // What continues by dots is one run here, whatever stands between in the order.
            let mut whole = std::borrow::Cow::Borrowed(run);
            while let Some(next) = runs.next_if(|next| whole.can_join(next)) {
                whole.to_mut().append(next.clone());
            }
            encode_run(&whole, context, to);
        }
    }

    pub(super) fn decode_runs(from: &mut Reader<'_>, context: &Context) -> Result<Self, DecodeError> {
        let mut runs: Vec<Run<T>> = Vec::new();
        let mut nodes = 0_u64;
        while !from.is_empty() {
            let run = decode_run::<T>(from, context)?;
            nodes = nodes.saturating_add(run.len());
            if nodes > NODES_MAX {
                return Err(DecodeError::Limit {
                    field: FIELD,
                    limit: NODES_MAX,
                });
            }
            if runs
                .last()
                .is_some_and(|last| last.last() >= run.first || last.can_join(&run))
            {
                return Err(DecodeError::NotCanonical { field: FIELD });
            }
            runs.push(run);
        }
        Ok(Self::from_runs(runs))
    }
}

fn encode_run<T: Element>(run: &Run<T>, context: &Context, to: &mut Writer) {
    context.encode_dot(run.first, false, to);
    let mut flags = if run.is_alive() { 0 } else { DELETED };
    if let Some(place) = run.place {
        flags |= PLACED;
        flags |= if place.left { LEFT } else { 0 };
        flags |= if place.parent.is_some() { PARENT } else { 0 };
        flags |= if place.right_origin.is_some() { ORIGIN } else { 0 };
        flags |= if place.level > 0 { RAISED } else { 0 };
    }
    to.varint((run.len() << FLAG_BITS) | flags);
    if let Some(place) = run.place {
        if place.level > 0 {
            to.varint(place.level);
            to.plain_dot(place.key);
        }
        for dot in [place.parent, place.right_origin].into_iter().flatten() {
            to.plain_dot(dot);
        }
    }
    match &run.content {
        Content::Alive(values) => T::encode_run(values, to),
        Content::Deleted { by, .. } => to.plain_dot(*by),
    }
}

fn decode_run<T: Element>(from: &mut Reader<'_>, context: &Context) -> Result<Run<T>, DecodeError> {
    let bad = DecodeError::NotCanonical { field: FIELD };
    let (first, bit) = context.decode_dot(from)?;
    let head = from.varint(FIELD)?;
    let count = head >> FLAG_BITS;
    let has = |flag: u64| head & flag != 0;
    let place = if has(PLACED) {
        let (mut level, mut key) = (0, first);
        if has(RAISED) {
            level = from.varint(FIELD)?;
            key = from.plain_dot(FIELD)?;
            if level == 0 {
                return Err(bad);
            }
        }
        let parent = if has(PARENT) {
            Some(from.plain_dot(FIELD)?)
        } else {
            None
        };
        let right_origin = if has(ORIGIN) {
            Some(from.plain_dot(FIELD)?)
        } else {
            None
        };
        Some(Place {
            level,
            key,
            parent,
            left: has(LEFT),
            right_origin,
        })
    } else {
        None
    };
    let stray = place.is_none() && (!has(DELETED) || head & (LEFT | PARENT | ORIGIN | RAISED) != 0);
    if bit
        || count == 0
        || count > NODES_MAX
        || stray
        || place.is_some_and(|place| place.left && place.right_origin.is_some())
    {
        return Err(bad);
    }
    let content = if has(DELETED) {
        let by = from.plain_dot(FIELD)?;
        if by != Dot::STABLE && !context.contains(by) {
            return Err(DecodeError::UnknownDot { field: FIELD });
        }
        Content::Deleted { by, count }
    } else {
        Content::Alive(T::decode_run(count, from)?)
    };
    let run = Run {
        first,
        place,
        content,
    };
    if context.contains(run.last())
        && context.find(first).map(|found| found.0) == context.find(run.last()).map(|found| found.0)
    {
        Ok(run)
    } else {
        Err(DecodeError::UnknownDot { field: FIELD })
    }
}

/// A deletion is 0 and the nodes; an insertion has the number of elements, shifted, and where it refers to.
pub(super) fn encode_effect<T: Element>(effect: &SequenceEffect<T>, after: &Context, to: &mut Writer) {
    match effect {
        SequenceEffect::Insert { place, values, .. } => {
            let left = u64::from(place.left);
            let parent = u64::from(place.parent.is_some()) << 1;
            let origin = u64::from(place.right_origin.is_some()) << 2;
            to.varint(((values.len() as u64) << 3) | left | parent | origin);
            for dot in [place.parent, place.right_origin].into_iter().flatten() {
                after.encode_dot(dot, false, to);
            }
            T::encode_run(values, to);
        }
        SequenceEffect::Delete { nodes, .. } => {
            to.varint(0);
            nodes.encode(to);
        }
    }
}

pub(super) fn decode_effect<T: Element>(
    from: &mut Reader<'_>,
    after: &Context,
    dot: Dot,
) -> Result<SequenceEffect<T>, DecodeError> {
    let bad = DecodeError::NotCanonical { field: FIELD };
    let head = from.varint(FIELD)?;
    if head == 0 {
        let nodes = after.decode_part(from)?;
        return Ok(SequenceEffect::Delete { nodes, dot });
    }
    let (count, left) = (head >> 3, head & 1 == 1);
    let last = dot.after(count.saturating_sub(1));
    let mut refers = |bit: u64| {
        if head & bit == 0 {
            return Ok(None);
        }
        match after.decode_dot(from)? {
            (dot, false) => Ok(Some(dot)),
            (_, true) => Err(bad.clone()),
        }
    };
    let place = Place {
        level: 0,
        key: dot,
        parent: refers(2)?,
        left,
        right_origin: refers(4)?,
    };
    let stray = place.left && (place.parent.is_none() || place.right_origin.is_some());
    if count == 0 || count > NODES_MAX || stray || last.incarnation() != dot.incarnation() {
        return Err(bad);
    }
    let values = T::decode_run(count, from)?;
    Ok(SequenceEffect::Insert {
        first: dot,
        place,
        values,
    })
}
