//! The actor that every test asks.

use std::collections::HashMap;
use std::future::Future;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman_actor::{
    Actor, ActorRef, Context, Factory, Failure, Handle, Kind, Place, ReplyTo, Settings, Task, Timer,
    TimerError, spawn,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Only a broken build takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it ends within the limit")
}

/// A place for probes that can be named twice.
pub trait Anywhere: Place<Probe> + Copy {}

impl<P: Place<Probe> + Copy> Anywhere for P {}

#[derive(Serialize, Deserialize, Debug)]
pub enum Message {
    /// Notes it.
    Note(u32, u32),
    /// Notes it, lets others run, and notes it again.
    Twice(u32),
    /// What was noted.
    Noted(ReplyTo<Vec<(u32, u32)>>),
    /// Says that it is here and stays until it is let go.
    Stay(String, ReplyTo<()>),
    LetGo(String),
    Echo(u32, ReplyTo<u32>),
    /// Drops the reply address.
    Ignore(ReplyTo<u32>),
    Keep(ReplyTo<u32>),
    AnswerKept(u32),
    /// Has a child answer.
    Forward(u32, ReplyTo<u32>),
    Fail,
    Panic,
    /// How often a probe of that key was made and was stopped in this process.
    Lives(String, ReplyTo<(u64, u64)>),
    Later(Duration, u32),
    /// Cancels what it was to note last.
    CancelLast(ReplyTo<Option<u32>>),
    /// Fills its timers; how many there were room for.
    FillTimers(ReplyTo<u32>),
    /// Spawns a child with that key, and says when it has been made.
    Child(String, ReplyTo<()>),
    Stop,
    Picky(Picky, ReplyTo<u32>),
    Bytes(Vec<u8>, ReplyTo<u32>),
    /// Holds its thread for ever.
    Block,
    /// Appends a line to a file, which outlives the process.
    Write(String, u32, u32),
    /// Answers with so many bytes.
    Long(u32, ReplyTo<Vec<u8>>),
}

/// Can be written and not be read.
#[derive(Serialize, Debug)]
pub struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("never"))
    }
}

#[derive(Serialize, Deserialize, Clone, Default)]
pub struct Probe {
    pub key: String,
    pub fails_to_start: u64,
}

impl Factory for Probe {
    type Actor = Prober;

    fn make(&self) -> Prober {
        let made = lives(&self.key).0.fetch_add(1, Ordering::SeqCst);
        Prober {
            probe: self.clone(),
            fails: made < self.fails_to_start,
            noted: Vec::new(),
            kept: None,
            timer: None,
        }
    }
}

impl Kind for Probe {
    const NAME: &'static str = "probe";
}

pub struct Prober {
    probe: Probe,
    fails: bool,
    noted: Vec<(u32, u32)>,
    kept: Option<ReplyTo<u32>>,
    timer: Option<Timer>,
}

type Lives = Arc<(AtomicU64, AtomicU64)>;

/// State of this process, by key: tests of one program run beside each other.
static LIVES: Mutex<Option<HashMap<String, Lives>>> = Mutex::new(None);
static DOORS: Mutex<Option<HashMap<String, Arc<Semaphore>>>> = Mutex::new(None);

fn lives(key: &str) -> Lives {
    let mut lives = LIVES.lock().unwrap();
    Arc::clone(lives.get_or_insert_default().entry(key.to_owned()).or_default())
}

fn door(key: &str) -> Arc<Semaphore> {
    let mut doors = DOORS.lock().unwrap();
    let door = doors.get_or_insert_default().entry(key.to_owned());
    Arc::clone(door.or_insert_with(|| Arc::new(Semaphore::new(0))))
}

impl Actor for Prober {
    type Message = Message;

    async fn started(&mut self, _: &mut Context<Message>) -> Result<(), Failure> {
        if self.fails {
            return Err(Failure::new("as it was told"));
        }
        Ok(())
    }

    async fn handle(&mut self, message: Message, context: &mut Context<Message>) -> Result<(), Failure> {
        match message {
            Message::Note(one, two) => self.noted.push((one, two)),
            Message::Twice(number) => {
                self.noted.push((number, 0));
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.noted.push((number, 1));
            }
            Message::Noted(reply) => reply.answer(self.noted.clone())?,
            Message::Stay(key, reply) => {
                reply.answer(())?;
                door(&key).acquire().await?.forget();
            }
            Message::LetGo(key) => door(&key).add_permits(1),
            Message::Echo(number, reply) => drop(reply.answer(number)),
            Message::Ignore(reply) => drop(reply),
            Message::Keep(reply) => self.kept = Some(reply),
            Message::AnswerKept(number) => {
                let kept = self.kept.take().ok_or_else(|| Failure::new("nothing is kept"))?;
                kept.answer(number)?;
            }
            Message::Forward(number, reply) => {
                let settings = Settings::new("third", 1);
                let (third, _) = context.spawn(Task, settings, || Probe::default().make())?;
                third.send(Message::Echo(number, reply)).await?;
                // The child may be made, and the answer given, only while it has a parent.
                let _: u32 = third.ask(LIMIT, |reply| Message::Echo(0, reply)).await?;
            }
            Message::Fail => return Err(Failure::new("as it was told")),
            Message::Panic => panic!("as it was told"),
            Message::Lives(key, reply) => {
                let lives = lives(&key);
                let seen = (lives.0.load(Ordering::SeqCst), lives.1.load(Ordering::SeqCst));
                reply.answer(seen)?;
            }
            Message::Later(delay, number) => {
                self.timer = Some(context.send_after(delay, Message::Note(number, number))?);
            }
            Message::CancelLast(reply) => {
                let message = self.timer.take().and_then(|timer| context.cancel(timer));
                reply.answer(message.map(|message| match message {
                    Message::Note(number, _) => number,
                    other => panic!("{other:?}"),
                }))?;
            }
            Message::FillTimers(reply) => {
                let mut count = 0;
                let full = loop {
                    match context.send_after(Duration::from_secs(3_600), Message::Fail) {
                        Ok(_) => count += 1,
                        Err(error) => break error,
                    }
                };
                assert!(matches!(full, TimerError::TooMany(Message::Fail, _)), "{full}");
                reply.answer(count)?;
            }
            Message::Child(key, reply) => {
                let make = Probe {
                    key,
                    ..Probe::default()
                };
                let (child, _) = context.spawn(Task, Settings::new("child", 8), move || make.make())?;
                let _: u32 = child.ask(LIMIT, |reply| Message::Echo(0, reply)).await?;
                // Somebody refers to it, so it ends with its parent only.
                std::mem::forget(child);
                reply.answer(())?;
            }
            Message::Stop => context.stop(),
            Message::Picky(_, reply) => reply.answer(0)?,
            Message::Bytes(bytes, reply) => reply.answer(u32::try_from(bytes.len())?)?,
            Message::Block => loop {
                std::thread::park();
            },
            Message::Write(path, one, two) => {
                let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
                file.write_all(format!("{one} {two}\n").as_bytes())?;
            }
            Message::Long(count, reply) => drop(reply.answer(vec![0; count as usize])),
        }
        Ok(())
    }

    async fn stopped(&mut self) {
        lives(&self.probe.key).1.fetch_add(1, Ordering::SeqCst);
    }
}

/// A key that no other test has.
pub fn key() -> String {
    static KEY: AtomicU64 = AtomicU64::new(0);
    format!("key {}", KEY.fetch_add(1, Ordering::Relaxed))
}

/// A probe and its key.
pub fn probe<P: Anywhere>(place: P, settings: Settings) -> (ActorRef<Message>, Handle, String) {
    let key = key();
    let factory = Probe {
        key: key.clone(),
        ..Probe::default()
    };
    let (actor, handle) = spawn(place, settings, factory).unwrap();
    (actor, handle, key)
}

pub async fn noted(actor: &ActorRef<Message>) -> Vec<(u32, u32)> {
    actor.ask(LIMIT, Message::Noted).await.unwrap()
}

pub async fn echo(actor: &ActorRef<Message>, number: u32) -> Result<u32, pointsman_actor::AskError> {
    actor.ask(LIMIT, |reply| Message::Echo(number, reply)).await
}

/// The probe is in a handler until somebody lets it go.
pub async fn stay(actor: &ActorRef<Message>, door: &str) {
    actor
        .ask(LIMIT, |reply| Message::Stay(door.to_owned(), reply))
        .await
        .unwrap();
}

/// How often probes of that key were made and stopped, as another probe in the same process sees it.
pub async fn lives_seen(beside: &ActorRef<Message>, key: &str) -> (u64, u64) {
    beside
        .ask(LIMIT, |reply| Message::Lives(key.to_owned(), reply))
        .await
        .unwrap()
}
