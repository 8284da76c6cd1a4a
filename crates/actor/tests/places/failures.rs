//! Restarts.

use std::time::Duration;

use pointsman_actor::{AskError, Backoff, Ending, Settings, State, Supervision, spawn};

use crate::probe::{Anywhere, LIMIT, Message, Probe, echo, key, lives_seen, noted, probe, stay};

/// As often as a test may want, after a moment each time.
pub fn restart() -> Supervision {
    let mut supervision = Supervision::restart();
    supervision.backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20));
    supervision.restarts_max = 100;
    supervision
}

pub async fn a_failure_restarts_and_the_mailbox_survives(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("phoenix", 8).supervision(restart()));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = format!("door of {key}");
    actor.send(Message::Note(1, 1)).await.unwrap();
    stay(&actor, &door).await;
    actor.send(Message::Fail).await.unwrap();
    actor.send(Message::Note(2, 2)).await.unwrap();
    beside.send(Message::LetGo(door)).await.unwrap();
    assert_eq!(noted(&actor).await, [(2, 2)], "state is new, the mailbox is not");
    assert_eq!(lives_seen(&actor, &key).await, (2, 0));
    assert_eq!(
        handle.wait_for(|state| *state == State::Running).await,
        State::Running
    );
}

pub async fn a_panic_is_a_failure(place: impl Anywhere) {
    let (actor, _, key) = probe(place, Settings::new("panics", 8).supervision(restart()));
    actor.send(Message::Panic).await.unwrap();
    assert_eq!(echo(&actor, 1).await, Ok(1));
    assert_eq!(lives_seen(&actor, &key).await, (2, 0));
    let (actor, handle, _) = probe(place, Settings::new("panics", 8));
    actor.send(Message::Panic).await.unwrap();
    assert_eq!(
        handle.join().await,
        Ending::Failed("panicked: as it was told".to_owned())
    );
}

pub async fn a_failure_ends_it_without_supervision(place: impl Anywhere) {
    let (actor, handle, key) = probe(place, Settings::new("mortal", 8));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = format!("door of {key}");
    stay(&actor, &door).await;
    actor.send(Message::Fail).await.unwrap();
    let waiting = tokio::spawn({
        let actor = actor.clone();
        async move { echo(&actor, 1).await }
    });
    beside.send(Message::LetGo(door)).await.unwrap();
    actor.closed().await;
    assert_eq!(handle.join().await, Ending::Failed("as it was told".to_owned()));
    let waited = waiting.await.unwrap();
    assert!(
        matches!(waited, Err(AskError::NoAnswer | AskError::Closed)),
        "{waited:?}"
    );
    assert!(actor.is_closed());
    assert_eq!(echo(&actor, 2).await, Err(AskError::Closed));
    let message = actor.send(Message::Note(3, 4)).await.unwrap_err().into_message();
    assert!(matches!(message, Message::Note(3, 4)));
    assert_eq!(
        lives_seen(&beside, &key).await,
        (1, 0),
        "a failed one is not stopped"
    );
}

pub async fn too_many_restarts_end_it(place: impl Anywhere) {
    let mut supervision = restart();
    supervision.restarts_max = 2;
    let (actor, handle, key) = probe(place, Settings::new("hopeless", 8).supervision(supervision));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    for _ in 0..3 {
        actor.send(Message::Fail).await.unwrap();
    }
    assert_eq!(handle.join().await, Ending::Failed("as it was told".to_owned()));
    assert!(actor.is_closed());
    assert_eq!(lives_seen(&beside, &key).await.0, 3, "once and two restarts");
}

pub async fn a_failed_start_counts(place: impl Anywhere) {
    let factory = |fails_to_start| Probe {
        key: key(),
        fails_to_start,
    };
    let mut supervision = restart();
    supervision.restarts_max = 3;
    let settings = Settings::new("late starter", 8).supervision(supervision);
    let late = factory(3);
    let (actor, _) = spawn(place, settings.clone(), late.clone()).unwrap();
    assert_eq!(echo(&actor, 1).await, Ok(1), "the message waits for the start");
    assert_eq!(lives_seen(&actor, &late.key).await.0, 4);
    let (_actor, handle) = spawn(place, settings, factory(4)).unwrap();
    assert_eq!(handle.join().await, Ending::Failed("as it was told".to_owned()));
}

pub async fn the_failed_message_is_not_tried_again(place: impl Anywhere) {
    let (actor, _, key) = probe(place, Settings::new("once", 8).supervision(restart()));
    let asked = actor.ask(LIMIT, Message::Keep);
    let (asked, ()) = tokio::join!(asked, async {
        actor.send(Message::Fail).await.unwrap();
    });
    assert_eq!(asked, Err(AskError::NoAnswer), "what an actor keeps goes with it");
    assert_eq!(echo(&actor, 1).await, Ok(1));
    assert_eq!(lives_seen(&actor, &key).await.0, 2);
}
