//! Documents by JSON: operations in, readings out.

use serde_json::{Map as Object, Value as Json};

use super::operation::{Stamps, is_reset, of_type};
use super::{ApplyError, At, Cut, JsonError, object, parse};
use crate::clock::Clock;
use crate::document::Document;
use crate::dot::Replica;
use crate::map::{Map, MapOperation};
use crate::state::State;

impl Document {
    /// The operation that JSON such as `{"field": "likes", "increment": 1}` asks for. Registers without a `stamp` get one of
    /// the clock.
    ///
    /// # Errors
    /// When it is no operation on a field of this document; names what is wrong and what would be right.
    pub fn operation_from_json(
        &self,
        json: &Json,
        clock: &mut Clock,
        now_ms: u64,
    ) -> Result<MapOperation, JsonError> {
        let at = At::root("operation");
        let operation = object(json, &at)?;
        let at_field = at.name("field");
        let expected = || {
            let names: Vec<String> = self
                .schema()
                .fields()
                .take(16)
                .map(|(name, _)| format!("`{}`", Cut(name)))
                .collect();
            format!("a field of the schema, such as {}", names.join(", "))
        };
        let field = operation
            .get("field")
            .ok_or_else(|| at_field.missing(expected()))?;
        let name = field.as_str().ok_or_else(|| at_field.wrong(expected(), field))?;
        let Ok(kind) = self.schema().field(name) else {
            return Err(at_field.wrong(expected(), field));
        };
        if is_reset(operation, &at)? {
            return Ok(MapOperation::Remove { name: name.into() });
        }
        let node = self.state().store.get(name, kind.tag());
        let mut stamps = Stamps { clock, now_ms };
        Ok(MapOperation::Update {
            name: name.into(),
            operation: Box::new(of_type(kind, node, operation, &mut stamps, &at, 1)?),
        })
    }

    /// Applies an operation in JSON and gives its delta; `None` when nothing changed.
    ///
    /// # Errors
    /// When it is not an operation on this document, or not possible here and now. The document is unchanged.
    pub fn apply_json(
        &mut self,
        replica: Replica,
        text: &str,
        clock: &mut Clock,
        now_ms: u64,
    ) -> Result<Option<State<Map>>, ApplyError> {
        let operation = self.operation_from_json(&parse(text)?, clock, now_ms)?;
        self.apply(replica, &operation)
            .map_err(|error| ApplyError::Operation {
                field: Cut(operation.name()).to_string(),
                error,
            })
    }

    /// What readers see: every field of the schema, those that nobody has written yet too.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let fields = self.schema().fields().map(|(name, kind)| {
            let node = self.state().store.get(name, kind.tag());
            let reading = node.map_or_else(|| kind.empty().to_json(), |node| node.to_json());
            (name.to_string(), reading)
        });
        Json::Object(fields.collect::<Object<_, _>>())
    }

    /// What readers see of one field; `None` when the schema lacks it.
    #[must_use]
    pub fn field_to_json(&self, field: &str) -> Option<Json> {
        let kind = self.schema().field(field).ok()?;
        let node = self.state().store.get(field, kind.tag());
        Some(node.map_or_else(|| kind.empty().to_json(), |node| node.to_json()))
    }
}
