//! Operations from JSON: one object with one verb.

use serde_json::{Map as Object, Value as Json};

use super::{At, JsonError, SAFE_MAX, integer, object, value};
use crate::clock::{Clock, Stamp};
use crate::document::FieldType;
use crate::graph::{Edge, GraphOperation};
use crate::map::{DEPTH_MAX, Map, MapOperation};
use crate::node::{Node, Operation};
use crate::register::LwwRegister;
use crate::sequence::SequenceOperation;
use crate::set::SetOperation;
use crate::value::Value;

/// Where stamps come from.
pub(super) struct Stamps<'a> {
    pub(super) clock: &'a mut Clock,
    pub(super) now_ms: u64,
}

impl Stamps<'_> {
    /// The stamp that came along, or a new one that is later than the register's.
    fn next(
        &mut self,
        given: Option<&Json>,
        register: Option<&LwwRegister>,
        at: &At<'_>,
    ) -> Result<Stamp, JsonError> {
        let Some(given) = given else {
            if let Some((stamp, _)) = register.and_then(LwwRegister::value) {
                self.clock.recover(stamp);
            }
            return Ok(self.clock.tick(self.now_ms));
        };
        let at = at.name("stamp");
        let stamp = given
            .as_str()
            .and_then(value::decimal)
            .and_then(|number| u64::try_from(number).ok())
            .map(Stamp)
            .ok_or_else(|| at.wrong("decimal text of 64 bits", given))?;
        self.clock
            .observe(stamp, self.now_ms)
            .map_err(|error| JsonError::Skew {
                path: at.to_string(),
                error,
            })?;
        Ok(stamp)
    }
}

/// What a verb may have beside it.
type Verbs = &'static [(&'static str, &'static [&'static str])];

const INCREMENT: Verbs = &[("increment", &[])];
const ADD: Verbs = &[("add", &[])];
const ADD_REMOVE: Verbs = &[("add", &[]), ("remove", &[])];
const ASSIGN: Verbs = &[("assign", &[])];
const ASSIGN_STAMP: Verbs = &[("assign", &["stamp"])];
const SET: Verbs = &[("set", &[])];
const GRAPH: Verbs = &[("vertex", &[]), ("edge", &[])];
const SEQUENCE: Verbs = &[("insert", &["index"]), ("delete", &["index"])];
const MAP: Verbs = &[("update", &["type", "operation"]), ("remove", &[])];
const RESET: &str = "reset";

/// The one verb of an object.
fn verb<'a>(
    object: &'a Object<String, Json>,
    verbs: Verbs,
    at: &At<'_>,
) -> Result<(&'static str, &'a Json), JsonError> {
    let names = || {
        let names: Vec<String> = verbs.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(" or ")
    };
    // The document's name for the field is beside the verb, but only there.
    let is_field = |name: &str| name == "field" && at.is_root();
    let found = verbs
        .iter()
        .find_map(|(name, beside)| Some((*name, *beside, object.get(*name)?)));
    let Some((name, beside, content)) = found else {
        // A name that is there says more than one that is not.
        return Err(match object.keys().find(|name| !is_field(name)) {
            Some(name) => at.name(name).unexpected(names()),
            None => at.missing(names()),
        });
    };
    for other in object.keys() {
        if other != name && !is_field(other) && !beside.contains(&other.as_str()) {
            let mut allowed = format!("`{name}`");
            beside
                .iter()
                .for_each(|name| allowed.push_str(&format!(", `{name}`")));
            return Err(at.name(other).unexpected(allowed));
        }
    }
    Ok((name, content))
}

fn value_of(json: &Json, name: &str, at: &At<'_>) -> Result<Value, JsonError> {
    Value::from_json_at(json, &at.name(name), 0)
}

fn set<K>(
    object: &Object<String, Json>,
    at: &At<'_>,
    key: impl Fn(&Json, &At<'_>) -> Result<K, JsonError>,
) -> Result<SetOperation<K>, JsonError> {
    let (verb, content) = verb(object, ADD_REMOVE, at)?;
    let key = key(content, &at.name(verb))?;
    Ok(if verb == "add" {
        SetOperation::Add(key)
    } else {
        SetOperation::Remove(key)
    })
}

fn element(json: &Json, at: &At<'_>) -> Result<Value, JsonError> {
    Value::from_json_at(json, at, 0)
}

fn edge(json: &Json, at: &At<'_>) -> Result<Edge, JsonError> {
    let ends = object(json, at)?;
    if let Some(other) = ends.keys().find(|name| !matches!(name.as_str(), "from" | "to")) {
        return Err(at.name(other).unexpected("`from`, `to`"));
    }
    let end = |name: &str| {
        let at = at.name(name);
        let end = ends.get(name).ok_or_else(|| at.missing("a vertex"))?;
        element(end, &at)
    };
    Ok(Edge {
        from: end("from")?,
        to: end("to")?,
    })
}

fn graph(operation: &Object<String, Json>, at: &At<'_>) -> Result<GraphOperation, JsonError> {
    let (verb, content) = verb(operation, GRAPH, at)?;
    let at = at.name(verb);
    let content = object(content, &at)?;
    Ok(if verb == "vertex" {
        GraphOperation::Vertex(set(content, &at, element)?)
    } else {
        GraphOperation::Edge(set(content, &at, edge)?)
    })
}

/// A count or an index.
fn count(json: Option<&Json>, at: &At<'_>) -> Result<u64, JsonError> {
    let expected = "an integer of 0 or more";
    let json = json.ok_or_else(|| at.missing(expected))?;
    u64::try_from(integer(json, at)?)
        .ok()
        .filter(|count| *count <= SAFE_MAX)
        .ok_or_else(|| at.wrong(expected, json))
}

fn sequence<T>(
    object: &Object<String, Json>,
    at: &At<'_>,
    values: impl Fn(&Json, &At<'_>) -> Result<Vec<T>, JsonError>,
) -> Result<SequenceOperation<T>, JsonError> {
    let (verb, content) = verb(object, SEQUENCE, at)?;
    let index = count(object.get("index"), &at.name("index"))?;
    let at = at.name(verb);
    Ok(if verb == "insert" {
        SequenceOperation::Insert {
            index,
            values: values(content, &at)?,
        }
    } else {
        SequenceOperation::Delete {
            index,
            count: count(Some(content), &at)?,
        }
    })
}

fn items(json: &Json, at: &At<'_>) -> Result<Vec<Value>, JsonError> {
    let items = json
        .as_array()
        .ok_or_else(|| at.wrong("an array of values", json))?;
    let items = items.iter().enumerate();
    items
        .map(|(index, item)| element(item, &at.index(index)))
        .collect()
}

fn scalars(json: &Json, at: &At<'_>) -> Result<Vec<char>, JsonError> {
    let text = json.as_str().ok_or_else(|| at.wrong("text", json))?;
    Ok(text.chars().collect())
}

fn boolean(json: &Json, at: &At<'_>) -> Result<bool, JsonError> {
    json.as_bool().ok_or_else(|| at.wrong("true or false", json))
}

fn step<T: TryFrom<i128>>(json: &Json, expected: &str, at: &At<'_>) -> Result<T, JsonError> {
    T::try_from(integer(json, at)?).map_err(|_| at.wrong(expected, json))
}

/// An operation of a map: on one key, or its removal.
fn map(
    map: Option<&Map>,
    operation: &Object<String, Json>,
    stamps: &mut Stamps<'_>,
    at: &At<'_>,
    depth: u32,
) -> Result<MapOperation, JsonError> {
    if depth > DEPTH_MAX {
        return Err(JsonError::Limit {
            path: at.to_string(),
            what: "the nesting of maps",
            limit: u64::from(DEPTH_MAX),
        });
    }
    let (verb, content) = verb(operation, MAP, at)?;
    let name = content
        .as_str()
        .ok_or_else(|| at.name(verb).wrong("the name of a key", content))?;
    if verb == "remove" {
        return Ok(MapOperation::Remove { name: name.into() });
    }
    let expected = "a type of docs/CRDT.md, such as `g-counter`";
    let at_type = at.name("type");
    let kind = operation.get("type").ok_or_else(|| at_type.missing(expected))?;
    let kind = kind
        .as_str()
        .and_then(FieldType::named)
        .ok_or_else(|| at_type.wrong(expected, kind))?;
    let at = at.name("operation");
    let inner = operation.get("operation");
    let inner = inner.ok_or_else(|| at.missing("an operation of the type"))?;
    let node = map.and_then(|map| map.get(name, kind.tag()));
    Ok(MapOperation::Update {
        name: name.into(),
        operation: Box::new(of_type(kind, node, object(inner, &at)?, stamps, &at, depth + 1)?),
    })
}

/// An operation of a type.
pub(super) fn of_type(
    kind: FieldType,
    node: Option<&Node>,
    object: &Object<String, Json>,
    stamps: &mut Stamps<'_>,
    at: &At<'_>,
    depth: u32,
) -> Result<Operation, JsonError> {
    let one = |verbs: Verbs| verb(object, verbs, at);
    Ok(match kind.empty() {
        Node::GCounter(_) => {
            let (verb, content) = one(INCREMENT)?;
            Operation::GCounter(step(content, "an integer from 0 to 2^64 - 1", &at.name(verb))?)
        }
        Node::PnCounter(_) => {
            let (verb, content) = one(INCREMENT)?;
            Operation::PnCounter(step(content, "an integer of 64 bits", &at.name(verb))?)
        }
        Node::GSet(_) => {
            let (verb, content) = one(ADD)?;
            Operation::GSet(value_of(content, verb, at)?)
        }
        Node::TwoPhaseSet(_) => Operation::TwoPhaseSet(set(object, at, element)?),
        Node::OrSet(_) => Operation::OrSet(set(object, at, element)?),
        Node::LwwRegister(_) => {
            let (verb, content) = one(ASSIGN_STAMP)?;
            let value = value_of(content, verb, at)?;
            let register = match node {
                Some(Node::LwwRegister(register)) => Some(register),
                _ => None,
            };
            Operation::LwwRegister((stamps.next(object.get("stamp"), register, at)?, value))
        }
        Node::MvRegister(_) => {
            let (verb, content) = one(ASSIGN)?;
            Operation::MvRegister(value_of(content, verb, at)?)
        }
        Node::EnableWinsFlag(_) => {
            let (verb, content) = one(SET)?;
            Operation::EnableWinsFlag(boolean(content, &at.name(verb))?)
        }
        Node::DisableWinsFlag(_) => {
            let (verb, content) = one(SET)?;
            Operation::DisableWinsFlag(boolean(content, &at.name(verb))?)
        }
        Node::Map(_) => {
            let inner = match node {
                Some(Node::Map(inner)) => Some(inner),
                _ => None,
            };
            Operation::Map(map(inner, object, stamps, at, depth)?)
        }
        Node::TwoPhaseGraph(_) => Operation::TwoPhaseGraph(graph(object, at)?),
        Node::OrGraph(_) => Operation::OrGraph(graph(object, at)?),
        Node::List(_) => Operation::List(sequence(object, at, items)?),
        Node::Text(_) => Operation::Text(sequence(object, at, scalars)?),
        // No field type is made for what is not known.
        Node::Unknown { .. } => return Err(at.missing("a type that this build knows")),
    })
}

/// Whether the operation takes back all that was seen of the field.
pub(super) fn is_reset(object: &Object<String, Json>, at: &At<'_>) -> Result<bool, JsonError> {
    let Some(content) = object.get(RESET) else {
        return Ok(false);
    };
    let at_reset = at.name(RESET);
    if content != &Json::Bool(true) {
        return Err(at_reset.wrong("true", content));
    }
    match object.keys().find(|name| *name != "field" && *name != RESET) {
        Some(other) => Err(at.name(other).unexpected("`reset`")),
        None => Ok(true),
    }
}
