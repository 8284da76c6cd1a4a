//! `chat`: whoever says something is heard by everybody.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};

const TEXT_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Chat;

impl Unit for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[Method::new("say", &["text"])];
        METHODS
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        _method: &'static str,
        arguments: Arguments,
    ) -> BoxFuture<'a, Result<Value, Fault>> {
        Box::pin(async move {
            let text = arguments.text("text", TEXT_BYTES_MAX)?;
            caller.publish("chat/message", &json!({"text": text}))?;
            Ok(json!("ok"))
        })
    }
}
