//! Every replica is replaced while clients write to a document and watch it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::service::{LIMIT, Service, ask, call, numbers, until};
use crate::watcher::Watcher;

const REPLICAS: usize = 3;
const WATCHERS: usize = 6;
/// Documents that nobody has open.
const QUIET: usize = 30;
const ROOM: &str = "watched";

fn acknowledged(watchers: &[Watcher]) -> usize {
    let each = watchers
        .iter()
        .map(|watcher| watcher.watched.acknowledged.load(Ordering::Relaxed));
    each.sum()
}

/// Waits until everybody has written some more.
async fn some_more(watchers: &[Watcher]) {
    let each = |watcher: &Watcher| watcher.watched.acknowledged.load(Ordering::Relaxed);
    let before: Vec<usize> = watchers.iter().map(each).collect();
    let end = tokio::time::Instant::now() + LIMIT / 2;
    until("everybody writes", async || {
        if tokio::time::Instant::now() > end {
            for watcher in watchers {
                let now = std::time::SystemTime::now();
                println!(
                    "{} {:?} {now:?}",
                    watcher.watched.last.lock().unwrap(),
                    each(watcher)
                );
            }
            panic!("stuck");
        }
        watchers.iter().for_each(Watcher::check);
        let now = watchers.iter().map(each);
        now.zip(&before).all(|(now, before)| now > before + 3)
    })
    .await;
}

#[tokio::test]
async fn a_release_hands_over_every_document_and_no_client_misses_or_repeats_a_change() {
    let mut service = Service::new(2 * REPLICAS).await;
    for at in 0..REPLICAS {
        service.start(at, "r1").await;
    }
    service.settled(0).await;
    for number in 0..QUIET {
        let write = json!({"room": number.to_string(), "count": number + 1});
        let address = service.addresses()[number % REPLICAS];
        call(address, "rooms/like", &write)
            .await
            .expect("it is acknowledged");
    }
    let watchers: Vec<Watcher> = (0..WATCHERS)
        .map(|watcher| {
            let document = format!("rooms/{ROOM}");
            Watcher::start(service.gateway.address, &format!("w{watcher}"), &document)
        })
        .collect();
    some_more(&watchers).await;
    for at in 0..REPLICAS {
        service.start(REPLICAS + at, "r2").await;
        let new = *service.addresses().last().unwrap();
        until("the new one is ready", async || numbers(new).await.ready).await;
        some_more(&watchers).await;
        let old = service.take(at);
        let order = json!({"keep": 1_000, "intervalMs": 5, "to": "r2"}).to_string();
        let told = ask(old.address, "POST", "/sessions/drain", &order).await;
        assert_eq!(told.unwrap().0, 200);
        old.signal("TERM");
        let (code, said) = old.ended().await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("ended open=0"), "{said}");
        assert!(!said.contains("not everything was handed over"), "{said}");
        some_more(&watchers).await;
    }
    check(&service, watchers).await;
}

async fn check(service: &Service, watchers: Vec<Watcher>) {
    for watcher in &watchers {
        watcher.write_no_more();
    }
    let seen = |watcher: &Watcher| watcher.watched.seen.lock().unwrap().len();
    until("everybody sees all that is acknowledged", async || {
        let all = acknowledged(&watchers);
        watchers.iter().for_each(Watcher::check);
        watchers.iter().all(|watcher| seen(watcher) == all)
    })
    .await;
    let first: BTreeSet<String> = watchers[0].watched.seen.lock().unwrap().iter().cloned().collect();
    assert_eq!(first.len(), acknowledged(&watchers));
    for watcher in &watchers {
        let seen = watcher.watched.seen.lock().unwrap().clone();
        let all: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!((all.len(), &all), (seen.len(), &first));
        assert_eq!(watcher.watched.likes.load(Ordering::Relaxed), first.len());
        assert_eq!(watcher.watched.disconnects.load(Ordering::Relaxed), 1);
    }
    service.settled(QUIET + 1).await;
    for address in service.addresses() {
        for number in 0..QUIET {
            let read = call(address, "rooms/get", &json!({"room": number.to_string()})).await;
            assert_eq!(read.expect("it is read")["likes"], json!(number + 1), "{number}");
        }
        let read = call(address, "rooms/get", &json!({"room": ROOM})).await;
        assert_eq!(read.expect("it is read")["likes"], json!(first.len()));
    }
    println!("{} changes, each seen once by {WATCHERS} clients", first.len());
    for watcher in watchers {
        watcher.end();
    }
}
