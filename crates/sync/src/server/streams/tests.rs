use super::*;
use pointsman_wire::{Dialect, Packet};

const LIMITS: BlobLimits = BlobLimits {
    file_bytes_max: 100,
    total_bytes_max: 150,
};

/// A directory of one test, removed with it.
struct Place(std::path::PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("pointsman-blobs-{:032x}", rand::random::<u128>());
        Self(std::env::temp_dir().join(name))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn keep(blobs: &dyn Blobs, name: &str, bytes: &'static [u8]) -> Result<(), BlobError> {
    let mut writer = blobs.create(name, bytes.len() as u64).await?;
    for part in bytes.chunks(3) {
        writer.write(Bytes::from_static(part)).await?;
    }
    writer.commit().await
}

async fn read(blobs: &dyn Blobs, name: &str) -> Result<Vec<u8>, BlobError> {
    let mut blob = blobs.open(name).await?;
    let mut bytes = Vec::new();
    loop {
        let part = blob.reader.read(4).await?;
        if part.is_empty() {
            assert_eq!(blob.size, bytes.len() as u64);
            return Ok(bytes);
        }
        bytes.extend_from_slice(&part);
    }
}

fn status<T>(result: Result<T, BlobError>) -> u16 {
    result.map(drop).unwrap_err().status()
}

/// What every place for files does.
async fn obeys(blobs: &dyn Blobs) {
    assert_eq!(status(blobs.open("a").await), 404);
    keep(blobs, "a", b"0123456789").await.unwrap();
    assert_eq!(read(blobs, "a").await.unwrap(), b"0123456789");
    keep(blobs, "empty", b"").await.unwrap();
    assert_eq!(read(blobs, "empty").await.unwrap(), b"");
    assert_eq!(blobs.bytes(), 10);

    // A reader reads what was there when it began; the bytes of what was replaced are given back.
    let mut old = blobs.open("a").await.unwrap();
    keep(blobs, "a", b"new").await.unwrap();
    assert_eq!(old.reader.read(20).await.unwrap(), "0123456789");
    assert_eq!(read(blobs, "a").await.unwrap(), b"new");
    assert_eq!(blobs.bytes(), 3);

    for name in [
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "a\\b",
        "a\0b",
        "a\n",
        &"x".repeat(201),
    ] {
        assert_eq!(status(blobs.create(name, 1).await), 400, "{name:?}");
        assert_eq!(status(blobs.open(name).await), 400, "{name:?}");
    }
    keep(blobs, "ünï cödé.txt", b"x").await.unwrap();

    // Sizes: of one, of all, and as said.
    assert_eq!(status(blobs.create("b", 101).await), 413);
    let held = blobs.create("b", 100).await.unwrap();
    assert_eq!(status(blobs.create("c", 47).await), 507);
    assert_eq!(status(blobs.create("c", u64::MAX).await), 413);
    drop(held);
    let mut writer = blobs.create("c", 4).await.unwrap();
    assert_eq!(status(writer.write(Bytes::from_static(b"12345")).await), 400);
    drop(writer);
    let mut writer = blobs.create("c", 4).await.unwrap();
    writer.write(Bytes::from_static(b"123")).await.unwrap();
    assert_eq!(status(writer.commit().await), 400);
    assert_eq!(status(blobs.open("c").await), 404);
    assert_eq!(blobs.bytes(), 4);
}

#[tokio::test]
async fn memory_obeys() {
    obeys(&Memory::new(LIMITS)).await;
}

#[tokio::test]
async fn a_directory_obeys_and_keeps_only_whole_files() {
    let place = Place::new();
    let directory = Directory::open(&place.0, LIMITS).await.unwrap();
    obeys(&directory).await;
    assert_eq!(place.names(), ["a", "empty", "ünï cödé.txt"]);
    // A process that died in the middle.
    let unfinished = directory.create("d", 10).await.unwrap();
    std::mem::forget(unfinished);
    assert_eq!(place.names().len(), 4);
    let again = Directory::open(&place.0, LIMITS).await.unwrap();
    assert_eq!(place.names(), ["a", "empty", "ünï cödé.txt"]);
    assert_eq!(read(&again, "a").await.unwrap(), b"new");
    assert_eq!(again.bytes(), 4);
    std::fs::create_dir(place.0.join("part")).unwrap();
    assert_eq!(status(again.open("part").await), 404);
}

fn statuses(packets: &[Packet]) -> Vec<(i64, u64)> {
    let status = |packet: &Packet| match packet {
        Packet::StreamAbort { id, status, .. } => (*id, *status),
        other => panic!("{other:?}"),
    };
    packets.iter().map(status).collect()
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_a_byte_is_given_up_and_one_that_waits_for_its_writer_is_not() {
    let mut table = Table::new(Dialect::Binary, 100);
    for id in [1, 2, 3] {
        let (size, name) = (10, "f".to_owned());
        table.take(Packet::StreamInit { id, size, name }).unwrap();
    }
    // The second is taken, and its writer is slow.
    let (upload, _) = table.claim(2).unwrap();
    let payload = Bytes::from_static(b"a");
    table.take(Packet::StreamChunk { id: 2, payload }).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    let payload = Bytes::from_static(b"a");
    table.take(Packet::StreamChunk { id: 3, payload }).unwrap();
    assert_eq!(statuses(&table.idle()), []);
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(statuses(&table.idle()), [(1, 408)]);
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    // Nobody takes the third.
    assert_eq!(statuses(&table.idle()), [(3, 408)]);
    assert_eq!(table.open(), 1);
    drop(upload);
}

#[tokio::test]
async fn a_socket_is_not_read_while_too_much_waits_for_a_writer() {
    let mut table = Table::new(Dialect::MetacomInteger, 10_000_000);
    let (id, size, name) = (1, 3_000_000, "f".to_owned());
    table.take(Packet::StreamInit { id, size, name }).unwrap();
    let (upload, _) = table.claim(1).unwrap();
    for _ in 0..2 {
        assert!(table.has_room());
        let payload = Bytes::from(vec![0; 600_000]);
        table.take(Packet::StreamChunk { id, payload }).unwrap();
    }
    assert!(!table.has_room());
    let memory = Memory::new(BlobLimits {
        file_bytes_max: size,
        total_bytes_max: size,
    });
    let writer = memory.create("f", size).await.unwrap();
    let writing = tokio::spawn(upload.store(writer));
    while !table.has_room() {
        match table.next().await {
            Happened::Reported(report) => {
                table.report(report);
            }
            _ => panic!("only a writer is there"),
        }
    }
    writing.abort();
}
