//! Schemas as JSON: `{"likes": {"type": "g-counter"}}`.

use serde_json::{Map as Object, Value as Json, json};

use super::{At, JsonError, object, parse};
use crate::document::{FieldType, Schema};

/// Fields of one schema.
const FIELDS_MAX: usize = 1_024;
/// Bytes of a field's name.
const NAME_BYTES_MAX: usize = 256;

impl Schema {
    /// From JSON text.
    ///
    /// # Errors
    /// When it is not a schema; names the field and what would be right.
    pub fn parse_json(text: &str) -> Result<Self, JsonError> {
        Self::from_json(&parse(text)?)
    }

    /// From JSON. At most 1,024 fields with names of 1 to 256 bytes.
    ///
    /// # Errors
    /// When it is not a schema; names the field and what would be right.
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        let at = At::root("schema");
        let mut schema = Self::default();
        let limit = |what, limit: usize, at: &At<'_>| JsonError::Limit {
            path: at.to_string(),
            what,
            limit: limit as u64,
        };
        let fields = object(json, &at)?;
        if fields.len() > FIELDS_MAX {
            return Err(limit("the number of fields", FIELDS_MAX, &at));
        }
        for (name, field) in fields {
            if name.is_empty() {
                return Err(at.unexpected("names of 1 byte or more"));
            }
            let at = at.name(name);
            if name.len() > NAME_BYTES_MAX {
                return Err(limit("the bytes of a name", NAME_BYTES_MAX, &at));
            }
            let field = object(field, &at)?;
            if let Some(other) = field.keys().find(|name| *name != "type") {
                return Err(at.name(other).unexpected("`type`"));
            }
            let at = at.name("type");
            let expected = || format!("one of {}", FieldType::names().collect::<Vec<_>>().join(", "));
            let kind = field.get("type").ok_or_else(|| at.missing(expected()))?;
            let known = kind.as_str().and_then(FieldType::named);
            schema.insert(name, known.ok_or_else(|| at.wrong(expected(), kind))?);
        }
        Ok(schema)
    }

    /// As JSON; reading it gives the same schema.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let fields = self
            .fields()
            .map(|(name, kind)| (name.to_string(), json!({ "type": kind.name() })));
        Json::Object(fields.collect::<Object<_, _>>())
    }
}
