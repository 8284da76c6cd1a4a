//! `room` and `counter`: one counter a room, each writer with a total of its own.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::server::authentication::Access;
use crate::server::documents::{ROOM_BYTES_MAX, room_name};

const ROOMS_PER_SESSION_MAX: usize = 256;

pub(super) struct Room;

impl Unit for Room {
    fn name(&self) -> &'static str {
        "room"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[Method::new("join", &["room"])];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        _method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let room = arguments.text("room", ROOM_BYTES_MAX)?;
            caller.needs(&room_name(room), Access::Read)?;
            let joined = caller.follow(room, ROOMS_PER_SESSION_MAX).await?;
            let Some(value) = joined else {
                let text = format!("room: at most {ROOMS_PER_SESSION_MAX} rooms a session");
                return Err(Fault::new(400, text));
            };
            Ok(json!({"value": value}))
        })
    }
}

pub(super) struct Counter;

impl Unit for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("set", &["room", "count"]),
            Method::new("get", &["room", "entries"]),
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
            let room = arguments.text("room", ROOM_BYTES_MAX)?;
            match method {
                "set" => set(caller, room, arguments.get("count")).await,
                _ => get(caller, room, arguments.get("entries") == Some(&Value::Bool(true))).await,
            }
        })
    }
}

async fn set(caller: &Caller, room: &str, count: Option<&Value>) -> Result<Value, Fault> {
    let Some(count) = count.and_then(Value::as_u64) else {
        let text = "count: give a whole number, this writer's own total";
        return Err(Fault::new(400, text));
    };
    caller.needs(&room_name(room), Access::Write)?;
    let documents = &caller.hub.documents;
    documents.counter_set(room, &caller.writer(), count).await?;
    Ok(json!({"value": documents.counter_value(room).await?}))
}

async fn get(caller: &Caller, room: &str, entries: bool) -> Result<Value, Fault> {
    caller.needs(&room_name(room), Access::Read)?;
    let documents = &caller.hub.documents;
    let mut answer = json!({"value": documents.counter_value(room).await?});
    if entries && let Some(fields) = answer.as_object_mut() {
        fields.insert("entries".to_owned(), json!(documents.counter_totals(room).await?));
    }
    Ok(answer)
}
