//! Readings as JSON.

use serde_json::{Map as Object, Value as Json, json};

use super::integer_to_json;
use crate::graph::{Edge, Graph};
use crate::map::Map;
use crate::node::Node;
use crate::set::VisibleSet;
use crate::value::Value;

fn list<'a>(values: impl Iterator<Item = &'a Value>) -> Json {
    Json::Array(values.map(Value::to_json).collect())
}

fn graph<V: VisibleSet<Value>, E: VisibleSet<Edge>>(graph: &Graph<V, E>) -> Json {
    let edges = graph
        .edges()
        .map(|edge| json!({ "from": edge.from.to_json(), "to": edge.to.to_json() }));
    json!({ "edges": edges.collect::<Vec<_>>(), "vertices": list(graph.vertices()) })
}

/// Key to type to reading: one key used with two types concurrently shows both. Types that are not known are not shown.
fn map(map: &Map) -> Json {
    let mut keys = Object::new();
    for (key, node) in map.entries() {
        if matches!(node, Node::Unknown { .. }) {
            continue;
        }
        let types = keys
            .entry(key.name.to_string())
            .or_insert_with(|| Json::Object(Object::new()));
        if let Some(types) = types.as_object_mut() {
            types.insert(node.type_name().into(), node.to_json());
        }
    }
    Json::Object(keys)
}

impl Node {
    /// What readers see, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::GCounter(store) => integer_to_json(i128::try_from(store.value()).unwrap_or(i128::MAX)),
            Self::PnCounter(store) => integer_to_json(store.value()),
            Self::GSet(store) => list(store.elements()),
            Self::TwoPhaseSet(store) => list(store.elements()),
            Self::OrSet(store) => list(store.elements()),
            Self::LwwRegister(store) => store.value().map_or(Json::Null, |(_, value)| value.to_json()),
            Self::MvRegister(store) => list(store.values()),
            Self::EnableWinsFlag(store) => store.value().into(),
            Self::DisableWinsFlag(store) => store.value().into(),
            Self::Map(store) => map(store),
            Self::TwoPhaseGraph(store) => graph(store),
            Self::OrGraph(store) => graph(store),
            Self::List(store) => list(store.values()),
            Self::Text(store) => Json::String(store.values().collect()),
            Self::Unknown { .. } => Json::Null,
        }
    }
}
