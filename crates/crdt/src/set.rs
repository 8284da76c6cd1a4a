//! Sets.

use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::error::{DecodeError, OperationError};
use crate::keyed::{Key, KeyWrite, Keyed};
use crate::store::{Crdt, Join, Mint, Store};
use crate::value::Value;

const ELEMENT: &str = "the element";

/// What a user asks of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOperation<K = Value> {
    /// Puts the element in.
    Add(K),
    /// Takes it out; it has to be present.
    Remove(K),
}

/// What readers see of a set, and which graph can be made of it.
pub trait VisibleSet<K>: Crdt<Operation = SetOperation<K>> {
    /// Tag of the graph whose vertices are in such a set.
    const GRAPH_TAG: u64;
    /// Its name.
    const GRAPH_NAME: &'static str;
    /// Whether the element is in the set.
    fn contains(&self, key: &K) -> bool;
    /// The elements, ascending.
    fn elements<'a>(&'a self) -> Box<dyn Iterator<Item = &'a K> + 'a>
    where
        K: 'a;
}

/// Only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GSet(Keyed<Value>);

/// Observed-remove: a concurrent add wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrSet<K = Value>(Keyed<K>);

impl<K> Default for OrSet<K> {
    fn default() -> Self {
        Self(Keyed::default())
    }
}

macro_rules! keyed_store {
    () => {
        fn is_bottom(&self) -> bool {
            self.0.is_empty()
        }

        fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
            self.0.visit(guide.map(|guide| &guide.0), visit);
        }

        fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
            self.0.join(&theirs.0, join);
        }

        fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
            self.0.sweep(theirs.map(|theirs| &theirs.0), join);
        }

        fn unknown_to(&self, _seen: Option<&Self>, context: &Context) -> Self {
            Self(self.0.unknown_to(context))
        }

        fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
            self.0.atoms(&mut |store, dots| emit(Self(store), dots));
        }

        fn encode_body(&self, context: &Context, to: &mut Writer) {
            self.0.encode_body(context, to);
        }

        fn decode_body(from: &mut Reader<'_>, context: &Context, _depth: u32) -> Result<Self, DecodeError> {
            Keyed::decode_body(from, context).map(Self)
        }
    };
}

impl Store for GSet {
    const TAG: u64 = 3;
    const NAME: &'static str = "g-set";
    keyed_store!();
}

impl<K: Key> Store for OrSet<K> {
    const TAG: u64 = 5;
    const NAME: &'static str = "or-set";
    keyed_store!();
}

impl GSet {
    /// Whether the element is in the set.
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        self.0.contains(value)
    }

    /// The elements, ascending.
    pub fn elements(&self) -> impl Iterator<Item = &Value> {
        self.0.keys()
    }
}

impl Crdt for GSet {
    /// The element to add.
    type Operation = Value;
    type Effect = KeyWrite<Value>;

    fn prepare(&self, add: &Value, mint: &mut Mint<'_>) -> Result<Option<KeyWrite<Value>>, OperationError> {
        if self.0.contains(add) {
            return Ok(None);
        }
        self.0.put(add, mint).map(Some)
    }

    fn effect(&mut self, effect: &KeyWrite<Value>) {
        self.0.write(effect);
    }

    fn fragment(effect: &KeyWrite<Value>) -> Self {
        Self(Keyed::fragment(effect))
    }

    fn covers(effect: &KeyWrite<Value>, to: &mut Context) {
        Keyed::covers(effect, to);
    }

    fn encode_effect(effect: &KeyWrite<Value>, after: &Context, to: &mut Writer) {
        Keyed::encode_write(effect, after, to);
    }

    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        _depth: u32,
    ) -> Result<KeyWrite<Value>, DecodeError> {
        let write = Keyed::decode_write(from, after, dot)?;
        if write.present && write.observed.is_empty() {
            Ok(write)
        } else {
            Err(DecodeError::NotCanonical { field: "element" })
        }
    }
}

impl<K: Key> Crdt for OrSet<K> {
    type Operation = SetOperation<K>;
    type Effect = KeyWrite<K>;

    fn prepare(
        &self,
        operation: &SetOperation<K>,
        mint: &mut Mint<'_>,
    ) -> Result<Option<KeyWrite<K>>, OperationError> {
        match operation {
            SetOperation::Add(key) => self.0.put(key, mint).map(Some),
            SetOperation::Remove(key) if !self.0.contains(key) => {
                Err(OperationError::Absent { what: ELEMENT })
            }
            SetOperation::Remove(key) => self.0.take(key, mint).map(Some),
        }
    }

    fn effect(&mut self, effect: &KeyWrite<K>) {
        self.0.write(effect);
    }

    fn fragment(effect: &KeyWrite<K>) -> Self {
        Self(Keyed::fragment(effect))
    }

    fn covers(effect: &KeyWrite<K>, to: &mut Context) {
        Keyed::covers(effect, to);
    }

    fn encode_effect(effect: &KeyWrite<K>, after: &Context, to: &mut Writer) {
        Keyed::encode_write(effect, after, to);
    }

    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        _depth: u32,
    ) -> Result<KeyWrite<K>, DecodeError> {
        Keyed::decode_write(from, after, dot)
    }
}

impl<K: Key> VisibleSet<K> for OrSet<K> {
    const GRAPH_TAG: u64 = 12;
    const GRAPH_NAME: &'static str = "or-graph";

    fn contains(&self, key: &K) -> bool {
        self.0.contains(key)
    }

    fn elements<'a>(&'a self) -> Box<dyn Iterator<Item = &'a K> + 'a>
    where
        K: 'a,
    {
        Box::new(self.0.keys())
    }
}

/// An element that was removed never returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoPhaseSet<K = Value> {
    added: Keyed<K>,
    removed: Keyed<K>,
}

impl<K> Default for TwoPhaseSet<K> {
    fn default() -> Self {
        Self {
            added: Keyed::default(),
            removed: Keyed::default(),
        }
    }
}

/// Effect on a 2P-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwoPhaseEffect<K> {
    /// The element is added.
    Add(KeyWrite<K>),
    /// It is removed for ever; the observed dots are those that added it.
    Remove(KeyWrite<K>),
}

impl<K: Key> TwoPhaseSet<K> {
    /// Elements that were removed for ever, ascending.
    pub fn removed(&self) -> impl Iterator<Item = &K> {
        self.removed.keys()
    }
}

impl<K: Key> Store for TwoPhaseSet<K> {
    const TAG: u64 = 4;
    const NAME: &'static str = "2p-set";

    fn is_bottom(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
        // A removal names its element on the removed side only, so both sides guide both.
        match guide {
            None => {
                self.added.visit(None, visit);
                self.removed.visit(None, visit);
            }
            Some(guide) => {
                for side in [&guide.added, &guide.removed] {
                    self.added.visit(Some(side), visit);
                    self.removed.visit(Some(side), visit);
                }
            }
        }
    }

    fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        self.added.join(&theirs.added, join);
        self.removed.join(&theirs.removed, join);
        for key in theirs.removed.keys().filter(|key| !theirs.added.contains(key)) {
            let gone: Vec<Dot> = self
                .added
                .observed(key)
                .into_iter()
                .filter(|dot| join.theirs.contains(*dot))
                .collect();
            join.dropped += gone.len() as u128;
            self.added.forget(key, &gone);
        }
    }

    fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
        self.added.sweep(theirs.map(|theirs| &theirs.added), join);
        self.removed.sweep(theirs.map(|theirs| &theirs.removed), join);
    }

    fn unknown_to(&self, _seen: Option<&Self>, context: &Context) -> Self {
        Self {
            added: self.added.unknown_to(context),
            removed: self.removed.unknown_to(context),
        }
    }

    fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        self.added.atoms(&mut |added, dots| {
            emit(
                Self {
                    added,
                    removed: Keyed::default(),
                },
                dots,
            )
        });
        self.removed.atoms(&mut |removed, dots| {
            emit(
                Self {
                    added: Keyed::default(),
                    removed,
                },
                dots,
            )
        });
    }

    fn encode_body(&self, context: &Context, to: &mut Writer) {
        let mut added = Writer::new();
        self.added.encode_body(context, &mut added);
        to.block(&added.into_bytes());
        self.removed.encode_body(context, to);
    }

    fn decode_body(from: &mut Reader<'_>, context: &Context, _depth: u32) -> Result<Self, DecodeError> {
        let mut added = Reader::new(from.block("added")?);
        Ok(Self {
            added: Keyed::decode_body(&mut added, context)?,
            removed: Keyed::decode_body(from, context)?,
        })
    }
}

impl<K: Key> Crdt for TwoPhaseSet<K> {
    type Operation = SetOperation<K>;
    type Effect = TwoPhaseEffect<K>;

    fn prepare(
        &self,
        operation: &SetOperation<K>,
        mint: &mut Mint<'_>,
    ) -> Result<Option<TwoPhaseEffect<K>>, OperationError> {
        let (SetOperation::Add(key) | SetOperation::Remove(key)) = operation;
        if self.removed.contains(key) {
            return Err(OperationError::RemovedForEver { what: ELEMENT });
        }
        match (operation, self.added.contains(key)) {
            (SetOperation::Add(_), true) => Ok(None),
            (SetOperation::Add(_), false) => self.added.put(key, mint).map(TwoPhaseEffect::Add).map(Some),
            (SetOperation::Remove(_), false) => Err(OperationError::Absent { what: ELEMENT }),
            (SetOperation::Remove(_), true) => {
                let mut write = self.added.take(key, mint)?;
                write.present = true;
                Ok(Some(TwoPhaseEffect::Remove(write)))
            }
        }
    }

    fn effect(&mut self, effect: &TwoPhaseEffect<K>) {
        match effect {
            TwoPhaseEffect::Add(write) => self.added.write(write),
            TwoPhaseEffect::Remove(write) => {
                self.added.forget(&write.key, &write.observed);
                self.removed.write(write);
            }
        }
    }

    fn fragment(effect: &TwoPhaseEffect<K>) -> Self {
        match effect {
            TwoPhaseEffect::Add(write) => Self {
                added: Keyed::fragment(write),
                removed: Keyed::default(),
            },
            TwoPhaseEffect::Remove(write) => Self {
                added: Keyed::default(),
                removed: Keyed::fragment(write),
            },
        }
    }

    fn covers(effect: &TwoPhaseEffect<K>, to: &mut Context) {
        let (TwoPhaseEffect::Add(write) | TwoPhaseEffect::Remove(write)) = effect;
        Keyed::covers(write, to);
    }

    fn encode_effect(effect: &TwoPhaseEffect<K>, after: &Context, to: &mut Writer) {
        let (TwoPhaseEffect::Add(write) | TwoPhaseEffect::Remove(write)) = effect;
        Keyed::encode_write(write, after, to);
    }

    /// An addition observed nothing, a removal what added the element.
    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        _depth: u32,
    ) -> Result<TwoPhaseEffect<K>, DecodeError> {
        let write = Keyed::decode_write(from, after, dot)?;
        match (write.present, write.observed.is_empty()) {
            (false, _) => Err(DecodeError::NotCanonical { field: "element" }),
            (true, true) => Ok(TwoPhaseEffect::Add(write)),
            (true, false) => Ok(TwoPhaseEffect::Remove(write)),
        }
    }
}

impl<K: Key> VisibleSet<K> for TwoPhaseSet<K> {
    const GRAPH_TAG: u64 = 11;
    const GRAPH_NAME: &'static str = "2p2p-graph";

    fn contains(&self, key: &K) -> bool {
        self.added.contains(key) && !self.removed.contains(key)
    }

    fn elements<'a>(&'a self) -> Box<dyn Iterator<Item = &'a K> + 'a>
    where
        K: 'a,
    {
        Box::new(self.added.keys().filter(|key| !self.removed.contains(key)))
    }
}
