//! Messages and asks per second at each place, beside peers. Prints one table, and writes `target/bench/actor.json` in the
//! shape of the other benches. `cargo bench -p pointsman-actor`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::future::Future;
use std::time::{Duration, Instant};

use pointsman_actor::{
    Actor, ActorRef, Context, Factory, Failure, Kind, Registry, ReplyTo, Settings, Task, ThreadPool, Worker,
    WorkerSettings, is_worker, serve, spawn,
};
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 7;
const MESSAGES: u64 = 200_000;
const ASKS: u64 = 20_000;
const ASKERS: u64 = 64;
const MAILBOX: usize = 1_024;
const DEADLINE: Duration = Duration::from_secs(10);

/// Something that sums up what it is sent.
trait Subject: Clone + Send + Sync + 'static {
    fn add(&self, number: u64) -> impl Future<Output = ()> + Send;
    /// Adds, and gives the sum.
    fn ask(&self, number: u64) -> impl Future<Output = u64> + Send;
}

#[derive(Serialize, Deserialize)]
enum Message {
    Add(u64),
    Ask(u64, ReplyTo<u64>),
}

#[derive(Serialize, Deserialize, Clone)]
struct Sums;

struct Sum(u64);

impl Factory for Sums {
    type Actor = Sum;

    fn make(&self) -> Sum {
        Sum(0)
    }
}

impl Kind for Sums {
    const NAME: &'static str = "sum";
}

impl Actor for Sum {
    type Message = Message;

    async fn handle(&mut self, message: Message, _: &mut Context<Message>) -> Result<(), Failure> {
        match message {
            Message::Add(number) => self.0 += number,
            Message::Ask(number, reply) => {
                self.0 += number;
                reply.answer(self.0)?;
            }
        }
        Ok(())
    }
}

impl Subject for ActorRef<Message> {
    async fn add(&self, number: u64) {
        self.send(Message::Add(number)).await.unwrap();
    }

    async fn ask(&self, number: u64) -> u64 {
        let asked = ActorRef::ask(self, DEADLINE, |reply| Message::Ask(number, reply));
        asked.await.unwrap()
    }
}

mod peers {
    //! The same actor in two other crates.

    use super::{DEADLINE, MAILBOX, Subject};

    pub struct KameoSum(u64);
    struct Add(u64);
    struct Ask(u64);

    impl kameo::Actor for KameoSum {
        type Args = ();
        type Error = kameo::error::Infallible;

        async fn on_start((): (), _: kameo::actor::ActorRef<Self>) -> Result<Self, Self::Error> {
            Ok(Self(0))
        }
    }

    impl kameo::message::Message<Add> for KameoSum {
        type Reply = ();

        async fn handle(&mut self, message: Add, _: &mut kameo::message::Context<Self, ()>) {
            self.0 += message.0;
        }
    }

    impl kameo::message::Message<Ask> for KameoSum {
        type Reply = u64;

        async fn handle(&mut self, message: Ask, _: &mut kameo::message::Context<Self, u64>) -> u64 {
            self.0 += message.0;
            self.0
        }
    }

    impl Subject for kameo::actor::ActorRef<KameoSum> {
        async fn add(&self, number: u64) {
            self.tell(Add(number)).await.unwrap();
        }

        async fn ask(&self, number: u64) -> u64 {
            let asked = kameo::actor::ActorRef::ask(self, Ask(number));
            asked.reply_timeout(DEADLINE).await.unwrap()
        }
    }

    pub fn kameo() -> kameo::actor::ActorRef<KameoSum> {
        use kameo::actor::Spawn as _;
        KameoSum::spawn_with_mailbox((), kameo::mailbox::bounded(MAILBOX))
    }

    pub struct RactorSum;

    pub enum RactorMessage {
        Add(u64),
        Ask(u64, ractor::RpcReplyPort<u64>),
    }

    impl ractor::Actor for RactorSum {
        type Msg = RactorMessage;
        type State = u64;
        type Arguments = ();

        async fn pre_start(
            &self,
            _: ractor::ActorRef<RactorMessage>,
            (): (),
        ) -> Result<u64, ractor::ActorProcessingErr> {
            Ok(0)
        }

        async fn handle(
            &self,
            _: ractor::ActorRef<RactorMessage>,
            message: RactorMessage,
            state: &mut u64,
        ) -> Result<(), ractor::ActorProcessingErr> {
            match message {
                RactorMessage::Add(number) => *state += number,
                RactorMessage::Ask(number, reply) => {
                    *state += number;
                    reply.send(*state)?;
                }
            }
            Ok(())
        }
    }

    impl Subject for ractor::ActorRef<RactorMessage> {
        async fn add(&self, number: u64) {
            self.send_message(RactorMessage::Add(number)).unwrap();
        }

        async fn ask(&self, number: u64) -> u64 {
            let asked = self.call(|reply| RactorMessage::Ask(number, reply), Some(DEADLINE));
            asked.await.unwrap().unwrap()
        }
    }

    pub async fn ractor() -> ractor::ActorRef<RactorMessage> {
        use ractor::Actor as _;
        RactorSum::spawn(None, RactorSum, ()).await.unwrap().0
    }
}

/// Per second: the median of the rounds.
fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rate(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// One round: messages, asks one after the other, asks of many at once; each per second.
async fn round(subject: &impl Subject) -> [f64; 3] {
    let mut sum = subject.ask(0).await;
    let start = Instant::now();
    for _ in 0..MESSAGES {
        subject.add(1).await;
    }
    sum += MESSAGES;
    assert_eq!(subject.ask(0).await, sum, "all have been handled");
    let messages = rate(MESSAGES, start);
    let start = Instant::now();
    for _ in 0..ASKS {
        sum += 1;
        assert_eq!(subject.ask(1).await, sum);
    }
    let asks = rate(ASKS, start);
    let start = Instant::now();
    let askers = (0..ASKERS).map(|_| {
        let subject = subject.clone();
        tokio::spawn(async move {
            for _ in 0..ASKS / ASKERS {
                subject.ask(1).await;
            }
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.unwrap();
    }
    [messages, asks, rate(ASKS / ASKERS * ASKERS, start)]
}

const SUBJECTS: [(&str, &str); 5] = [
    ("pointsman", "task"),
    ("kameo", "task"),
    ("ractor", "task"),
    ("pointsman", "thread"),
    ("pointsman", "process"),
];

/// The rounds of all take turns, so that what else the machine does meets them alike.
async fn measure_all() -> Vec<[f64; 3]> {
    let settings = || Settings::new("sum", MAILBOX);
    let (task, _) = spawn(Task, settings(), Sums).unwrap();
    let pool = ThreadPool::new("sums", 1).unwrap();
    let (thread, _) = spawn(&pool, settings(), Sums).unwrap();
    let worker = Worker::start(WorkerSettings::same_program().unwrap()).unwrap();
    let (process, _) = spawn(&worker, settings(), Sums).unwrap();
    let (kameo, ractor) = (peers::kameo(), peers::ractor().await);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            round(&task).await,
            round(&kameo).await,
            round(&ractor).await,
            round(&thread).await,
            round(&process).await,
        ]);
    }
    worker.stop().await;
    let of = |subject: usize, metric: usize| {
        let rates = rounds
            .iter()
            .filter_map(|round| round.get(subject)?.get(metric).copied());
        median(rates.collect())
    };
    (0..SUBJECTS.len())
        .map(|subject| [of(subject, 0), of(subject, 1), of(subject, 2)])
        .collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if is_worker() {
        return runtime.block_on(serve(&Registry::new().with::<Sums>())).unwrap();
    }
    // On a thread of the runtime, as programs do.
    let rows = runtime.block_on(async { tokio::spawn(measure_all()).await.unwrap() });
    let mut json = String::new();
    for ((subject, place), rates) in SUBJECTS.into_iter().zip(rows) {
        let what = ["messages", "asks, one at a time", "asks, 64 at a time"];
        for (what, rate) in what.iter().zip(rates) {
            let metric = format!("{place}: {what}");
            println!("{subject:<10} {metric:<32} {rate:>12.0} 1/s");
            let comma = if json.is_empty() { "" } else { ",\n" };
            write!(
                json,
                "{comma}{{\"bench\":\"actor\",\"subject\":\"{subject}\",\"metric\":\"{metric}\",\"value\":{rate:.0},\"unit\":\"1/s\",\"better\":\"higher\"}}"
            )
            .unwrap();
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("actor.json"), format!("[{json}]\n")).unwrap();
}
