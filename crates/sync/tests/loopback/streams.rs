//! Uploads and downloads in the binary dialect.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use pointsman_sync::server::streams::{Blob, BlobError, BlobReader, BlobWriter, Blobs};
use pointsman_sync::server::{Application, Options, Server};
use pointsman_wire::Packet;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    LIMIT, Place, Raw, answer, ask_raw, call, closed, dial, greeted, metric, next, raw, send, server, until,
};

const WINDOW: usize = 256 * 1024;

async fn begin(socket: &mut Raw, id: i64, size: u64) {
    let name = "f".to_owned();
    send(socket, &Packet::StreamInit { id, size, name }).await;
}

async fn chunk(socket: &mut Raw, id: i64, payload: Bytes) {
    send(socket, &Packet::StreamChunk { id, payload }).await;
}

/// The status with which a stream is given up.
async fn aborted(socket: &mut Raw, stream: i64) -> u64 {
    loop {
        if let Packet::StreamAbort { id, status, .. } = next(socket).await {
            assert_eq!(id, stream);
            return status;
        }
    }
}

fn bytes(count: usize) -> Bytes {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Sends a file, never more than CREDIT allows, and waits until it is kept.
async fn upload(socket: &mut Raw, id: i64, name: &str, bytes: &Bytes) {
    begin(socket, id, bytes.len() as u64).await;
    let asked = json!({"streamId": id, "name": name});
    assert_eq!(ask_raw(socket, 100 + id, "files/upload", &asked).await.0, 0);
    let (mut sent, mut credit) = (0, WINDOW);
    while sent < bytes.len() {
        if credit == 0 {
            match next(socket).await {
                Packet::Credit { id: stream, bytes } if stream == id => {
                    credit += usize::try_from(bytes).unwrap()
                }
                other => panic!("{other:?}"),
            }
            continue;
        }
        let count = credit.min(bytes.len() - sent).min(50_000);
        chunk(socket, id, bytes.slice(sent..sent + count)).await;
        (sent, credit) = (sent + count, credit - count);
    }
    send(socket, &Packet::StreamEnd { id }).await;
    loop {
        match next(socket).await {
            Packet::Credit { .. } => {}
            Packet::Event { name, payload, .. } if name == "files/kept" => {
                assert_eq!(payload, json!({"streamId": id}).to_string());
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_comes_back_no_faster_than_credit_allows() {
    let place = Place::new();
    let server = server("a", |options| options.data = Some(place.0.clone())).await;
    let mut socket = raw(&server).await;
    greeted(&mut socket).await;
    let file = bytes(1_000_000);
    upload(&mut socket, 1, "f", &file).await;
    assert_eq!(place.names("files"), ["f"]);

    call(&mut socket, 1, "files/download", &json!({"name": "f"})).await;
    let begun = next(&mut socket).await;
    let size = file.len() as u64;
    assert_eq!(
        begun,
        Packet::StreamInit {
            id: -1,
            size,
            name: "f".to_owned()
        }
    );
    let mut got = Vec::new();
    let mut answered = None;
    while got.len() < WINDOW || answered.is_none() {
        match next(&mut socket).await {
            Packet::StreamChunk { id: -1, payload } => got.extend_from_slice(&payload),
            Packet::Callback { id: 1, payload, .. } => answered = Some(payload),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered.unwrap(), json!({"streamId": -1}).to_string());
    // Nothing more comes until there is credit: an answer overtakes what waits for it.
    assert_eq!(got.len(), WINDOW);
    call(&mut socket, 2, "echo", &json!(1)).await;
    assert!(matches!(next(&mut socket).await, Packet::Callback { id: 2, .. }));
    send(&mut socket, &Packet::Credit { id: -1, bytes: size }).await;
    loop {
        match next(&mut socket).await {
            Packet::StreamChunk { payload, .. } => got.extend_from_slice(&payload),
            Packet::StreamEnd { id: -1 } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(Bytes::from(got), file);
    assert_eq!(metric(&server, "stream_bytes_out_total").await, size);
    assert_eq!(metric(&server, "files_bytes").await, size);
}

#[tokio::test]
async fn a_client_may_break_off_a_download() {
    let server = server("a", |_| {}).await;
    let mut socket = raw(&server).await;
    greeted(&mut socket).await;
    upload(&mut socket, 1, "f", &bytes(600_000)).await;
    ask_raw(&mut socket, 1, "files/download", &json!({"name": "f"})).await;
    let (id, status, reason) = (-1, 499, String::new());
    send(&mut socket, &Packet::StreamAbort { id, status, reason }).await;
    send(&mut socket, &Packet::Credit { id, bytes: 600_000 }).await;
    call(&mut socket, 2, "echo", &json!(1)).await;
    loop {
        match next(&mut socket).await {
            Packet::Callback { id: 2, .. } => break,
            Packet::StreamChunk { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    call(&mut socket, 3, "echo", &json!(1)).await;
    assert!(matches!(next(&mut socket).await, Packet::Callback { id: 3, .. }));
}

#[tokio::test]
async fn too_many_and_too_few_bytes_end_a_stream_and_leave_nothing() {
    let place = Place::new();
    let server = server("a", |options| options.data = Some(place.0.clone())).await;
    let mut socket = raw(&server).await;
    for (id, count) in [(1, 11), (2, 9)] {
        begin(&mut socket, id, 10).await;
        let asked = json!({"streamId": id, "name": "f"});
        assert_eq!(ask_raw(&mut socket, id, "files/upload", &asked).await.0, 0);
        chunk(&mut socket, id, bytes(count)).await;
        send(&mut socket, &Packet::StreamEnd { id }).await;
        assert_eq!(aborted(&mut socket, id).await, 400);
    }
    let asked = json!({"name": "f"});
    assert_eq!(ask_raw(&mut socket, 9, "files/download", &asked).await.0, 404);
    until("nothing is left", || place.names("files").is_empty()).await;
    assert_eq!(metric(&server, "files_bytes").await, 0);
    assert_eq!(metric(&server, "streams_aborted_total").await, 2);
}

#[tokio::test]
async fn a_cut_upload_leaves_nothing() {
    let place = Place::new();
    let server = server("a", |options| options.data = Some(place.0.clone())).await;
    let mut socket = raw(&server).await;
    begin(&mut socket, 1, 10).await;
    let asked = json!({"streamId": 1, "name": "f"});
    assert_eq!(ask_raw(&mut socket, 1, "files/upload", &asked).await.0, 0);
    chunk(&mut socket, 1, bytes(5)).await;
    until("it is begun", || place.names("files").len() == 1).await;
    drop(socket);
    until("nothing is left", || place.names("files").is_empty()).await;
}

#[tokio::test]
async fn what_is_no_stream_to_take_is_refused() {
    let server = server("a", |options| options.limits.file_bytes_max = 100).await;
    let mut socket = raw(&server).await;
    let upload = |id: i64, name: &str| json!({"streamId": id, "name": name});
    assert_eq!(
        ask_raw(&mut socket, 1, "files/upload", &upload(1, "f")).await.0,
        400
    );
    assert_eq!(
        ask_raw(&mut socket, 2, "files/upload", &json!({"name": "f"}))
            .await
            .0,
        400
    );
    begin(&mut socket, 1, 101).await;
    assert_eq!(aborted(&mut socket, 1).await, 413);
    begin(&mut socket, 2, 1).await;
    let asked = upload(2, "../f");
    assert_eq!(ask_raw(&mut socket, 4, "files/upload", &asked).await.0, 400);
    begin(&mut socket, 3, 1).await;
    assert_eq!(
        ask_raw(&mut socket, 5, "files/upload", &upload(3, "f")).await.0,
        0
    );
    // It is taken once.
    assert_eq!(
        ask_raw(&mut socket, 6, "files/upload", &upload(3, "g")).await.0,
        400
    );
    // An id is never used again.
    begin(&mut socket, 3, 1).await;
    assert_eq!(closed(&mut socket).await, 1002);
}

#[tokio::test]
async fn an_upload_that_finds_no_room_is_refused_and_its_stream_ended() {
    let server = server("a", |options| options.limits.files_bytes_max = 10).await;
    let mut socket = raw(&server).await;
    begin(&mut socket, 1, 11).await;
    call(
        &mut socket,
        1,
        "files/upload",
        &json!({"streamId": 1, "name": "f"}),
    )
    .await;
    // Both, in whatever order.
    let (mut answered, mut ended) = (None, None);
    while answered.is_none() || ended.is_none() {
        match next(&mut socket).await {
            Packet::Callback { status, .. } => answered = Some(status),
            Packet::StreamAbort { status, .. } => ended = Some(status),
            _ => {}
        }
    }
    assert_eq!((answered, ended), (Some(507), Some(507)));
}

/// One file of zeros, larger than a client of Metacom can be sent without a pause.
struct Zeros;

const ZEROS: u64 = 132 * 1024 * 1024;

struct Reader(u64);

impl BlobReader for Reader {
    fn read(&mut self, bytes_max: usize) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        let count = usize::try_from(self.0).unwrap().min(bytes_max);
        self.0 -= count as u64;
        Box::pin(async move { Ok(Bytes::from(vec![0; count])) })
    }
}

impl Blobs for Zeros {
    fn create<'a>(
        &'a self,
        _name: &'a str,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move { Err(BlobError::Full { bytes }) })
    }

    fn open<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Blob, BlobError>> {
        Box::pin(async move {
            Ok(Blob {
                size: ZEROS,
                reader: Box::new(Reader(ZEROS)),
            })
        })
    }

    fn bytes(&self) -> u64 {
        ZEROS
    }
}

#[tokio::test]
async fn a_client_without_credit_gets_no_more_than_32_chunks_before_it_shows_that_it_reads() {
    let mut application = Application::of(Vec::new());
    application.blobs = Some(Arc::new(Zeros));
    let server = Server::start_with(Options::local("a"), application)
        .await
        .unwrap();
    let mut socket = dial(&server, "/", &[]).await.unwrap();
    let call = r#"{"type":"call","id":1,"method":"files/download","args":{"name":"f"}}"#;
    socket.send(Message::Text(call.into())).await.unwrap();
    let (mut chunks, mut bytes, mut pings) = (0, 0, 0);
    loop {
        match tokio::time::timeout(LIMIT, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Binary(chunk) => {
                assert_eq!(&chunk[..4], &[255; 4]);
                chunks += 1;
                bytes += chunk.len() - 4;
                assert!(chunks <= 32 * (pings + 1), "{chunks} chunks");
            }
            // The library answers with a pong by itself.
            Message::Ping(_) => pings += 1,
            Message::Text(text) if text.contains("\"end\"") => break,
            _ => {}
        }
    }
    assert_eq!((bytes as u64, pings), (ZEROS, 1));
}

#[tokio::test]
async fn bytes_that_nobody_takes_are_not_held() {
    let server = server("a", |_| {}).await;
    let mut socket = raw(&server).await;
    begin(&mut socket, 1, 10_000_000).await;
    for _ in 0..5 {
        chunk(&mut socket, 1, bytes(60_000)).await;
    }
    // More than CREDIT allows, and nobody asked for it.
    assert_eq!(aborted(&mut socket, 1).await, 400);
    for id in 2..=18 {
        begin(&mut socket, id, 1).await;
    }
    assert_eq!(aborted(&mut socket, 18).await, 503);
}

#[tokio::test]
async fn a_stream_may_be_whole_before_it_is_taken() {
    let server = server("a", |_| {}).await;
    let mut socket = raw(&server).await;
    begin(&mut socket, 1, 3).await;
    chunk(&mut socket, 1, Bytes::from_static(b"abc")).await;
    send(&mut socket, &Packet::StreamEnd { id: 1 }).await;
    call(
        &mut socket,
        1,
        "files/upload",
        &json!({"streamId": 1, "name": "f"}),
    )
    .await;
    // In order: it is kept before the next call looks for it.
    call(&mut socket, 2, "files/download", &json!({"name": "f"})).await;
    assert_eq!(answer(&mut socket, 1).await.0, 0);
    assert_eq!(answer(&mut socket, 2).await.0, 0);
}
