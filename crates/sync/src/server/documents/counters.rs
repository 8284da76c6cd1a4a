//! Counters of rooms whose writers tell their own totals: field `counts` of `rooms/<room>`, a map from a writer to the
//! totals that it told. The largest counts, so a total that is told again, or late, changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_crdt::{Document, FieldType, Node, Value};
use serde_json::json;

use super::{DocumentError, Documents};

/// Bytes of a room's or writer's name at most.
pub const ROOM_BYTES_MAX: usize = 128;
const FIELD: &str = "counts";

/// The document of a room.
#[must_use]
pub fn room_name(room: &str) -> String {
    format!("rooms/{room}")
}

fn totals(document: &Document) -> BTreeMap<String, u64> {
    let Ok(Some(Node::Map(map))) = document.field(FIELD) else {
        return BTreeMap::new();
    };
    let entries = map.entries().filter_map(|(key, node)| match node {
        Node::MvRegister(register) => Some((key.name.to_string(), largest(register.values()))),
        _ => None,
    });
    entries.collect()
}

fn largest<'a>(values: impl Iterator<Item = &'a Value>) -> u64 {
    let numbers = values.filter_map(|value| match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

fn total(document: &Document, writer: &str) -> Option<u64> {
    let tag = FieldType::named("mv-register")?.tag();
    let Ok(Some(Node::Map(map))) = document.field(FIELD) else {
        return None;
    };
    match map.get(writer, tag) {
        Some(Node::MvRegister(register)) => Some(largest(register.values())),
        _ => None,
    }
}

impl Documents {
    /// Each writer's own total.
    ///
    /// # Errors
    /// When the room does not open in time.
    pub async fn counter_totals(
        self: &Arc<Self>,
        room: &str,
    ) -> Result<BTreeMap<String, u64>, DocumentError> {
        self.read(&room_name(room), totals).await
    }

    /// The sum over all writers.
    ///
    /// # Errors
    /// When the room does not open in time.
    pub async fn counter_value(self: &Arc<Self>, room: &str) -> Result<u64, DocumentError> {
        let sum = |document: &Document| {
            totals(document)
                .values()
                .fold(0_u64, |sum, total| sum.saturating_add(*total))
        };
        self.read(&room_name(room), sum).await
    }

    /// Tells a writer's own total. Returns once it is acknowledged, also when it was told before.
    ///
    /// # Errors
    /// When it is refused, or not acknowledged in time.
    pub async fn counter_set(
        self: &Arc<Self>,
        room: &str,
        writer: &str,
        count: u64,
    ) -> Result<(), DocumentError> {
        let writer = writer.to_owned();
        let act = move |document: &Document| {
            if total(document, &writer).is_some_and(|total| total >= count) {
                return Ok(Vec::new());
            }
            let count = i64::try_from(count).map_err(|_| "count: at most 9223372036854775807".to_owned())?;
            let value = Value::Integer(count).to_json();
            let assign = json!({"assign": value});
            Ok(vec![
                json!({"field": FIELD, "update": writer, "type": "mv-register", "operation": assign}),
            ])
        };
        self.transact(&room_name(room), Box::new(act)).await
    }
}
