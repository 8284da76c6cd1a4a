//! Order, room and answers.

use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, poll};
use pointsman_actor::{AskError, Settings, TrySendError};
use std::pin::pin;

use crate::probe::{Anywhere, LIMIT, Message, echo, key, noted, probe, stay};

/// So short that the test does not last, and nothing depends on it being short.
const SHORT: Duration = Duration::from_millis(30);

pub async fn messages_of_one_sender_arrive_in_order(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("order", 7));
    let senders = (0..4).map(|sender| {
        let actor = actor.clone();
        tokio::spawn(async move {
            for number in 0..300 {
                actor.send(Message::Note(sender, number)).await.unwrap();
            }
        })
    });
    for sender in join_all(senders).await {
        sender.unwrap();
    }
    let noted = noted(&actor).await;
    assert_eq!(noted.len(), 1_200);
    for sender in 0..4 {
        let own = noted.iter().filter(|note| note.0 == sender).map(|note| note.1);
        assert!(own.eq(0..300), "sender {sender}");
    }
}

pub async fn one_message_at_a_time_across_awaits(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("turns", 64));
    join_all((0..20).map(|number| actor.send(Message::Twice(number)))).await;
    let noted = noted(&actor).await;
    assert_eq!(noted.len(), 40);
    for pair in noted.chunks(2) {
        assert_eq!((pair[0].0, 1), pair[1], "{noted:?}");
    }
}

pub async fn a_full_mailbox_refuses_or_waits(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("full", 3));
    let (beside, ..) = probe(place, Settings::new("beside", 3));
    let door = key();
    stay(&actor, &door).await;
    for number in 0..3 {
        actor.try_send(Message::Note(0, number)).unwrap();
    }
    let full = actor.try_send(Message::Note(0, 3));
    assert!(
        matches!(full, Err(TrySendError::Full(Message::Note(0, 3)))),
        "{full:?}"
    );
    let asked = actor.ask(SHORT, Message::Noted).await;
    assert_eq!(asked.unwrap_err(), AskError::Full);
    let mut sending = pin!(actor.send(Message::Note(0, 3)));
    assert!(poll!(&mut sending).is_pending());
    beside.send(Message::LetGo(door)).await.unwrap();
    sending.await.unwrap();
    assert_eq!(noted(&actor).await, [(0, 0), (0, 1), (0, 2), (0, 3)]);
}

pub async fn waiting_senders_are_served_in_turn(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("turn", 1));
    let (beside, ..) = probe(place, Settings::new("beside", 1));
    let door = key();
    stay(&actor, &door).await;
    actor.send(Message::Note(0, 0)).await.unwrap();
    let mut waiting: Vec<_> = (1..20)
        .map(|number| Box::pin(actor.send(Message::Note(0, number))))
        .collect();
    for sending in &mut waiting {
        assert!(sending.as_mut().now_or_never().is_none());
    }
    // The one that gives up its place sends nothing.
    drop(waiting.remove(9));
    beside.send(Message::LetGo(door)).await.unwrap();
    join_all(waiting.into_iter().rev()).await;
    let numbers: Vec<u32> = noted(&actor).await.iter().map(|note| note.1).collect();
    assert_eq!(
        numbers,
        (0..20).filter(|number| *number != 10).collect::<Vec<_>>()
    );
}

pub async fn an_ask_has_a_deadline(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("late", 3));
    let (beside, ..) = probe(place, Settings::new("beside", 3));
    let door = key();
    stay(&actor, &door).await;
    let asked = actor.ask(SHORT, |reply| Message::Echo(1, reply)).await;
    assert_eq!(asked, Err(AskError::Deadline));
    beside.send(Message::LetGo(door)).await.unwrap();
    assert_eq!(
        echo(&actor, 2).await,
        Ok(2),
        "a late answer meets no other question"
    );
}

pub async fn a_dropped_reply_address_is_no_answer(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("silent", 1));
    let asked = actor.ask(LIMIT, Message::Ignore).await;
    assert_eq!(asked, Err(AskError::NoAnswer));
    actor.send(Message::Fail).await.unwrap();
    let asked = actor.ask(LIMIT, |reply| Message::Echo(1, reply)).await;
    assert!(
        matches!(asked, Err(AskError::NoAnswer | AskError::Closed)),
        "{asked:?}"
    );
}

pub async fn a_reply_address_is_forwarded_to_a_third_actor(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("second", 1));
    let asked = actor.ask(LIMIT, |reply| Message::Forward(7, reply)).await;
    assert_eq!(asked, Ok(7));
}

pub async fn a_reply_address_is_kept_and_answered_later(place: impl Anywhere) {
    let (actor, ..) = probe(place, Settings::new("later", 4));
    let mut asking = pin!(actor.ask(LIMIT, Message::Keep));
    assert!(poll!(&mut asking).is_pending());
    assert_eq!(echo(&actor, 1).await, Ok(1), "it takes other messages meanwhile");
    assert!(poll!(&mut asking).is_pending());
    actor.send(Message::AnswerKept(9)).await.unwrap();
    assert_eq!(asking.await, Ok(9));
}

pub async fn a_message_to_itself_comes_later(place: impl Anywhere) {
    let mut settings = Settings::new("timers", 4);
    settings.timers = 5;
    let (actor, ..) = probe(place, settings);
    let hour = Duration::from_secs(3_600);
    actor.send(Message::Later(SHORT * 2, 2)).await.unwrap();
    actor.send(Message::Later(SHORT, 1)).await.unwrap();
    actor.send(Message::Later(hour, 3)).await.unwrap();
    let cancelled = actor.ask(LIMIT, Message::CancelLast).await.unwrap();
    assert_eq!(cancelled, Some(3));
    while noted(&actor).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(noted(&actor).await, [(1, 1), (2, 2)]);
    let filled = actor.ask(LIMIT, Message::FillTimers).await.unwrap();
    assert_eq!(filled, 5);
}
