//! How actors end.

use std::time::Duration;

use futures::future::join_all;
use pointsman_actor::{AskError, Backoff, Ending, Settings, SpawnError, State, Stop, spawn};

use crate::failures::restart;
use crate::probe::{Anywhere, LIMIT, Message, Probe, echo, key, lives_seen, probe, stay};

pub async fn draining_handles_what_waits(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("drained", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = format!("door of {key}");
    stay(&actor, &door).await;
    let (asked, ()) = tokio::join!(join_all((0..5).map(|number| echo(&actor, number))), async {
        handle.order_stop(Stop::Drain(LIMIT));
        assert!(actor.is_closed(), "from now on");
        beside.send(Message::LetGo(door)).await.unwrap();
    });
    assert_eq!(asked, (0..5).map(Ok).collect::<Vec<_>>());
    assert_eq!(handle.join().await, Ending::Stopped);
    assert_eq!(echo(&actor, 9).await, Err(AskError::Closed));
    assert_eq!(lives_seen(&beside, &key).await, (1, 1));
}

pub async fn stopping_now_drops_what_waits(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("stopped", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = format!("door of {key}");
    stay(&actor, &door).await;
    let (asked, ended) = tokio::join!(join_all((0..5).map(|number| echo(&actor, number))), async {
        handle.order_stop(Stop::Now(LIMIT));
        // The order is on its way before the answer to this is here, and goes before what is sent afterwards.
        echo(&beside, 0).await.unwrap();
        beside.send(Message::LetGo(door)).await.unwrap();
        handle.join().await
    });
    assert_eq!(ended, Ending::Stopped);
    assert!(
        asked
            .iter()
            .all(|asked| matches!(asked, Err(AskError::NoAnswer | AskError::Closed))),
        "{asked:?}"
    );
    assert_eq!(lives_seen(&beside, &key).await, (1, 1));
}

pub async fn a_stop_ends_at_its_deadline(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("slow", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    stay(&actor, &format!("door of {key}")).await;
    let ended = handle.stop(Stop::Drain(Duration::from_millis(30))).await;
    assert_eq!(ended, Ok(Ending::Aborted));
    assert!(actor.is_closed());
    assert_eq!(lives_seen(&beside, &key).await, (1, 0), "it was cut off");
}

pub async fn it_ends_with_its_last_reference(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("forgotten", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = format!("door of {key}");
    stay(&actor, &door).await;
    actor.send(Message::Fail).await.unwrap();
    let weak = actor.downgrade();
    assert!(weak.upgrade().is_some());
    drop(actor);
    assert!(weak.upgrade().is_none());
    beside.send(Message::LetGo(door)).await.unwrap();
    assert_eq!(
        handle.join().await,
        Ending::Failed("as it was told".to_owned()),
        "what waits is handled first"
    );
    let (actor, handle, key) = probe(place, Settings::new("forgotten", 8));
    actor
        .send(Message::Later(Duration::from_secs(3_600), 1))
        .await
        .unwrap();
    drop(actor);
    assert_eq!(handle.join().await, Ending::Unreferenced);
    assert_eq!(lives_seen(&beside, &key).await, (1, 1));
}

pub async fn it_stops_itself(place: impl Anywhere) {
    let (actor, handle, _) = probe(place, Settings::new("done", 8).supervision(restart()));
    actor.send(Message::Stop).await.unwrap();
    assert_eq!(handle.join().await, Ending::Stopped);
    assert_eq!(handle.state(), State::Ended(Ending::Stopped));
    actor.closed().await;
}

pub async fn a_stop_cuts_the_wait_for_a_restart(place: impl Anywhere) {
    let mut supervision = restart();
    let hour = Duration::from_secs(3_600);
    supervision.backoff = Backoff::new(hour, hour);
    let (actor, handle, _) = probe(place, Settings::new("waiting", 8).supervision(supervision));
    actor.send(Message::Fail).await.unwrap();
    handle.wait_for(|state| *state == State::Restarting).await;
    actor.send(Message::Note(1, 1)).await.unwrap();
    assert_eq!(handle.stop(Stop::Now(LIMIT)).await, Ok(Ending::Stopped));
}

pub async fn draining_goes_on_after_a_restart(place: impl Anywhere) {
    let mut supervision = restart();
    supervision.backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(100));
    let (actor, handle, _) = probe(place, Settings::new("drained", 8).supervision(supervision));
    actor.send(Message::Fail).await.unwrap();
    let (asked, ended) = tokio::join!(echo(&actor, 1), async {
        handle.wait_for(|state| *state == State::Restarting).await;
        handle.stop(Stop::Drain(LIMIT)).await
    });
    assert_eq!((asked, ended), (Ok(1), Ok(Ending::Stopped)));
}

pub async fn children_end_with_their_parent(place: impl Anywhere) {
    let (actor, handle, _) = probe(place, Settings::new("parent", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let child = key();
    let child_key = child.clone();
    let made = actor.ask(LIMIT, |reply| Message::Child(child_key, reply));
    made.await.unwrap();
    assert_eq!(lives_seen(&beside, &child).await, (1, 0));
    assert_eq!(handle.stop(Stop::Now(LIMIT)).await, Ok(Ending::Stopped));
    assert_eq!(lives_seen(&beside, &child).await, (1, 1), "before its parent");
}

pub async fn children_end_before_a_restart(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("parent", 8).supervision(restart()));
    let child = key();
    let child_key = child.clone();
    let made = actor.ask(LIMIT, |reply| Message::Child(child_key, reply));
    made.await.unwrap();
    actor.send(Message::Fail).await.unwrap();
    assert_eq!(lives_seen(&actor, &child).await, (1, 1));
}

pub async fn settings_are_checked(place: impl Anywhere) {
    let mut backwards = Settings::new("backwards", 1).supervision(restart());
    backwards.supervision.backoff.first = Duration::from_secs(1);
    let wrong = [
        ("mailbox", Settings::new("a", 0)),
        ("mailbox", Settings::new("a", usize::MAX)),
        ("name (bytes)", Settings::new("", 1)),
        ("supervision.backoff.first", backwards),
    ];
    for (named, settings) in wrong {
        match spawn(place, settings, Probe::default()) {
            Err(SpawnError::Invalid { field, .. }) => assert_eq!(field, named),
            other => panic!("{other:?}"),
        }
    }
}
