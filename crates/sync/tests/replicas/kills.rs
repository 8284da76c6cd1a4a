//! Replicas are killed while clients write.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman_sync::client::{Client, Options};
use pointsman_sync::server::{Options as ServerOptions, Server};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::service::{LIMIT, Service, call, until};

const ROOMS: usize = 12;
const WRITERS: usize = 4;
/// Rooms that are written once and read at the end: only holders have them.
const QUIET: usize = 12;
/// The room of the session that counts.
const CLICKS: &str = "clicks";
/// Writes that are acknowledged before something happens.
const SOME: usize = 60;

/// Writers, and what was acknowledged to them.
struct Load {
    /// Where there are replicas, living or not: whoever writes does not know.
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    tags: Arc<Mutex<Vec<(String, String)>>>,
    clicks: Arc<AtomicUsize>,
    /// Held by each writer while it writes.
    gate: Arc<RwLock<()>>,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(service: &Service) -> Self {
        let mut load = Self {
            addresses: Arc::new(Mutex::new(service.addresses())),
            tags: Arc::default(),
            clicks: Arc::default(),
            gate: Arc::default(),
            over: Arc::default(),
            tasks: Vec::new(),
        };
        for writer in 0..WRITERS {
            load.tasks.push(load.tags(writer));
        }
        load.tasks.push(load.clicks(service.gateway.address));
        load
    }

    /// Writes over HTTP, each write at the next replica; one that is not acknowledged is not repeated.
    fn tags(&self, writer: usize) -> JoinHandle<()> {
        let (addresses, tags) = (Arc::clone(&self.addresses), Arc::clone(&self.tags));
        let (gate, over) = (Arc::clone(&self.gate), Arc::clone(&self.over));
        tokio::spawn(async move {
            for number in writer.. {
                let open = gate.read().await;
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let address = {
                    let addresses = addresses.lock().unwrap();
                    addresses[number % addresses.len()]
                };
                let room = format!("room-{}", number % ROOMS);
                let tag = format!("{writer}/{number}");
                let written = call(address, "rooms/tag", &json!({"room": room, "tag": tag})).await;
                if written.is_some() {
                    tags.lock().unwrap().push((room, tag));
                }
                drop(open);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    }

    /// Writes over a session that survives cuts.
    fn clicks(&self, gateway: SocketAddr) -> JoinHandle<()> {
        let (clicks, gate, over) = (
            Arc::clone(&self.clicks),
            Arc::clone(&self.gate),
            Arc::clone(&self.over),
        );
        tokio::spawn(async move {
            let (client, seen) = Client::start(Options {
                url: "ws://chat.test/".to_owned(),
                connect: Some(gateway.to_string()),
                ask_within: LIMIT,
            });
            drop(seen);
            for count in 1.. {
                let open = gate.read().await;
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let write = json!({"room": CLICKS, "count": count});
                if client.call("counter/set", &write).await.is_ok() {
                    clicks.store(count, Ordering::Relaxed);
                }
                drop(open);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn acknowledged(&self) -> usize {
        self.tags.lock().unwrap().len()
    }

    /// Waits until some more writes are acknowledged, over HTTP and the session.
    async fn some_more(&self) {
        let (tags, clicks) = (self.acknowledged(), self.clicks.load(Ordering::Relaxed));
        until("writes are acknowledged", async || {
            self.acknowledged() >= tags + SOME && self.clicks.load(Ordering::Relaxed) > clicks
        })
        .await;
    }

    fn moved(&self, service: &Service) {
        *self.addresses.lock().unwrap() = service.addresses();
    }

    /// Waits until nothing is on its way to anybody; then every replica must have all that was acknowledged.
    async fn check(&self, service: &Service) {
        let _closed = self.gate.write().await;
        service.settled(ROOMS + QUIET + 1).await;
        for address in service.addresses() {
            self.check_at(address).await;
        }
    }

    async fn check_at(&self, address: SocketAddr) {
        let tags = self.tags.lock().unwrap().clone();
        for room in (0..ROOMS).map(|room| format!("room-{room}")) {
            let read = call(address, "rooms/get", &json!({"room": room})).await;
            let read = read.unwrap_or_else(|| panic!("{room} is not read at {address}"));
            let there = read["tags"].as_array().unwrap();
            let lost: Vec<_> = tags
                .iter()
                .filter(|(of, tag)| *of == room && !there.contains(&json!(tag)))
                .collect();
            assert!(lost.is_empty(), "lost at {address}: {lost:?}");
        }
        let read = call(address, "counter/get", &json!({"room": CLICKS, "entries": true})).await;
        let read = read.expect("clicks are read");
        let entries = read["entries"].as_object().unwrap().values();
        let most = entries.filter_map(|total| total.as_u64()).max();
        let clicks = self.clicks.load(Ordering::Relaxed);
        assert!(
            most >= Some(clicks as u64),
            "{clicks} clicks, {read} at {address}"
        );
    }

    /// Stops, and looks at what nobody has touched for long.
    async fn stop(self, service: &Service) {
        for address in service.addresses() {
            for number in 0..QUIET {
                let read = call(address, "rooms/get", &json!({"room": format!("quiet-{number}")})).await;
                let read = read.expect("it is read");
                assert_eq!(read["likes"], json!(number + 1), "quiet-{number} at {address}");
            }
        }
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn three() -> Service {
    let mut service = Service::new(3).await;
    for at in 0..3 {
        service.start(at, "r1").await;
    }
    service.settled(0).await;
    for number in 0..QUIET {
        let write = json!({"room": format!("quiet-{number}"), "count": number + 1});
        let address = service.addresses()[number % 3];
        call(address, "rooms/like", &write)
            .await
            .expect("it is acknowledged");
    }
    service
}

#[tokio::test]
async fn replicas_killed_one_at_a_time_lose_nothing_that_was_acknowledged() {
    let mut service = three().await;
    let load = Load::start(&service);
    load.some_more().await;
    load.check(&service).await;
    for (at, disk_lost) in [(0, false), (1, true), (2, false), (0, true)] {
        load.some_more().await;
        service.kill(at).await;
        // The two that are left go on.
        load.some_more().await;
        if disk_lost {
            service.lose_disk(at);
        }
        service.start(at, "r1").await;
        load.moved(&service);
        load.check(&service).await;
    }
    println!("{} writes acknowledged, none lost", load.acknowledged());
    load.stop(&service).await;
}

#[tokio::test]
async fn a_whole_service_that_is_killed_has_everything_on_its_disks() {
    let mut service = three().await;
    let load = Load::start(&service);
    load.some_more().await;
    for _ in 0..2 {
        load.some_more().await;
        for at in 0..3 {
            service.kill(at).await;
        }
        for at in 0..3 {
            service.start(at, "r1").await;
        }
        load.moved(&service);
        load.check(&service).await;
        // What is written now must not be taken for something that was there before.
        load.some_more().await;
        load.check(&service).await;
    }
    println!("{} writes acknowledged, none lost", load.acknowledged());
    load.stop(&service).await;
}

/// Dots of a replica that comes twice would mean two things.
#[tokio::test]
async fn a_service_that_starts_again_from_its_disks_makes_no_replica_twice() {
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = async |at: usize, peers: Vec<String>| {
        let mut options = ServerOptions::local("r1");
        options.data = Some(disks[at].path().to_owned());
        options.peers = peers;
        let started = Mutex::new(None);
        until("the disk is free", async || {
            let server = Server::start(options.clone()).await.ok();
            let free = server.is_some();
            *started.lock().unwrap() = server;
            free
        })
        .await;
        let server = started.into_inner().unwrap().unwrap();
        until("it is a member", async || server.member().is_some()).await;
        server
    };
    let mut replicas = Vec::new();
    for (first, second) in [(0, 1), (0, 1), (1, 0), (0, 1)] {
        let first = start(first, Vec::new()).await;
        let second = start(second, vec![first.control.to_string()]).await;
        replicas.extend([first.member().unwrap(), second.member().unwrap()]);
        first.stop();
        second.stop();
    }
    let different: BTreeSet<_> = replicas.iter().collect();
    assert_eq!(different.len(), replicas.len(), "{replicas:?}");
}
