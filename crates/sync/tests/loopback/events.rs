//! Events of all replicas, and what a session that moves hears of them.

use std::sync::{Arc, Mutex};

use pointsman_sync::client::{Client, Observed};
use pointsman_sync::server::Server;
use serde_json::{Value, json};

use crate::harness::{LIMIT, ask, client, observed, order, pair, until};

/// Says a text at one replica.
async fn say(server: &Server, text: &str) {
    let body = json!([{"text": text}]).to_string();
    let (status, said) = ask(server.address, "POST", "/api/chat/say", "", &body).await;
    assert_eq!(status, 200, "{said}");
}

fn text(observed: Observed) -> Option<String> {
    match observed {
        Observed::Event { name, payload } if name == "chat/message" => {
            payload.get("text").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    }
}

#[tokio::test]
async fn what_is_said_at_one_replica_is_heard_at_the_others() {
    let (old, new, _) = pair().await;
    let (_here, mut here) = Client::start(client(old.address));
    let (_there, mut there) = Client::start(client(new.address));
    until("both are connected", || old.open() == 1 && new.open() == 1).await;
    say(&old, "hello").await;
    assert_eq!(observed(&mut here, text).await, "hello");
    assert_eq!(observed(&mut there, text).await, "hello");
}

/// Moved to and fro and cut while others speak at both replicas: nothing is missed, nothing comes twice, and what one
/// replica tells comes in its order.
#[tokio::test]
async fn a_session_that_moves_misses_and_repeats_nothing() {
    let (old, new, address) = pair().await;
    let (_listener, mut seen) = Client::start(client(address));
    until("it listens", || old.open() == 1).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let listening = tokio::spawn(async move {
        while let Some(event) = seen.recv().await {
            if let Some(text) = text(event) {
                kept.lock().unwrap().push(text);
            }
        }
    });
    let count = || heard.lock().unwrap().len();
    let mut said = 0;
    for round in 0..6 {
        for _ in 0..20 {
            say(&old, &format!("old {said}")).await;
            say(&new, &format!("new {said}")).await;
            said += 1;
            if said % 20 == 5 {
                match round % 3 {
                    0 => order(&old, json!(0), "new").await,
                    1 => new.cut(),
                    _ => order(&new, json!(0), "old").await,
                }
            }
        }
        order(&old, Value::Null, "").await;
        order(&new, Value::Null, "").await;
        let all = 2 * said;
        let end = tokio::time::Instant::now() + LIMIT;
        while count() < all {
            assert!(
                tokio::time::Instant::now() < end,
                "{} of {all} were heard {:?}",
                count(),
                heard.lock().unwrap()
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    listening.abort();
    let heard = heard.lock().unwrap().clone();
    for from in ["old", "new"] {
        let told: Vec<&String> = heard.iter().filter(|text| text.starts_with(from)).collect();
        let expected: Vec<String> = (0..said).map(|number| format!("{from} {number}")).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>());
    }
}
