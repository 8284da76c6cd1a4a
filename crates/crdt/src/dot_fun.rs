//! Dots with payloads: counters, registers and flags.

use std::fmt::Debug;

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::dot::Dot;
use crate::error::DecodeError;
use crate::store::{Join, cover};

/// So many entries are put in one by one.
const FEW: usize = 8;

/// What hangs on a dot. It never changes; `Ord` decides when a faulty peer says otherwise.
pub trait Payload: Clone + Debug + Ord {
    /// Carried in the dot reference.
    fn bit(&self) -> bool {
        false
    }
    /// Appends the rest.
    fn encode(&self, to: &mut Writer);
    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a payload.
    fn decode(bit: bool, from: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Its stamp, for the skew bound.
    fn stamp(&self) -> Option<Stamp> {
        None
    }
}

/// Entries by dot, ascending. Nearly always one, so a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotFun<T> {
    entries: Vec<(Dot, T)>,
}

impl<T> Default for DotFun<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

/// Effect of a write: the entry takes the place of those that it observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<T> {
    /// Dots of the entries that go, ascending.
    pub observed: Vec<Dot>,
    /// Dot of the new entry.
    pub dot: Dot,
    /// Its payload.
    pub payload: T,
}

impl<T: Payload> DotFun<T> {
    /// Entries by dot.
    #[must_use]
    pub fn entries(&self) -> &[(Dot, T)] {
        &self.entries
    }

    /// All dots.
    #[must_use]
    pub fn observed(&self) -> Vec<Dot> {
        self.entries.iter().map(|(dot, _)| *dot).collect()
    }

    fn get(&self, dot: Dot) -> Option<&T> {
        match self.entries.as_slice() {
            [] => None,
            [(only, payload)] => (*only == dot).then_some(payload),
            entries => entries
                .binary_search_by_key(&dot, |entry| entry.0)
                .ok()
                .and_then(|index| entries.get(index))
                .map(|entry| &entry.1),
        }
    }

    fn put(&mut self, dot: Dot, payload: T) {
        let index = self.entries.partition_point(|entry| entry.0 < dot);
        self.entries.insert(index, (dot, payload));
    }

    pub(crate) fn write(&mut self, write: &Write<T>) {
        // Both ascend.
        self.entries
            .retain(|(dot, _)| write.observed.binary_search(dot).is_err());
        self.put(write.dot, write.payload.clone());
    }

    pub(crate) fn fragment(write: &Write<T>) -> Self {
        Self {
            entries: vec![(write.dot, write.payload.clone())],
        }
    }

    pub(crate) fn covers(write: &Write<T>, to: &mut Context) {
        cover(to, &write.observed);
        to.insert(write.dot);
    }

    pub(crate) fn encode_write(write: &Write<T>, after: &Context, to: &mut Writer) {
        after.encode_observed(&write.observed, write.payload.bit(), to);
        write.payload.encode(to);
    }

    pub(crate) fn decode_write(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
    ) -> Result<Write<T>, DecodeError> {
        let (observed, bit) = after.decode_observed(from)?;
        let payload = T::decode(bit, from)?;
        if payload.bit() != bit {
            return Err(DecodeError::NotCanonical { field: "entry" });
        }
        Ok(Write {
            observed,
            dot,
            payload,
        })
    }

    pub(crate) fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        let before = self.entries.len();
        self.entries.retain_mut(|(dot, payload)| match theirs.get(*dot) {
            Some(other) => {
                if *payload < *other {
                    *payload = other.clone();
                }
                true
            }
            None => !join.theirs.contains(*dot),
        });
        join.dropped += (before - self.entries.len()) as u128;
        let new = |entry: &&(Dot, T)| !join.mine.contains(entry.0);
        if theirs.entries.len() <= FEW {
            for (dot, payload) in theirs.entries.iter().filter(new) {
                self.put(*dot, payload.clone());
            }
        } else {
            self.entries.extend(theirs.entries.iter().filter(new).cloned());
            self.entries.sort_by_key(|entry| entry.0);
        }
    }

    pub(crate) fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        let lacks = |dot: Dot, payload: &T| {
            !context.contains(dot)
                || seen
                    .and_then(|seen| seen.get(dot))
                    .is_some_and(|other| other < payload)
        };
        Self {
            entries: self
                .entries
                .iter()
                .filter(|(dot, payload)| lacks(*dot, payload))
                .cloned()
                .collect(),
        }
    }

    pub(crate) fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        for entry in &self.entries {
            emit(
                Self {
                    entries: vec![entry.clone()],
                },
                &[entry.0],
            );
        }
    }

    pub(crate) fn encode_body(&self, context: &Context, to: &mut Writer) {
        for (dot, payload) in &self.entries {
            context.encode_dot(*dot, payload.bit(), to);
            payload.encode(to);
        }
    }

    pub(crate) fn decode_body(from: &mut Reader<'_>, context: &Context) -> Result<Self, DecodeError> {
        let mut entries: Vec<(Dot, T)> = Vec::new();
        while !from.is_empty() {
            let (dot, bit) = context.decode_dot(from)?;
            let payload = T::decode(bit, from)?;
            if payload.bit() != bit || entries.last().is_some_and(|last| last.0 >= dot) {
                return Err(DecodeError::NotCanonical { field: "entry" });
            }
            entries.push((dot, payload));
        }
        Ok(Self { entries })
    }
}

/// Makes a store of a newtype over `DotFun`.
macro_rules! dot_fun_store {
    ($name:ident, $payload:ty, $tag:expr, $text:expr) => {
        impl $crate::store::Store for $name {
            const TAG: u64 = $tag;
            const NAME: &'static str = $text;

            fn is_bottom(&self) -> bool {
                self.0.entries().is_empty()
            }

            fn dots(&self, _guide: Option<&Self>, visit: &mut dyn FnMut($crate::context::Interval)) {
                let dots = self.0.entries().iter();
                dots.for_each(|(dot, _)| visit($crate::context::Interval::one(*dot)));
            }

            fn join(&mut self, theirs: &Self, join: &mut $crate::store::Join<'_>) {
                self.0.join(&theirs.0, join);
            }

            fn unknown_to(&self, seen: Option<&Self>, context: &$crate::context::Context) -> Self {
                Self(self.0.unknown_to(seen.map(|seen| &seen.0), context))
            }

            fn atoms(&self, emit: &mut dyn FnMut(Self, &[$crate::dot::Dot])) {
                self.0.atoms(&mut |store, dots| emit(Self(store), dots));
            }

            fn encode_body(&self, context: &$crate::context::Context, to: &mut $crate::codec::Writer) {
                self.0.encode_body(context, to);
            }

            fn decode_body(
                from: &mut $crate::codec::Reader<'_>,
                context: &$crate::context::Context,
                _depth: u32,
            ) -> Result<Self, $crate::error::DecodeError> {
                $crate::dot_fun::DotFun::decode_body(from, context).map(Self)
            }

            fn newest_stamp(&self) -> Option<$crate::clock::Stamp> {
                self.0
                    .entries()
                    .iter()
                    .filter_map(|(_, payload)| $crate::dot_fun::Payload::stamp(payload))
                    .max()
            }
        }

        impl $name {
            /// Entries by dot: what the reading is made of.
            #[must_use]
            pub fn entries(&self) -> &[($crate::dot::Dot, $payload)] {
                self.0.entries()
            }
        }
    };
}

/// The part of `Crdt` that is the same for all of them.
macro_rules! dot_fun_effects {
    ($payload:ty) => {
        type Effect = $crate::dot_fun::Write<$payload>;

        fn effect(&mut self, effect: &Self::Effect) {
            self.0.write(effect);
        }

        fn fragment(effect: &Self::Effect) -> Self {
            Self($crate::dot_fun::DotFun::fragment(effect))
        }

        fn covers(effect: &Self::Effect, to: &mut $crate::context::Context) {
            $crate::dot_fun::DotFun::covers(effect, to);
        }

        fn encode_effect(
            effect: &Self::Effect,
            after: &$crate::context::Context,
            to: &mut $crate::codec::Writer,
        ) {
            $crate::dot_fun::DotFun::encode_write(effect, after, to);
        }

        fn decode_effect(
            from: &mut $crate::codec::Reader<'_>,
            after: &$crate::context::Context,
            dot: $crate::dot::Dot,
            _depth: u32,
        ) -> Result<Self::Effect, $crate::error::DecodeError> {
            $crate::dot_fun::DotFun::decode_write(from, after, dot)
        }
    };
}

pub(crate) use {dot_fun_effects, dot_fun_store};
