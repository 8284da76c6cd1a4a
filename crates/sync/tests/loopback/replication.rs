//! Replicas among themselves.

use std::time::Duration;

use pointsman_sync::client::{CallError, Client};
use pointsman_sync::load::Load;
use serde_json::json;

use crate::harness::{
    LIMIT, Router, ask, client, greeting, load, observed, order, pair, pair_with, server, until,
};

#[tokio::test]
async fn a_replica_that_dies_loses_no_acknowledged_write() {
    let (old, new, address) = pair().await;
    let load = Load::start(load(address, 10)).await;
    assert!(load.connected(LIMIT).await);
    order(&old, json!(0), "new").await;
    until("everybody is on the new one", || new.open() == 10).await;
    until("some writes are acknowledged", || {
        load.snapshot()["writesAcknowledged"].as_u64().unwrap() > 100
    })
    .await;
    new.stop();
    until("everybody is back on the one that lives", || old.open() == 10).await;
    let report = load.stop().await;
    assert_eq!(report.writes_lost, 0, "{report:?}");
}

#[tokio::test]
async fn an_acknowledged_write_that_is_never_repeated_survives_its_replica() {
    let (old, new, address) = pair().await;
    let (session, _seen) = Client::start(client(address));
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    old.stop();
    let (reader, _seen) = Client::start(client(new.address));
    assert_eq!(
        reader.call("counter/get", &json!({"room": "a"})).await,
        Ok(json!({"value": 5}))
    );
}

#[tokio::test]
async fn ending_moves_everybody_and_hands_the_documents_over() {
    let (old, new, address) = pair().await;
    let load = Load::start(load(address, 10)).await;
    assert!(load.connected(LIMIT).await);
    order(&old, json!(10), "new").await;
    old.shutdown().await;
    until("everybody is on the new one", || new.open() == 10).await;
    let report = load.stop().await;
    assert_eq!(
        (
            report.writes_lost,
            report.disconnects_per_client.max,
            report.gap_ms.max
        ),
        (0, 1, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn what_only_the_ending_replica_knew_is_handed_over() {
    // No relay comes in time.
    let slow = |options: &mut pointsman_sync::server::Options| options.relay_every = LIMIT * 10;
    let (middle, last, _) = pair_with(slow).await;
    let peer = format!("http://{}", middle.control);
    let first = server("first", |options| options.peers = vec![peer]).await;
    until("the first one replicates", || first.peers() == 1).await;
    let (session, _seen) = Client::start(client(first.address));
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    first.stop();
    let (reader, _seen) = Client::start(client(last.address));
    let asked = json!({"room": "a"});
    middle.shutdown().await;
    assert_eq!(reader.call("counter/get", &asked).await, Ok(json!({"value": 5})));
}

#[tokio::test]
async fn what_one_replica_tells_goes_on_to_the_others() {
    let (middle, last, _) = pair().await;
    let peer = format!("http://{}", middle.control);
    let first = server("first", |options| options.peers = vec![peer]).await;
    until("the first one replicates", || first.peers() == 1).await;
    let (session, _seen) = Client::start(client(first.address));
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    let (reader, _seen) = Client::start(client(last.address));
    let end = tokio::time::Instant::now() + LIMIT;
    while reader.call("counter/get", &json!({"room": "a"})).await != Ok(json!({"value": 5})) {
        assert!(
            tokio::time::Instant::now() < end,
            "the last one never hears of it"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// More state than fits into one packet.
#[tokio::test]
async fn a_replica_is_ready_once_it_has_all_state_of_the_others_however_much() {
    let old = server("old", |_| {}).await;
    let (session, _seen) = Client::start(client(old.address));
    let room = |index: usize| format!("{index:0>128}");
    for index in 0..3_000 {
        let write = json!({"room": room(index), "count": 1});
        session.call("counter/set", &write).await.unwrap();
    }
    let peer = old.control.to_string();
    let new = server("new", |options| options.peers = vec![peer]).await;
    let end = tokio::time::Instant::now() + LIMIT;
    while ask(new.control, "GET", "/readyz", "", "").await.0 != 200 {
        assert!(tokio::time::Instant::now() < end, "never ready");
    }
    assert_eq!(new.peers(), 1);
    let (reader, _seen) = Client::start(client(new.address));
    for index in [0, 1_500, 2_999] {
        let read = reader.call("counter/get", &json!({"room": room(index)})).await;
        assert_eq!(read, Ok(json!({"value": 1})), "{index}");
    }
}

#[tokio::test]
async fn a_replica_that_was_there_first_hands_over_to_one_that_comes() {
    let door = Router::default();
    let peer = door.start().await.to_string();
    let old = server("old", |options| options.peers = vec![peer]).await;
    let (session, _seen) = Client::start(client(old.address));
    session
        .call("counter/set", &json!({"room": "a", "count": 5}))
        .await
        .unwrap();
    // It dials nobody, so all it can know it was told.
    let new = server("new", |_| {}).await;
    door.add("new", new.control);
    until("the old one replicates", || old.peers() == 1).await;
    let (reader, _seen) = Client::start(client(new.address));
    let read = reader.call("counter/get", &json!({"room": "a"})).await;
    assert_eq!(read, Ok(json!({"value": 5})));
}

#[tokio::test]
async fn the_load_tool_tells_of_an_acknowledged_write_that_is_lost() {
    let router = Router::default();
    // Alone, each of them.
    let (old, new) = (server("old", |_| {}).await, server("new", |_| {}).await);
    router.add("old", old.address);
    let mut options = load(router.start().await, 1);
    options.write_interval = LIMIT * 100;
    options.seen_within = Duration::ZERO;
    let load = Load::start(options).await;
    until("the one write is acknowledged", || {
        load.snapshot()["writesAcknowledged"] == 1
    })
    .await;
    old.stop();
    router.only("new", new.address);
    until("the client is on the new one", || new.open() == 1).await;
    assert_eq!(load.stop().await.writes_lost, 1);
}

#[tokio::test]
async fn a_replica_whose_peers_are_not_there_is_ready_all_the_same() {
    let nobody = Router::default().start().await;
    let server = server("old", |options| options.peers = vec![nobody.to_string()]).await;
    let end = tokio::time::Instant::now() + LIMIT;
    while ask(server.control, "GET", "/readyz", "", "").await.0 != 200 {
        assert!(tokio::time::Instant::now() < end, "never ready");
    }
    assert_eq!(server.peers(), 0);
}

#[tokio::test]
async fn peers_are_found_by_name_and_a_replica_knows_itself() {
    let old = server("old", |_| {}).await;
    let name = format!("localhost:{}", old.control.port());
    let new = server("new", |options| options.peers_dns = Some(name)).await;
    until("the name leads to the old one", || new.peers() == 1).await;
    let own = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let alone = server("alone", |options| {
        options.listen = own;
        options.peers = vec![own.to_string()];
    })
    .await;
    let end = tokio::time::Instant::now() + LIMIT;
    while ask(alone.control, "GET", "/readyz", "", "").await.0 != 200 {
        assert!(tokio::time::Instant::now() < end, "never ready");
    }
    assert_eq!(alone.peers(), 0);
}

#[tokio::test]
async fn replicas_with_an_older_file_of_tokens_replicate_and_strangers_do_not() {
    let file = |name: &str, text: &str| {
        let file = std::env::temp_dir().join(format!("pointsman-{}-{name}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        file
    };
    let (older, newer, other) = (
        file("older", "one\n"),
        file("newer", "two\none\n"),
        file("other", "three\n"),
    );
    let old = server("old", |options| options.control_token_file = Some(older.clone())).await;
    let peer = old.control.to_string();
    let dials = |tokens: &std::path::Path| {
        let (peer, tokens) = (peer.clone(), tokens.to_owned());
        server("new", move |options| {
            options.peers = vec![peer];
            options.control_token_file = Some(tokens);
        })
    };
    let stranger = dials(&other).await;
    let new = dials(&newer).await;
    until("the second token is tried", || new.peers() == 1).await;
    assert_eq!(stranger.peers(), 0);
    for file in [older, newer, other] {
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn a_write_that_no_peer_holds_is_not_acknowledged() {
    // A peer that takes everything over and then acknowledges nothing more.
    let (old, _new, _) = pair().await;
    let pause = Router::default();
    let peer = pause.start().await.to_string();
    let alone = server("alone", |options| options.peers = vec![peer]).await;
    pause.add("old", old.control);
    until("it replicates", || alone.peers() == 1).await;
    pause.freeze();
    let (session, mut seen) = Client::start(client(alone.address));
    observed(&mut seen, greeting).await;
    let written = session
        .call("counter/set", &json!({"room": "a", "count": 1}))
        .await;
    assert!(
        matches!(written, Err(CallError::Refused { status: 503, .. })),
        "{written:?}"
    );
}
