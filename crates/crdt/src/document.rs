//! Documents: maps with a schema.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Clock;
use crate::context::{Context, Interval};
use crate::dot::Replica;
use crate::engine::ReceiveError;
use crate::error::{LimitError, OperationError};
use crate::map::{Map, MapEffect, MapOperation};
use crate::node::{Node, Operation};
use crate::state::{Digest, State};
use crate::unknown::Unknown;

/// Type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType(u64);

impl FieldType {
    /// By its name in schemas, such as `g-counter`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Node::tag_of(name).map(Self)
    }

    /// Tag in bytes.
    #[must_use]
    pub fn tag(self) -> u64 {
        self.0
    }

    /// Name in schemas.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.empty().type_name()
    }

    /// Names of all types.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Node::type_names()
    }

    /// A store that nobody has written yet.
    #[must_use]
    pub fn empty(self) -> Node {
        Node::empty(self.0).unwrap_or_else(|| Node::Unknown {
            tag: self.0,
            content: Unknown::default(),
        })
    }
}

/// Fields and their types. Local: it is not replicated, and two builds may have different ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    fields: BTreeMap<Arc<str>, FieldType>,
}

impl Schema {
    /// Fields by name and name of the type.
    ///
    /// # Errors
    /// When a type is not known; names the field.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OperationError> {
        let mut schema = Self::default();
        for (field, name) in fields {
            let found = FieldType::named(name).ok_or_else(|| OperationError::WrongType {
                field: field.into(),
                operation: "a type of docs/CRDT.md",
                found: name.into(),
            })?;
            schema.fields.insert(field.into(), found);
        }
        Ok(schema)
    }

    /// Fields by name.
    pub fn fields(&self) -> impl Iterator<Item = (&Arc<str>, FieldType)> {
        self.fields.iter().map(|(name, found)| (name, *found))
    }

    #[cfg(feature = "json")]
    pub(crate) fn insert(&mut self, name: &str, field: FieldType) {
        self.fields.insert(name.into(), field);
    }

    pub(crate) fn field(&self, field: &str) -> Result<FieldType, OperationError> {
        self.fields
            .get(field)
            .copied()
            .ok_or_else(|| OperationError::UnknownField { field: field.into() })
    }
}

/// What a join changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// The part of what came that was new: what others may still lack.
    pub news: State<Map>,
    /// Names of fields that changed, ascending; also such as the schema lacks.
    pub changed: BTreeSet<Arc<str>>,
}

/// A map and the schema that its readers and writers use. Fields that the schema lacks are kept, joined and relayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    schema: Schema,
    state: State<Map>,
}

impl Document {
    /// An empty document.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            state: State::new(),
        }
    }

    /// A document with a state that came from elsewhere.
    #[must_use]
    pub fn with_state(schema: Schema, state: State<Map>) -> Self {
        Self { schema, state }
    }

    /// What is replicated.
    #[must_use]
    pub fn state(&self) -> &State<Map> {
        &self.state
    }

    /// What is replicated, for who keeps membership: retirement, collection, and dots without effect.
    #[must_use]
    pub fn state_mut(&mut self) -> &mut State<Map> {
        &mut self.state
    }

    /// Fields and types.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The field's store; `None` as long as nobody has written it.
    ///
    /// # Errors
    /// When the schema has no such field.
    pub fn field(&self, field: &str) -> Result<Option<&Node>, OperationError> {
        Ok(self.state.store.get(field, self.schema.field(field)?.tag()))
    }

    /// The map operation for an operation on a field, checked against the schema; engines take it.
    ///
    /// # Errors
    /// When the schema has no such field or another type for it.
    pub fn operation(&self, field: &str, operation: Operation) -> Result<MapOperation, OperationError> {
        let found = self.schema.field(field)?;
        if found.tag() != operation.tag() {
            let operation = operation.type_name();
            return Err(OperationError::WrongType {
                field: field.into(),
                operation,
                found: found.name().into(),
            });
        }
        Ok(MapOperation::Update {
            name: field.into(),
            operation: Box::new(operation),
        })
    }

    /// Changes a field and gives the delta; `None` when nothing changed.
    ///
    /// # Errors
    /// When the schema or the field's type does not allow it. The document is unchanged.
    pub fn update(
        &mut self,
        replica: Replica,
        field: &str,
        operation: Operation,
    ) -> Result<Option<State<Map>>, OperationError> {
        let operation = self.operation(field, operation)?;
        self.state.update(replica, &operation)
    }

    /// Prepares without applying; for the operation engine.
    ///
    /// # Errors
    /// As `update`.
    pub fn prepare(
        &self,
        replica: Replica,
        field: &str,
        operation: Operation,
    ) -> Result<Option<MapEffect>, OperationError> {
        self.state.prepare(replica, &self.operation(field, operation)?)
    }

    /// Applies an operation of `operation` and gives its delta; `None` when nothing changed.
    ///
    /// # Errors
    /// When it is not possible here and now. The document is unchanged.
    pub fn apply(
        &mut self,
        replica: Replica,
        operation: &MapOperation,
    ) -> Result<Option<State<Map>>, OperationError> {
        self.state.update(replica, operation)
    }

    /// Joins a state or delta that was looked at before, and says what that changed; `receive` is for others. Takes time by the delta, not the document, unless the delta
    /// removes elements or keys without naming their place.
    ///
    /// # Errors
    /// When a bound was reached. The document is unchanged.
    pub fn join(&mut self, other: &State<Map>) -> Result<Joined, LimitError> {
        let news = other.difference(&self.state);
        if news.is_bottom() {
            return Ok(Joined::default());
        }
        let mut changed: BTreeSet<Arc<str>> = news.store.entries().map(|(key, _)| key.name.clone()).collect();
        // The difference has exactly the dots that are new or that live here and go.
        let mut gone = news.context.intersection(&self.state.context);
        for guide in [Some(&other.store), None] {
            if !gone.is_empty() {
                let found = self.state.store.named_dots(guide, &gone);
                gone = gone.difference(&found.values().fold(Context::new(), |mut all, dots| {
                    all.join(dots);
                    all
                }));
                changed.extend(found.into_keys());
            }
        }
        self.state.join(&news)?;
        Ok(Joined { news, changed })
    }

    /// Joins what came from elsewhere, unless a stamp in it is further ahead of `now_ms` than clocks may differ: such a value
    /// would win for as long.
    ///
    /// # Errors
    /// When a clock is ahead (the same may be received later), or a bound was reached. The document is unchanged.
    pub fn receive(
        &mut self,
        delta: &State<Map>,
        clock: &mut Clock,
        now_ms: u64,
    ) -> Result<Joined, ReceiveError> {
        let newest = delta.newest_stamp();
        if let Some(stamp) = newest {
            clock.check(stamp, now_ms)?;
        }
        let joined = self.join(delta)?;
        if let Some(stamp) = newest {
            clock.recover(stamp);
        }
        Ok(joined)
    }

    /// Dots of a delta that are neither known here nor of its writer. Whoever takes deltas from writers that are not
    /// trusted refuses those where this is not empty: a writer that uses another's dots ends that one's writing, or gives
    /// its dots two meanings.
    #[must_use]
    pub fn foreign(&self, delta: &State<Map>, writer: Replica) -> Context {
        let own = Context::from(Interval {
            slot: writer.slot(),
            first: writer.base() + 1,
            last: writer.end(),
        });
        delta.context.difference(&self.state.context).difference(&own)
    }

    /// What others have to have so that they have all that is here; smaller than the state.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.state.context
    }

    /// Whether all that was seen elsewhere was seen here.
    #[must_use]
    pub fn covers(&self, context: &Context) -> bool {
        context.is_subset(&self.state.context)
    }

    /// What to ask others with.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.state.digest()
    }

    /// The delta for who told its digest; bottom when it lacks nothing.
    #[must_use]
    pub fn missing(&self, digest: &Digest) -> State<Map> {
        self.state.missing(digest)
    }

    /// Bytes of the encoded state. Takes time by the document: between two measurements, add the bytes of deltas.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.state.encode().len()
    }
}
