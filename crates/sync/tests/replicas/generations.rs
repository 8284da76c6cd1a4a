//! A document whose content stays the same stays as large, however many replicas come and go; numbers of later generations
//! may have a byte more.

use std::time::Duration;

use pointsman_crdt::Digest;
use pointsman_sync::server::{Options, Server};
use serde_json::json;

use crate::service::until;

/// A multiple of three: slots come round.
const GENERATIONS: usize = 102;
const DOCUMENT: &str = "rooms/a";

async fn server(peers: &[&Server]) -> Server {
    let mut options = Options::local("r1");
    options.drain_delay = Duration::ZERO;
    options.relay_every = Duration::from_millis(10);
    options.peers = peers.iter().map(|peer| peer.control.to_string()).collect();
    let server = Server::start(options).await.unwrap();
    until("all know each other", async || {
        server.peers() == peers.len() && peers.iter().all(|peer| peer.peers() == peers.len())
    })
    .await;
    server
}

/// Bytes of all that somebody lacks who has nothing, and of what says that it is all.
async fn bytes(server: &Server) -> usize {
    let filled = server
        .documents()
        .fill(DOCUMENT, Digest::default())
        .await
        .unwrap();
    let parts: usize = filled.parts.iter().map(bytes::Bytes::len).sum();
    parts + filled.digest.encode().len()
}

/// Changes every kind of field at a replica, so that its dots are in the document.
async fn write(server: &Server, generation: usize) {
    let operations = json!([
        {"field": "likes", "increment": 1},
        {"field": "inventory", "update": "apples", "type": "pn-counter", "operation": {"increment": 1}},
        {"field": "presence", "update": "a", "type": "lww-register", "operation": {"assign": "Ann"}},
        {"field": "counts", "update": "a", "type": "mv-register", "operation": {"assign": 1_000 + generation}},
        {"field": "title", "assign": "t".repeat(400)},
        {"field": "open", "set": generation.is_multiple_of(2)},
    ]);
    let operations = operations.as_array().unwrap().clone();
    let act = Box::new(move |_: &pointsman_crdt::Document| Ok(operations));
    server.documents().transact(DOCUMENT, act).await.unwrap();
}

#[tokio::test]
async fn a_document_is_as_large_after_a_hundred_generations_as_after_three() {
    let mut old = server(&[]).await;
    let mut other = server(&[&old]).await;
    let mut early = 0;
    for generation in 1..=GENERATIONS {
        // The oldest of two is replaced.
        write(&old, 2 * generation).await;
        let new = server(&[&old, &other]).await;
        old.shutdown().await;
        until("who is gone is forgotten", async || {
            other.peers() == 1 && new.peers() == 1
        })
        .await;
        (old, other) = (other, new);
        if generation == 3 {
            early = at_rest(&old, generation).await;
        }
    }
    let late = at_rest(&old, GENERATIONS).await;
    println!("{early} bytes after 3 generations, {late} after {GENERATIONS}");
    assert!(
        late.abs_diff(early) * 20 <= early,
        "{early} bytes after 3 generations, {late} after {GENERATIONS}"
    );
}

/// The size once what is gone is closed: the smallest, and it stays.
async fn at_rest(server: &Server, generation: usize) -> usize {
    write(server, 2 * generation + 1).await;
    let mut last = usize::MAX;
    let mut same = 0;
    until("its size no longer changes", async || {
        let now = bytes(server).await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        // Closing takes two rounds of questions, each of some ticks.
        same > 50
    })
    .await;
    last
}
