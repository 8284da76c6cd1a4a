//! Capacity grows with the number of replicas.

use std::net::SocketAddr;

use pointsman_sync::client::{Client, Options};
use serde_json::json;

use crate::service::{COPIES, LIMIT, Service, call, numbers, until};

/// So many that a quarter is far beyond what chance does: slots are drawn by lot.
const DOCUMENTS: usize = 300;
/// A whole number for each of one to four replicas.
const SESSIONS: usize = 24;

#[tokio::test]
async fn with_each_replica_that_comes_all_keep_fewer_documents_and_sessions() {
    let mut service = Service::new(4).await;
    for replicas in 1..=4 {
        service.start(replicas - 1, "r1").await;
        if replicas == 1 {
            service.settled(0).await;
            write(service.addresses()[0]).await;
        }
        service.settled(DOCUMENTS).await;
        // What each one holds, give or take what rendezvous hashing leaves to chance: a quarter.
        let share = DOCUMENTS * COPIES.min(replicas) / replicas;
        let mut held = Vec::new();
        for address in service.addresses() {
            // What moved on is let go, not kept besides.
            until("nobody keeps what others hold", async || {
                numbers(address).await.others == 0
            })
            .await;
            held.push(numbers(address).await.held);
        }
        println!("{replicas} replicas hold {held:?} of {DOCUMENTS} documents in {COPIES} copies");
        assert!(
            held.iter().all(|held| held.abs_diff(share) <= share / 4),
            "{held:?} at {replicas} replicas, not about {share}"
        );
        spread(&service.addresses()).await;
    }
    // Each one answers for all of them.
    for address in service.addresses() {
        for number in 0..DOCUMENTS {
            let read = call(address, "rooms/get", &json!({"room": number.to_string()})).await;
            assert_eq!(read.expect("it is read")["likes"], json!(number + 1), "{number}");
        }
    }
}

async fn write(address: SocketAddr) {
    for number in 0..DOCUMENTS {
        let write = json!({"room": number.to_string(), "count": number + 1});
        call(address, "rooms/like", &write)
            .await
            .expect("it is acknowledged");
    }
}

/// Clients that are given the replicas in turn are as many at each.
async fn spread(addresses: &[SocketAddr]) {
    let clients: Vec<Client> = (0..SESSIONS)
        .map(|client| {
            let (client, _) = Client::start(Options {
                url: "ws://chat.test/".to_owned(),
                connect: Some(addresses[client % addresses.len()].to_string()),
                ask_within: LIMIT,
            });
            client
        })
        .collect();
    let open = async |share: usize| {
        for address in addresses {
            if numbers(*address).await.sessions != share {
                return false;
            }
        }
        true
    };
    let share = SESSIONS / addresses.len();
    until("each has its share of the sessions", async || open(share).await).await;
    drop(clients);
    until("they are gone", async || open(0).await).await;
}
