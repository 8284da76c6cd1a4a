//! Keys with the dots that added them: the store of sets and graphs.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::error::{DecodeError, OperationError};
use crate::store::{Join, Mint, cover};
use crate::value::Value;

/// An element of a set.
pub trait Key: Clone + Debug + Ord {
    /// Appends the encoding.
    fn encode(&self, to: &mut Writer);
    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a key.
    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Whether every reader takes it.
    ///
    /// # Errors
    /// As `Value::check`.
    fn check(&self) -> Result<(), OperationError>;
}

impl Key for Value {
    fn encode(&self, to: &mut Writer) {
        Self::encode(self, to);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(from)
    }

    fn check(&self) -> Result<(), OperationError> {
        Self::check(self)
    }
}

/// Key to dots, both ascending. Invariant: no key without dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<K> {
    dots: BTreeMap<K, Vec<Dot>>,
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self {
            dots: BTreeMap::new(),
        }
    }
}

/// Effect on one key: the observed dots go, and the new one comes or only marks the removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWrite<K> {
    /// Which key.
    pub key: K,
    /// Its dots that go, ascending.
    pub observed: Vec<Dot>,
    /// The new dot.
    pub dot: Dot,
    /// Whether the new dot stays at the key.
    pub present: bool,
}

impl<K: Key> Keyed<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.dots.is_empty()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.dots.contains_key(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.dots.keys()
    }

    pub(crate) fn observed(&self, key: &K) -> Vec<Dot> {
        self.dots.get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn put(&self, key: &K, mint: &mut Mint<'_>) -> Result<KeyWrite<K>, OperationError> {
        key.check()?;
        Ok(KeyWrite {
            key: key.clone(),
            observed: self.observed(key),
            dot: mint.dot()?,
            present: true,
        })
    }

    pub(crate) fn take(&self, key: &K, mint: &mut Mint<'_>) -> Result<KeyWrite<K>, OperationError> {
        Ok(KeyWrite {
            key: key.clone(),
            observed: self.observed(key),
            dot: mint.dot()?,
            present: false,
        })
    }

    pub(crate) fn write(&mut self, write: &KeyWrite<K>) {
        self.forget(&write.key, &write.observed);
        if write.present {
            insert(self.dots.entry(write.key.clone()).or_default(), write.dot);
        }
    }

    /// Drops some dots of a key.
    pub(crate) fn forget(&mut self, key: &K, observed: &[Dot]) {
        if let Some(dots) = self.dots.get_mut(key) {
            // Both ascend.
            dots.retain(|dot| observed.binary_search(dot).is_err());
            if dots.is_empty() {
                self.dots.remove(key);
            }
        }
    }

    pub(crate) fn fragment(write: &KeyWrite<K>) -> Self {
        let mut store = Self::default();
        if write.present {
            store.dots.insert(write.key.clone(), vec![write.dot]);
        }
        store
    }

    pub(crate) fn covers(write: &KeyWrite<K>, to: &mut Context) {
        cover(to, &write.observed);
        to.insert(write.dot);
    }

    pub(crate) fn encode_write(write: &KeyWrite<K>, after: &Context, to: &mut Writer) {
        write.key.encode(to);
        after.encode_observed(&write.observed, write.present, to);
    }

    /// A removal observed something.
    pub(crate) fn decode_write(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
    ) -> Result<KeyWrite<K>, DecodeError> {
        let key = K::decode(from)?;
        let (observed, present) = after.decode_observed(from)?;
        if observed.is_empty() && !present {
            return Err(DecodeError::NotCanonical { field: "element" });
        }
        Ok(KeyWrite {
            key,
            observed,
            dot,
            present,
        })
    }

    pub(crate) fn visit(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
        let mut each = |dots: &Vec<Dot>| dots.iter().for_each(|dot| visit(Interval::one(*dot)));
        match guide {
            None => self.dots.values().for_each(each),
            Some(guide) => guide
                .dots
                .keys()
                .filter_map(|key| self.dots.get(key))
                .for_each(&mut each),
        }
    }

    pub(crate) fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        for (key, others) in &theirs.dots {
            let mut dots = self.dots.remove(key).unwrap_or_default();
            let before = dots.len();
            dots.retain(|dot| others.binary_search(dot).is_ok() || !join.theirs.contains(*dot));
            join.dropped += (before - dots.len()) as u128;
            let kept = dots.len();
            dots.extend(others.iter().copied().filter(|dot| !join.mine.contains(*dot)));
            if dots.len() > kept {
                dots.sort_unstable();
                dots.dedup();
            }
            if !dots.is_empty() {
                self.dots.insert(key.clone(), dots);
            }
        }
    }

    pub(crate) fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
        let dropped = &mut join.dropped;
        self.dots.retain(|key, dots| {
            if theirs.is_some_and(|theirs| theirs.dots.contains_key(key)) {
                return true;
            }
            let before = dots.len();
            dots.retain(|dot| !join.theirs.contains(*dot));
            *dropped += (before - dots.len()) as u128;
            !dots.is_empty()
        });
    }

    pub(crate) fn unknown_to(&self, context: &Context) -> Self {
        let mut unknown = Self::default();
        for (key, dots) in &self.dots {
            let dots: Vec<Dot> = dots
                .iter()
                .copied()
                .filter(|dot| !context.contains(*dot))
                .collect();
            if !dots.is_empty() {
                unknown.dots.insert(key.clone(), dots);
            }
        }
        unknown
    }

    pub(crate) fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        for (key, dots) in &self.dots {
            for dot in dots {
                emit(
                    Self {
                        dots: BTreeMap::from([(key.clone(), vec![*dot])]),
                    },
                    &[*dot],
                );
            }
        }
    }

    pub(crate) fn encode_body(&self, context: &Context, to: &mut Writer) {
        for (key, dots) in &self.dots {
            key.encode(to);
            to.varint(dots.len() as u64);
            for dot in dots {
                context.encode_dot(*dot, false, to);
            }
        }
    }

    pub(crate) fn decode_body(from: &mut Reader<'_>, context: &Context) -> Result<Self, DecodeError> {
        let bad = DecodeError::NotCanonical { field: "element" };
        let mut all = BTreeMap::new();
        let mut last: Option<K> = None;
        while !from.is_empty() {
            let key = K::decode(from)?;
            let count = from.varint("dots")?;
            let mut dots: Vec<Dot> = Vec::new();
            for _ in 0..count {
                let (dot, bit) = context.decode_dot(from)?;
                if bit || dots.last().is_some_and(|last| *last >= dot) {
                    return Err(bad);
                }
                dots.push(dot);
            }
            if dots.is_empty() || last.is_some_and(|last| last >= key) {
                return Err(bad);
            }
            last = Some(key.clone());
            all.insert(key, dots);
        }
        Ok(Self { dots: all })
    }
}

fn insert(dots: &mut Vec<Dot>, dot: Dot) {
    if let Err(index) = dots.binary_search(&dot) {
        dots.insert(index, dot);
    }
}
