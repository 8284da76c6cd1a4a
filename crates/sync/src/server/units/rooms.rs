//! `rooms`: an example of documents. A room has likes, tags, an inventory, and who is present.

use std::sync::Arc;

use futures::future::BoxFuture;
use pointsman_crdt::{Document, FieldType, Node};
use serde_json::{Map, Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::server::authentication::Access;
use crate::server::documents::{Documents, ROOM_BYTES_MAX, room_name};

const TEXT_BYTES_MAX: usize = 256;

pub(super) struct Rooms;

impl Unit for Rooms {
    fn name(&self) -> &'static str {
        "rooms"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("get", &["room"]),
            Method::new("like", &["room", "count"]),
            Method::new("tag", &["room", "tag"]),
            Method::new("untag", &["room", "tag"]),
            Method::new("stock", &["room", "item", "change"]),
            Method::new("enter", &["room", "as"]),
            Method::new("leave", &["room"]),
        ];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let room = room_name(arguments.text("room", ROOM_BYTES_MAX)?);
            caller.needs(&room, Access::Read)?;
            if method == "get" {
                return Ok(caller.documents().read(&room, reading).await?);
            }
            caller.needs(&room, Access::Write)?;
            let operation = operation(method, &arguments, &caller.writer())?;
            change(caller.documents(), &room, operation).await
        })
    }
}

fn operation(method: &str, arguments: &Arguments, writer: &str) -> Result<Value, Fault> {
    Ok(match method {
        "like" => {
            let count = arguments.get("count").map_or(Some(1), Value::as_u64);
            let count = count
                .ok_or_else(|| Fault::new(400, "count: give a whole number from 0 on, or nothing for 1"))?;
            json!({"field": "likes", "increment": count})
        }
        "tag" => json!({"field": "tags", "add": arguments.text("tag", TEXT_BYTES_MAX)?}),
        "untag" => json!({"field": "tags", "remove": arguments.text("tag", TEXT_BYTES_MAX)?}),
        "stock" => {
            let change = arguments.get("change").and_then(Value::as_i64);
            let change = change
                .ok_or_else(|| Fault::new(400, "change: give a whole number, negative to take away"))?;
            let item = arguments.text("item", TEXT_BYTES_MAX)?;
            let operation = json!({"increment": change});
            json!({"field": "inventory", "update": item, "type": "pn-counter", "operation": operation})
        }
        "enter" => {
            let name = arguments.text("as", TEXT_BYTES_MAX)?;
            let operation = json!({"assign": name});
            json!({"field": "presence", "update": writer, "type": "lww-register", "operation": operation})
        }
        _ => json!({"field": "presence", "remove": writer}),
    })
}

async fn change(documents: &Arc<Documents>, room: &str, operation: Value) -> Result<Value, Fault> {
    let leaves = operation.get("field") == Some(&json!("presence")) && operation.get("remove").is_some();
    let act = move |document: &Document| {
        // Whoever is not there has left already.
        let writer = operation
            .get("remove")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if leaves && !present(document, writer) {
            return Ok(Vec::new());
        }
        Ok(vec![operation])
    };
    documents.transact(room, Box::new(act)).await?;
    Ok(documents.read(room, reading).await?)
}

fn present(document: &Document, writer: &str) -> bool {
    let tag = FieldType::named("lww-register").map_or(0, FieldType::tag);
    matches!(document.field("presence"), Ok(Some(Node::Map(map))) if map.get(writer, tag).is_some())
}

/// What people see: the types of map entries are no news.
fn reading(document: &Document) -> Value {
    let plain = |field: &str, kind: &str| {
        let entries = document.field_to_json(field).unwrap_or_default();
        let entries = entries.as_object().cloned().unwrap_or_default();
        let plain = entries
            .into_iter()
            .filter_map(|(key, types)| Some((key, types.get(kind)?.clone())));
        Value::Object(plain.collect::<Map<_, _>>())
    };
    json!({
        "likes": document.field_to_json("likes"),
        "tags": document.field_to_json("tags"),
        "inventory": plain("inventory", "pn-counter"),
        "presence": plain("presence", "lww-register"),
    })
}
