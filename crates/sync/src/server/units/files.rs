//! `files`: files come and go as streams.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Arguments, Caller, Fault, Method, Unit};
use crate::server::streams::{BlobError, NAME_BYTES_MAX};

pub(super) struct Files;

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

impl Unit for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn methods(&self) -> &'static [Method] {
        const METHODS: &[Method] = &[
            Method::new("upload", &["streamId", "name"]),
            Method::new("download", &["name"]),
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
            let name = arguments.text("name", NAME_BYTES_MAX)?;
            match method {
                "upload" => upload(caller, arguments.get("streamId"), name).await,
                _ => download(caller, name).await,
            }
        })
    }
}

/// Answers before the bytes come: clients send them once they have the answer.
async fn upload(caller: &Caller, stream: Option<&Value>, name: &str) -> Result<Value, Fault> {
    let Some(stream) = stream else {
        return Err(Fault::new(
            400,
            "streamId: give the id of a stream that you have begun",
        ));
    };
    let upload = caller.take(stream.clone()).await?;
    match caller.blobs().create(name, upload.size).await {
        Ok(writer) => {
            tokio::spawn(upload.store(writer));
            Ok(json!("ok"))
        }
        Err(error) => {
            upload.give_up(&error).await;
            Err(error.into())
        }
    }
}

async fn download(caller: &Caller, name: &str) -> Result<Value, Fault> {
    let blob = caller.blobs().open(name).await?;
    let id = caller.send(name, blob).await?;
    Ok(json!({"streamId": id}))
}
