//! Maps of named stores that share one context; nested maps too.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::error::{DecodeError, LimitError, OperationError};
use crate::node::{Node, NodeEffect, Operation};
use crate::state::{State, put_tag, take_tag};
use crate::store::{Crdt, Join, Mint, Store};
use crate::unknown::{FRAGMENTS, Unknown};

/// Maps in maps.
pub(crate) const DEPTH_MAX: u32 = 16;

/// A name, and the type of what it holds: one name used with two types concurrently holds both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapKey {
    /// Name.
    pub name: Arc<str>,
    /// Type tag.
    pub tag: u64,
}

/// Named stores. Removing a name is a reset of what was seen; a concurrent update survives.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: BTreeMap<MapKey, Node>,
    /// Whether a part may be of an unknown type; stays set. Not part of the state.
    unknown: bool,
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

/// What a user asks of a map.
#[derive(Clone, Debug)]
pub enum MapOperation {
    /// Changes what the name holds; makes it if need be.
    Update {
        /// Name.
        name: Arc<str>,
        /// What to do; its type chooses among stores of one name.
        operation: Box<Operation>,
    },
    /// Removes what was seen under the name, of every known type.
    Remove {
        /// Name.
        name: Arc<str>,
    },
}

impl MapOperation {
    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Update { name, .. } | Self::Remove { name } => name,
        }
    }
}

/// Effect on one name.
#[derive(Clone, Debug, PartialEq)]
pub enum MapEffect {
    /// Changes what the name holds.
    Update {
        /// Name.
        name: Arc<str>,
        /// Effect on it.
        effect: Box<NodeEffect>,
    },
    /// Removes what was seen.
    Remove {
        /// Name.
        name: Arc<str>,
        /// The dots that go.
        observed: Context,
        /// Dot of the removal.
        dot: Dot,
    },
}

impl Map {
    /// What the name holds of a type, if anything.
    #[must_use]
    pub fn get(&self, name: &str, tag: u64) -> Option<&Node> {
        self.entries.get(&MapKey {
            name: name.into(),
            tag,
        })
    }

    /// All entries, by name and type.
    pub fn entries(&self) -> impl Iterator<Item = (&MapKey, &Node)> {
        self.entries.iter()
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn named(&self, name: &Arc<str>) -> impl Iterator<Item = (&MapKey, &Node)> {
        let first = MapKey {
            name: name.clone(),
            tag: 0,
        };
        let last = MapKey {
            name: name.clone(),
            tag: u64::MAX,
        };
        self.entries.range(first..=last)
    }

    /// Which of the dots live where; with a guide, only at the keys that it has.
    pub(crate) fn named_dots(&self, guide: Option<&Self>, wanted: &Context) -> BTreeMap<Arc<str>, Context> {
        let mut found = BTreeMap::<Arc<str>, Context>::new();
        let mut look = |key: &MapKey, node: &Node, guide: Option<&Node>| {
            let mut dots = Vec::new();
            node.dots(guide, &mut |interval| {
                if wanted.touches(interval) {
                    dots.push(interval);
                }
            });
            let dots = dots.into_iter().collect::<Context>().intersection(wanted);
            if !dots.is_empty() {
                found.entry(key.name.clone()).or_default().join(&dots);
            }
        };
        match guide {
            None => self.entries.iter().for_each(|(key, node)| look(key, node, None)),
            Some(guide) => guide.entries.iter().for_each(|(key, guide)| {
                if let Some(node) = self.entries.get(key) {
                    look(key, node, Some(guide));
                }
            }),
        }
        found
    }

    fn one(key: MapKey, node: Node) -> Self {
        let unknown = node.has_unknown();
        Self {
            entries: BTreeMap::from([(key, node)]),
            unknown,
        }
    }

    /// Joins the fragments of a field whose type this build knows, kept by a build that did not.
    fn adopt(key: &MapKey, content: &Unknown, depth: u32) -> Result<Option<Node>, DecodeError> {
        let limit = |_| DecodeError::Limit {
            field: "fragments",
            limit: 0,
        };
        let mut state = State {
            store: Self::default(),
            context: content.absent().clone(),
        };
        for (context, body) in content.fragments() {
            let mut from = Reader::new(body);
            let node = Node::decode_body(key.tag, &mut from, context, depth)?;
            let store = Self::one(key.clone(), node);
            state
                .join(&State {
                    store,
                    context: context.clone(),
                })
                .map_err(limit)?;
        }
        Ok(state.store.entries.remove(key))
    }
}

impl Store for Map {
    const TAG: u64 = 10;
    const NAME: &'static str = "map";

    fn is_bottom(&self) -> bool {
        self.entries.is_empty()
    }

    fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
        match guide {
            None => self.entries.values().for_each(|node| node.dots(None, visit)),
            Some(guide) => {
                for (key, guide) in &guide.entries {
                    if let Some(node) = self.entries.get(key) {
                        node.dots(Some(guide), visit);
                    }
                }
            }
        }
    }

    fn deletions(&self, visit: &mut dyn FnMut(Dot)) {
        self.entries.values().for_each(|node| node.deletions(visit));
    }

    fn fits(&self, theirs: &Self, join: &Join<'_>) -> Result<(), LimitError> {
        for (key, other) in theirs.entries.iter().filter(|(_, other)| other.is_bounded()) {
            match self.entries.get(key) {
                Some(node) => node.fits(other, join)?,
                None => other.fits(other, join)?,
            }
        }
        Ok(())
    }

    fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        self.unknown |= theirs.unknown;
        for (key, other) in &theirs.entries {
            if let Some(node) = self.entries.get_mut(key) {
                node.join(other, join);
                if node.is_bottom() {
                    self.entries.remove(key);
                }
                continue;
            }
            let node = match other {
                Node::Unknown { tag, content } => {
                    let mut content = content.clone();
                    content.was_absent(join.mine);
                    Some(Node::Unknown { tag: *tag, content })
                }
                _ => Node::empty(key.tag).map(|mut node| {
                    node.join(other, join);
                    node
                }),
            };
            if let Some(node) = node.filter(|node| !node.is_bottom()) {
                self.entries.insert(key.clone(), node);
            }
        }
    }

    fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
        self.entries.retain(|key, node| {
            node.sweep(theirs.and_then(|theirs| theirs.entries.get(key)), join);
            !node.is_bottom()
        });
    }

    fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        let mut unknown = Self {
            entries: BTreeMap::new(),
            unknown: self.unknown,
        };
        for (key, node) in &self.entries {
            let part = node.unknown_to(seen.and_then(|seen| seen.entries.get(key)), context);
            if !part.is_bottom() {
                unknown.entries.insert(key.clone(), part);
            }
        }
        unknown
    }

    fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        for (key, node) in &self.entries {
            node.atoms(&mut |node, dots| emit(Self::one(key.clone(), node), dots));
        }
    }

    fn encode_body(&self, context: &Context, to: &mut Writer) {
        for (key, node) in &self.entries {
            to.block(key.name.as_bytes());
            let mut body = Writer::new();
            node.encode_body(context, &mut body);
            let tag = if let Node::Unknown { .. } = node {
                key.tag.saturating_add(FRAGMENTS)
            } else {
                key.tag
            };
            put_tag(body.len() as u64, tag, to);
            to.raw(&body.into_bytes());
        }
    }

    fn decode_body(from: &mut Reader<'_>, context: &Context, depth: u32) -> Result<Self, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Limit {
                field: "map",
                limit: u64::from(DEPTH_MAX),
            });
        }
        let bad = DecodeError::NotCanonical { field: "map" };
        let mut map = Self::default();
        while !from.is_empty() {
            let name: Arc<str> = from.text("name")?.into();
            let (length, tag) = take_tag(from)?;
            let mut body = Reader::new(from.take(length, "body")?);
            let (key, node) = if tag >= FRAGMENTS {
                let key = MapKey {
                    name,
                    tag: tag - FRAGMENTS,
                };
                let content = Unknown::decode_body(&mut body, context)?;
                if Node::empty(key.tag).is_none() {
                    (
                        key.clone(),
                        Some(Node::Unknown {
                            tag: key.tag,
                            content,
                        }),
                    )
                } else {
                    (key.clone(), Self::adopt(&key, &content, depth + 1)?)
                }
            } else {
                let node = Node::decode_body(tag, &mut body, context, depth + 1)?;
                (MapKey { name, tag }, Some(node).filter(|node| !node.is_bottom()))
            };
            if !body.is_empty() || map.entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(bad);
            }
            match node {
                Some(node) => {
                    map.unknown |= node.has_unknown();
                    map.entries.insert(key, node);
                }
                None if tag < FRAGMENTS => return Err(bad),
                None => {}
            }
        }
        Ok(map)
    }

    fn collect(&mut self, stable: &Context) {
        self.entries.retain(|_, node| {
            node.collect(stable);
            !node.is_bottom()
        });
    }

    fn incomplete(&self, visit: &mut dyn FnMut(Interval)) {
        self.entries.values().for_each(|node| node.incomplete(visit));
    }

    fn changed_by_collection(&self, visit: &mut dyn FnMut(Dot)) {
        self.entries
            .values()
            .for_each(|node| node.changed_by_collection(visit));
    }

    fn newest_stamp(&self) -> Option<Stamp> {
        self.entries.values().filter_map(Node::newest_stamp).max()
    }

    fn has_unknown(&self) -> bool {
        self.unknown
    }
}

impl Crdt for Map {
    type Operation = MapOperation;
    type Effect = MapEffect;

    fn prepare(
        &self,
        operation: &MapOperation,
        mint: &mut Mint<'_>,
    ) -> Result<Option<MapEffect>, OperationError> {
        match operation {
            MapOperation::Update { name, operation } => {
                let node = self.entries.get(&MapKey {
                    name: name.clone(),
                    tag: operation.tag(),
                });
                if mint.enter() > DEPTH_MAX {
                    return Err(LimitError {
                        what: "the nesting of maps",
                        limit: u64::from(DEPTH_MAX),
                    }
                    .into());
                }
                let effect = operation.prepare(node, mint)?;
                Ok(effect.map(|effect| MapEffect::Update {
                    name: name.clone(),
                    effect: Box::new(effect),
                }))
            }
            MapOperation::Remove { name } => {
                let mut observed = Vec::new();
                for (_, node) in self.named(name) {
                    node.dots(None, &mut |dot| observed.push(dot));
                }
                if observed.is_empty() {
                    return Err(OperationError::Absent { what: "the key" });
                }
                let observed = observed.into_iter().collect();
                Ok(Some(MapEffect::Remove {
                    name: name.clone(),
                    observed,
                    dot: mint.dot()?,
                }))
            }
        }
    }

    fn effect(&mut self, effect: &MapEffect) {
        match effect {
            MapEffect::Update { name, effect } => {
                let key = MapKey {
                    name: name.clone(),
                    tag: effect.tag(),
                };
                if let Some(node) = self.entries.get_mut(&key) {
                    node.effect(effect);
                    if node.is_bottom() {
                        self.entries.remove(&key);
                    }
                } else if let Some(mut node) = Node::empty(key.tag) {
                    node.effect(effect);
                    if !node.is_bottom() {
                        self.entries.insert(key, node);
                    }
                }
            }
            MapEffect::Remove { name, observed, .. } => {
                let keys: Vec<MapKey> = self.named(name).map(|(key, _)| key.clone()).collect();
                let nothing = Context::new();
                let mut join = Join {
                    mine: &nothing,
                    theirs: observed,
                    dropped: 0,
                };
                for key in keys {
                    if let Some(node) = self.entries.get_mut(&key) {
                        node.sweep(None, &mut join);
                        if node.is_bottom() {
                            self.entries.remove(&key);
                        }
                    }
                }
            }
        }
    }

    fn fragment(effect: &MapEffect) -> Self {
        match effect {
            MapEffect::Update { name, effect } => {
                let node = effect.fragment();
                if node.is_bottom() {
                    return Self::default();
                }
                Self::one(
                    MapKey {
                        name: name.clone(),
                        tag: effect.tag(),
                    },
                    node,
                )
            }
            MapEffect::Remove { .. } => Self::default(),
        }
    }

    fn covers(effect: &MapEffect, to: &mut Context) {
        match effect {
            MapEffect::Update { effect, .. } => effect.covers(to),
            MapEffect::Remove { observed, dot, .. } => {
                to.join(observed);
                to.insert(*dot);
            }
        }
    }

    fn encode_effect(effect: &MapEffect, after: &Context, to: &mut Writer) {
        match effect {
            MapEffect::Update { name, effect } => {
                to.block(name.as_bytes());
                to.varint(effect.tag());
                effect.encode(after, to);
            }
            MapEffect::Remove { name, observed, .. } => {
                to.block(name.as_bytes());
                to.varint(0);
                observed.encode(to);
            }
        }
    }

    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        depth: u32,
    ) -> Result<MapEffect, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Limit {
                field: "map",
                limit: u64::from(DEPTH_MAX),
            });
        }
        let name = from.text("name")?.into();
        Ok(match from.varint("tag")? {
            0 => MapEffect::Remove {
                name,
                observed: after.decode_part(from)?,
                dot,
            },
            tag => MapEffect::Update {
                name,
                effect: Box::new(NodeEffect::decode(tag, from, after, dot, depth + 1)?),
            },
        })
    }
}
