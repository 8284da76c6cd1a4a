//! Documents: maps with a schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dot::Replica;
use crate::error::{LimitError, OperationError};
use crate::map::{Map, MapEffect, MapOperation};
use crate::node::{Node, Operation};
use crate::state::State;

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
        Node::empty(self.0).map_or("unknown", |node| node.type_name())
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

    fn field(&self, field: &str) -> Result<FieldType, OperationError> {
        self.fields
            .get(field)
            .copied()
            .ok_or_else(|| OperationError::UnknownField { field: field.into() })
    }
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

    /// Joins a state or delta.
    ///
    /// # Errors
    /// When a bound on unknown content was reached. The document is unchanged.
    pub fn join(&mut self, other: &State<Map>) -> Result<(), LimitError> {
        self.state.join(other)
    }
}
