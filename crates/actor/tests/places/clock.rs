//! What depends on time, in time that stands still until everybody waits.

use std::time::Duration;

use pointsman_actor::{
    Actor, AskError, Backoff, Context, Ending, Failure, ReplyTo, Settings, State, Stop, Supervision, Task,
    spawn,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Reports when it starts, and fails at any message but a question.
struct Reporter(mpsc::UnboundedSender<Instant>);

enum Do {
    Fail,
    Wait(Duration, ReplyTo<()>),
    Later(Duration),
}

impl Actor for Reporter {
    type Message = Do;

    async fn started(&mut self, _: &mut Context<Do>) -> Result<(), Failure> {
        Ok(self.0.send(Instant::now())?)
    }

    async fn handle(&mut self, message: Do, context: &mut Context<Do>) -> Result<(), Failure> {
        match message {
            Do::Fail => Err(Failure::new("as it was told")),
            Do::Wait(wait, reply) => {
                tokio::time::sleep(wait).await;
                Ok(reply.answer(())?)
            }
            Do::Later(delay) => {
                context.send_after(delay, Do::Fail)?;
                Ok(())
            }
        }
    }
}

fn supervision(first_ms: u64, max_ms: u64, restarts_max: u32) -> Supervision {
    let mut supervision = Supervision::restart();
    supervision.backoff = Backoff::new(Duration::from_millis(first_ms), Duration::from_millis(max_ms));
    supervision.restarts_max = restarts_max;
    supervision
}

#[tokio::test(start_paused = true)]
async fn restarts_wait_longer_each_time_and_begin_anew_after_the_window() {
    let (sender, mut starts) = mpsc::unbounded_channel();
    let settings = Settings::new("reporter", 8).supervision(supervision(100, 300, 10));
    let (actor, _handle) = spawn(Task, settings, move || Reporter(sender.clone())).unwrap();
    let mut last = starts.recv().await.unwrap();
    let mut waits = Vec::new();
    for number in 0..5 {
        if number == 4 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            last = Instant::now();
        }
        actor.send(Do::Fail).await.unwrap();
        let start = starts.recv().await.unwrap();
        waits.push((start - last).as_millis());
        last = start;
    }
    // The clock of tokio counts whole milliseconds and rounds up.
    for (wait, expected) in waits.iter().zip([100, 200, 300, 300, 100]) {
        assert!((expected..=expected + 1).contains(wait), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_room_and_answer_together() {
    let (sender, _starts) = mpsc::unbounded_channel();
    let (actor, _handle) = spawn(Task, Settings::new("slow", 1), move || Reporter(sender.clone())).unwrap();
    let wait = |seconds| {
        let actor = actor.clone();
        let wait = Duration::from_secs(seconds);
        async move {
            let start = Instant::now();
            let asked = actor
                .ask(Duration::from_secs(10), |reply| Do::Wait(wait, reply))
                .await;
            (asked, start.elapsed().as_secs())
        }
    };
    let (first, second, third) = tokio::join!(wait(8), wait(4), wait(0));
    assert_eq!(first, (Ok(()), 8));
    assert_eq!(second, (Err(AskError::Deadline), 10), "its answer comes at 12 s");
    assert_eq!(third, (Err(AskError::Deadline), 10), "it had room at 8 s");
}

#[tokio::test(start_paused = true)]
async fn timers_go_with_the_life_that_set_them() {
    let (sender, mut starts) = mpsc::unbounded_channel();
    let settings = Settings::new("reporter", 8).supervision(supervision(100, 300, 10));
    let (actor, _handle) = spawn(Task, settings, move || Reporter(sender.clone())).unwrap();
    actor.send(Do::Later(Duration::from_secs(1))).await.unwrap();
    actor.send(Do::Fail).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    starts.recv().await.unwrap();
    starts.recv().await.unwrap();
    assert!(
        starts.try_recv().is_err(),
        "the timer of the first life did not fire"
    );
}

#[tokio::test(start_paused = true)]
async fn a_more_urgent_stop_counts() {
    let (sender, _starts) = mpsc::unbounded_channel();
    let (actor, handle) = spawn(Task, Settings::new("slow", 1), move || Reporter(sender.clone())).unwrap();
    let start = Instant::now();
    let (asked, ended) = tokio::join!(
        actor.ask(Duration::from_secs(1_000), |reply| Do::Wait(
            Duration::from_secs(900),
            reply
        )),
        async {
            handle.wait_for(|state| *state == State::Running).await;
            handle.order_stop(Stop::Drain(Duration::from_secs(100)));
            handle.order_stop(Stop::Now(Duration::from_secs(2)));
            handle.order_stop(Stop::Drain(Duration::from_secs(50)));
            handle.join().await
        }
    );
    assert_eq!((asked, ended), (Err(AskError::NoAnswer), Ending::Aborted));
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn a_place_that_ends_takes_its_actors_along() {
    let pool = pointsman_actor::ThreadPool::new("short", 1).unwrap();
    let (sender, _starts) = mpsc::unbounded_channel();
    let (actor, handle) = spawn(&pool, Settings::new("slow", 1), move || Reporter(sender.clone())).unwrap();
    let asking = tokio::spawn({
        let actor = actor.clone();
        async move {
            let hour = Duration::from_secs(3_600);
            actor.ask(hour, |reply| Do::Wait(hour, reply)).await
        }
    });
    handle.wait_for(|state| *state == State::Running).await;
    drop(pool);
    crate::probe::within(actor.closed()).await;
    assert_eq!(handle.join().await, Ending::Aborted);
    assert!(crate::probe::within(asking).await.unwrap().is_err());
}

#[test]
fn without_a_runtime_a_task_is_refused() {
    let spawned = spawn(Task, Settings::new("nowhere", 1), || {
        Reporter(mpsc::unbounded_channel().0)
    });
    assert!(matches!(spawned, Err(pointsman_actor::SpawnError::NoRuntime)));
}
