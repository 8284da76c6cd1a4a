//! `room` and `counter`: one counter a room, each writer with a total of its own.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::document::{NAME_BYTES_MAX, Rooms};
use crate::server::authentication::Access;
use crate::server::documents::WriteError;

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
            let room = arguments.text("room", NAME_BYTES_MAX)?;
            caller.needs(room, Access::Read)?;
            let joined = caller.follow(room, ROOMS_PER_SESSION_MAX);
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
            let room = arguments.text("room", NAME_BYTES_MAX)?;
            match method {
                "set" => set(caller, room, arguments.get("count")).await,
                _ => get(caller, room, arguments.get("entries") == Some(&Value::Bool(true))),
            }
        })
    }
}

async fn set(caller: &Caller, room: &str, count: Option<&Value>) -> Result<Value, Fault> {
    let Some(count) = count.and_then(Value::as_u64) else {
        let text = "count: give a whole number, this writer's own total";
        return Err(Fault::new(400, text));
    };
    caller.needs(room, Access::Write)?;
    let documents = &caller.hub.documents;
    let written = match Rooms::delta(room, &caller.writer(), count) {
        Ok(delta) => documents.write(delta).await,
        Err(error) => Err(error.into()),
    };
    match written {
        Ok(()) => Ok(json!({"value": documents.value(room)})),
        Err(error @ WriteError::Refused(_)) => Err(Fault::new(400, error.to_string())),
        Err(error @ WriteError::NotHeld) => Err(Fault::new(503, error.to_string())),
    }
}

fn get(caller: &Caller, room: &str, entries: bool) -> Result<Value, Fault> {
    caller.needs(room, Access::Read)?;
    let documents = &caller.hub.documents;
    let mut answer = json!({"value": documents.value(room)});
    if entries && let Some(fields) = answer.as_object_mut() {
        fields.insert("entries".to_owned(), json!(documents.writers(room)));
    }
    Ok(answer)
}
