//! What only processes do.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use pointsman_actor::{
    AskError, Backoff, Ending, Factory, Kind, Refusal, Restart, SendError, Settings, SpawnError, State, Stop,
    Worker, is_worker, spawn,
};
use serde::{Deserialize, Serialize};

use crate::failures::restart;
use crate::probe::{LIMIT, Message, Picky, Probe, Prober, echo, key, lives_seen, noted, probe, stay, within};
use crate::worker_settings;

const HOUR: Duration = Duration::from_secs(3_600);

fn kill(process_id: u32) {
    let command = format!("kill -9 {process_id}");
    assert!(
        Command::new("sh")
            .args(["-c", &command])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether it runs; one that has ended and that nobody waits for does not.
fn runs(process_id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn kill_9_ends_open_asks_at_once_and_later_ones_work() {
    let worker = Worker::start(worker_settings()).unwrap();
    let (actor, handle, key) = probe(&worker, Settings::new("victim", 64).supervision(restart()));
    stay(&actor, &key).await;
    let first = worker.process_id().unwrap();
    let asks: Vec<_> = (0..50)
        .map(|number| {
            let actor = actor.clone();
            async move { actor.ask(HOUR, |reply| Message::Echo(number, reply)).await }
        })
        .collect();
    let asking = tokio::spawn(join_all(asks));
    // A message of another actor that comes back shows that those before it have been written.
    let (beside, ..) = probe(&worker, Settings::new("beside", 1).supervision(restart()));
    tokio::task::yield_now().await;
    assert_eq!(echo(&beside, 1).await, Ok(1));
    kill(first);
    let asked = within(asking).await.unwrap();
    assert!(
        asked.iter().all(|asked| *asked == Err(AskError::NoAnswer)),
        "{asked:?}"
    );
    assert_eq!(handle.lost(), 50, "sent and never taken");
    assert_eq!(within(echo(&actor, 7)).await, Ok(7), "without doing anything");
    assert_ne!(worker.process_id(), Some(first));
    assert_eq!(worker.starts(), 2);
    stay(&actor, &key).await;
    for number in 0..64 {
        actor.try_send(Message::Note(0, number)).unwrap();
    }
    let full = actor.try_send(Message::Note(0, 64));
    assert!(full.is_err(), "all the room is there again, and no more");
    beside.send(Message::LetGo(key)).await.unwrap();
    assert_eq!(noted(&actor).await.len(), 64);
    within(worker.stop()).await;
    assert_eq!(handle.join().await, Ending::Stopped);
}

/// The file of a test, gone with it.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_under_load_neither_repeat_nor_reorder() {
    let name = format!("actor-deaths-{}", std::process::id());
    let scratch = Scratch(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    std::fs::write(&scratch.0, "").unwrap();
    let path = scratch.0.to_str().unwrap().to_owned();
    let worker = Worker::start(worker_settings()).unwrap();
    let (actor, handle, _) = probe(&worker, Settings::new("mortal", 32).supervision(restart()));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let senders = (0..4).map(|sender| {
        let (actor, path, stop) = (actor.clone(), path.clone(), stop.clone());
        tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                actor
                    .send(Message::Write(path.clone(), sender, number))
                    .await
                    .unwrap();
                number += 1;
                if number % 50 == 0 {
                    let asked = echo(&actor, number).await;
                    assert!(
                        asked == Ok(number) || asked == Err(AskError::NoAnswer),
                        "{asked:?}"
                    );
                }
            }
            number
        })
    });
    let senders: Vec<_> = senders.collect();
    for death in 1..=5 {
        until("it writes", || {
            std::fs::metadata(&scratch.0).unwrap().len() > 10_000 * death
        })
        .await;
        kill(worker.process_id().unwrap());
        until("it starts again", || {
            worker.starts() > death && worker.process_id().is_some()
        })
        .await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent: u32 = within(join_all(senders))
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert!(within(echo(&actor, 1)).await.is_ok());
    let written = std::fs::read_to_string(&scratch.0).unwrap();
    let mut last = [None; 4];
    for line in written.lines() {
        let (sender, number) = line.split_once(' ').unwrap();
        let (sender, number): (usize, u32) = (sender.parse().unwrap(), number.parse().unwrap());
        assert!(last[sender] < Some(number), "{line} after {:?}", last[sender]);
        last[sender] = Some(number);
    }
    let missing = u64::from(sent) - written.lines().count() as u64;
    // At each death one may be cut off that was reported as taken.
    assert!(
        missing <= handle.lost() + 5,
        "{missing} missing, {} said to be lost",
        handle.lost()
    );
}

#[tokio::test]
async fn what_is_sent_while_the_process_is_down_waits_for_it() {
    let mut settings = worker_settings();
    settings.supervision.backoff = Backoff::new(Duration::from_millis(200), Duration::from_millis(200));
    let worker = Worker::start(settings).unwrap();
    let (actor, handle, _) = probe(&worker, Settings::new("phoenix", 8).supervision(restart()));
    assert_eq!(echo(&actor, 1).await, Ok(1));
    kill(worker.process_id().unwrap());
    handle.wait_for(|state| *state == State::Restarting).await;
    for number in 0..8 {
        actor.try_send(Message::Note(0, number)).unwrap();
    }
    assert!(
        actor.try_send(Message::Note(0, 8)).is_err(),
        "its room is what it was"
    );
    assert_eq!(worker.starts(), 1, "the process is still down");
    let noted = within(noted(&actor)).await;
    assert!(noted.iter().map(|note| note.1).eq(0..8), "{noted:?}");
    assert_eq!(handle.lost(), 0);
}

#[tokio::test]
async fn an_actor_that_never_restarts_ends_with_its_process() {
    let worker = Worker::start(worker_settings()).unwrap();
    let (mortal, ending, _) = probe(&worker, Settings::new("mortal", 8));
    let (phoenix, ..) = probe(&worker, Settings::new("phoenix", 8).supervision(restart()));
    assert_eq!(echo(&mortal, 1).await, Ok(1));
    kill(worker.process_id().unwrap());
    let ended = within(ending.join()).await;
    assert!(
        matches!(&ended, Ending::Failed(reason) if reason.contains("signal: 9")),
        "{ended:?}"
    );
    assert!(mortal.is_closed());
    assert_eq!(within(echo(&phoenix, 2)).await, Ok(2));
}

#[tokio::test]
async fn too_many_deaths_end_the_worker_and_its_actors() {
    let mut settings = worker_settings();
    settings.supervision.restarts_max = 1;
    let worker = Worker::start(settings).unwrap();
    let (actor, handle, _) = probe(&worker, Settings::new("hopeless", 8).supervision(restart()));
    for number in 0..2 {
        assert_eq!(within(echo(&actor, number)).await, Ok(number));
        let process_id = worker.process_id().unwrap();
        kill(process_id);
        until("it is noticed", || worker.process_id() != Some(process_id)).await;
    }
    within(worker.ended()).await;
    assert!(matches!(handle.join().await, Ending::Failed(_)));
    assert_eq!(echo(&actor, 2).await, Err(AskError::Closed));
    let spawned = spawn(&worker, Settings::new("late", 1), Probe::default());
    assert!(
        matches!(&spawned, Err(SpawnError::PlaceEnded(reason)) if reason.contains("signal: 9")),
        "{spawned:?}"
    );
}

#[tokio::test]
async fn a_program_that_is_missing_or_is_no_worker_says_so() {
    for (program, says) in [
        ("/nonexistent/worker", "No such file"),
        ("true", "exit status: 0"),
    ] {
        let mut settings = worker_settings();
        settings.program = program.into();
        settings.supervision.restart = Restart::Never;
        let worker = Worker::start(settings).unwrap();
        let (actor, handle, _) = probe(&worker, Settings::new("nobody", 1).supervision(restart()));
        within(actor.closed()).await;
        let ended = handle.join().await;
        assert!(
            matches!(&ended, Ending::Failed(reason) if reason.contains(says)),
            "{ended:?}"
        );
    }
    let settings = worker_settings();
    let alone = Command::new(settings.program)
        .args(settings.arguments)
        .env("POINTSMAN_ACTOR_WORKER", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [alone.stdout, alone.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("NotAWorker"));
}

#[tokio::test]
async fn a_process_that_does_not_greet_is_replaced() {
    let mut settings = worker_settings();
    settings.program = "sleep".into();
    settings.arguments = vec!["3600".into()];
    settings.start_within = Duration::from_millis(50);
    settings.supervision.restarts_max = 1;
    let worker = Worker::start(settings).unwrap();
    within(worker.ended()).await;
    assert_eq!(worker.starts(), 2);
}

/// Known here and not there.
#[derive(Serialize, Deserialize)]
struct Stranger;

impl Factory for Stranger {
    type Actor = Prober;

    fn make(&self) -> Prober {
        Probe::default().make()
    }
}

impl Kind for Stranger {
    const NAME: &'static str = "stranger";
}

#[tokio::test]
async fn a_kind_that_the_worker_does_not_know_is_named() {
    let worker = Worker::start(worker_settings()).unwrap();
    let (actor, handle) = spawn(&worker, Settings::new("a", 1), Stranger).unwrap();
    let ended = within(handle.join()).await;
    assert!(
        matches!(&ended, Ending::Failed(reason) if reason.contains("name stranger")),
        "{ended:?}"
    );
    assert!(actor.is_closed());
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_takes_no_room() {
    let mut settings = worker_settings();
    settings.message_bytes_max = 1_000;
    let worker = Worker::start(settings).unwrap();
    let (actor, ..) = probe(&worker, Settings::new("narrow", 1));
    let bytes = |count| actor.ask(LIMIT, move |reply| Message::Bytes(vec![7; count], reply));
    for _ in 0..3 {
        assert_eq!(within(bytes(900)).await, Ok(900));
        let refused = within(bytes(1_000)).await;
        assert!(
            matches!(
                refused,
                Err(AskError::Refused(Refusal::TooLarge { max: 1_000, .. }))
            ),
            "{refused:?}"
        );
        let long = actor.ask(LIMIT, |reply| Message::Long(1_000, reply));
        assert_eq!(within(long).await, Err(AskError::NoAnswer));
    }
    let message = Message::Bytes(vec![1; 1_000], unheard(&actor).await);
    let sent = actor.send(message).await;
    assert!(matches!(sent, Err(SendError::Refused(Message::Bytes(..), _))));
    assert_eq!(worker.starts(), 1);
}

/// A reply address that nobody waits at.
async fn unheard(actor: &pointsman_actor::ActorRef<Message>) -> pointsman_actor::ReplyTo<u32> {
    let mut taken = None;
    let _ = actor
        .ask(Duration::ZERO, |reply| {
            taken = Some(reply);
            Message::Note(0, 0)
        })
        .await;
    taken.unwrap()
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_no_answer_and_does_no_harm() {
    let worker = Worker::start(worker_settings()).unwrap();
    let (actor, ..) = probe(&worker, Settings::new("reader", 2));
    for number in 0..5 {
        let asked = actor.ask(LIMIT, |reply| Message::Picky(Picky, reply));
        assert_eq!(within(asked).await, Err(AskError::NoAnswer));
        assert_eq!(within(echo(&actor, number)).await, Ok(number));
    }
    assert_eq!(worker.starts(), 1);
}

#[tokio::test]
async fn stopping_a_worker_stops_its_actors_in_order() {
    let mut settings = worker_settings();
    settings.stop_within = Duration::from_millis(300);
    let worker = Worker::start(settings).unwrap();
    let (idle, idle_handle, _) = probe(&worker, Settings::new("idle", 8));
    let (busy, busy_handle, key) = probe(&worker, Settings::new("busy", 8));
    assert_eq!(echo(&idle, 1).await, Ok(1));
    stay(&busy, &key).await;
    let process_id = worker.process_id().unwrap();
    drop(worker);
    assert_eq!(within(idle_handle.join()).await, Ending::Stopped);
    assert_eq!(
        within(busy_handle.join()).await,
        Ending::Aborted,
        "at the deadline"
    );
    until("the process ends", || !runs(process_id)).await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_given_up_at_the_deadline() {
    let mut settings = worker_settings();
    settings.stop_within = Duration::from_millis(100);
    let worker = Worker::start(settings).unwrap();
    let (actor, handle, _) = probe(&worker, Settings::new("stuck", 8));
    assert_eq!(echo(&actor, 1).await, Ok(1));
    actor.send(Message::Block).await.unwrap();
    let asked = actor.ask(Duration::from_millis(30), |reply| Message::Echo(1, reply));
    assert_eq!(asked.await, Err(AskError::Deadline));
    let asking = tokio::spawn({
        let actor = actor.clone();
        async move { actor.ask(HOUR, |reply| Message::Echo(2, reply)).await }
    });
    tokio::task::yield_now().await;
    let stopped = handle.stop(Stop::Now(Duration::from_millis(30)));
    assert_eq!(within(stopped).await, Ok(Ending::Aborted));
    let asked = within(asking).await.unwrap();
    assert_eq!(
        asked,
        Err(AskError::NoAnswer),
        "nobody waits for one who is given up"
    );
    let process_id = worker.process_id().unwrap();
    within(worker.stop()).await;
    until("it is killed", || !runs(process_id)).await;
}

#[tokio::test]
async fn actors_of_one_worker_share_its_process() {
    let worker = Worker::start(worker_settings()).unwrap();
    let (one, _, one_key) = probe(&worker, Settings::new("one", 8));
    let (two, _, two_key) = probe(&worker, Settings::new("two", 8));
    assert_eq!(echo(&two, 1).await, Ok(1), "it has started");
    assert_eq!(lives_seen(&one, &two_key).await, (1, 0));
    assert_eq!(lives_seen(&two, &one_key).await, (1, 0));
    let (here, _, here_key) = probe(pointsman_actor::Task, Settings::new("here", 8));
    assert_eq!(lives_seen(&one, &here_key).await, (0, 0), "another process");
    assert_eq!(lives_seen(&here, &one_key).await, (0, 0));
}

/// Started by the next test; it starts a worker itself and says its number.
#[test]
fn middle() {
    if is_worker() || std::env::var_os("ACTOR_TEST_MIDDLE").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut settings = worker_settings();
        settings.stop_within = Duration::from_millis(50);
        let worker = Worker::start(settings).unwrap();
        let (actor, ..) = probe(&worker, Settings::new("orphan", 8));
        stay(&actor, &key()).await;
        // What the worker prints may be in this line before.
        eprintln!("\nworker {}", worker.process_id().unwrap());
        std::future::pending::<()>().await;
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_worker_ends_with_its_parent_however_that_ends() {
    let middle = Command::new(std::env::current_exe().unwrap())
        .args(["processes::middle", "--exact", "--nocapture", "--test-threads=1"])
        .env("ACTOR_TEST_MIDDLE", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut middle = Killed(middle);
    let said = BufReader::new(middle.0.stderr.take().unwrap());
    let worker: u32 = said
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("worker ")?.parse().ok())
        .unwrap();
    assert!(runs(worker));
    kill(middle.0.id());
    until("the worker ends", || !runs(worker)).await;
}
