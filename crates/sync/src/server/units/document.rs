//! `document`: opens documents for exchange in deltas, and reads and changes them by JSON for whoever keeps no copy.

use futures::future::BoxFuture;
use pointsman_crdt::Document as Copy;
use pointsman_replication::NAME_BYTES_MAX;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::server::authentication::Access;

const OPERATIONS_MAX: usize = 256;

pub(super) struct Document;

impl Unit for Document {
    fn name(&self) -> &'static str {
        "document"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("open", &["name"]),
            Method::new("close", &["document"]),
            Method::new("read", &["name"]),
            Method::new("operate", &["name", "operations"]),
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
            if method == "close" {
                let document = arguments.get("document").and_then(Value::as_u64);
                let closed = document.is_some_and(|document| caller.close_document(document));
                return match closed {
                    true => Ok(Value::Null),
                    false => Err(Fault::new(
                        404,
                        "document: give the number that document/open gave",
                    )),
                };
            }
            let name = arguments.text("name", NAME_BYTES_MAX)?;
            caller.needs(name, Access::Read)?;
            match method {
                "open" => caller.open_document(name).await,
                "read" => Ok(caller.documents().read(name, Copy::to_json).await?),
                _ => operate(caller, name, arguments.get("operations")).await,
            }
        })
    }
}

async fn operate(caller: &Caller, name: &str, operations: Option<&Value>) -> Result<Value, Fault> {
    caller.needs(name, Access::Write)?;
    let operations = match operations {
        Some(Value::Array(operations)) if (1..=OPERATIONS_MAX).contains(&operations.len()) => {
            operations.clone()
        }
        Some(operation @ Value::Object(_)) => vec![operation.clone()],
        _ => {
            let text = format!(
                "operations: give 1 to {OPERATIONS_MAX} operations, such as {{\"field\": \"likes\", \"increment\": 1}}"
            );
            return Err(Fault::new(400, text));
        }
    };
    caller
        .documents()
        .transact(name, Box::new(move |_| Ok(operations)))
        .await?;
    let value = caller.documents().read(name, Copy::to_json).await?;
    Ok(json!({"value": value}))
}
