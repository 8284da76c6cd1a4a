//! What it costs a server to tell a change to everybody: CPU time of its process for each delivery.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Plan;
use crate::crowd::{self, Board, Member, WITHIN};
use crate::server::{Server, Subject, cpu};

const PACE: Duration = Duration::from_millis(50);
/// Changes that are on their way at once in a burst.
const BURST: u64 = 200;

/// Numbers of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cpu_us_per_delivery: f64,
    pub deliveries_per_second: f64,
    pub bytes_per_delivery: f64,
    pub deliveries_per_message: f64,
    /// Of the load generator, in cores: near 1 it was the limit.
    pub generator_cores: f64,
}

struct Room {
    server: Server,
    writer: Member,
    board: Arc<Board>,
    sent: u64,
    acknowledged: u64,
    _followers: JoinSet<()>,
}

impl Room {
    async fn open(subject: Subject, subscribers: usize) -> Result<Self> {
        let server = Server::start(subject).await?;
        let members = crowd::connect(&server, subscribers + 1).await?;
        let mut members = crowd::join(members).await?;
        let writer = members.pop().context("a writer")?;
        let board = Board::new(subscribers);
        let mut followers = JoinSet::new();
        for member in members {
            followers.spawn(crowd::follow(member, Arc::clone(&board)));
        }
        Ok(Self {
            server,
            writer,
            board,
            sent: 0,
            acknowledged: 0,
            _followers: followers,
        })
    }

    async fn send(&mut self, count: u64) -> Result<()> {
        let changes = (0..count).map(|_| self.writer.dialect.change());
        let changes = changes.collect::<Result<Vec<_>>>()?;
        self.sent += count;
        self.writer.send(changes).await
    }

    fn hear(&mut self, heard: Result<(crate::dialect::Heard, usize)>) -> Result<()> {
        self.acknowledged += u64::from(heard?.0.acknowledged);
        Ok(())
    }

    /// Until everybody has all that was sent, and the server says so too when it does.
    async fn wait(&mut self) -> Result<()> {
        let board = Arc::clone(&self.board);
        let all = async {
            loop {
                let acknowledged = !self.writer.dialect.acknowledges() || self.acknowledged >= self.sent;
                if board.are_all_there()? && acknowledged {
                    return Ok(());
                }
                tokio::select! {
                    () = board.all_there.notified() => {}
                    heard = self.writer.next() => self.hear(heard)?,
                }
            }
        };
        tokio::time::timeout(WITHIN, all)
            .await
            .context("changes that reach everybody")?
    }

    async fn burst(&mut self) -> Result<()> {
        self.board.wait_for(self.sent + BURST);
        self.send(BURST).await?;
        self.wait().await
    }

    async fn paced(&mut self, count: u64) -> Result<()> {
        self.board.wait_for(self.sent + count);
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = count;
        while left > 0 {
            tokio::select! {
                _ = ticks.tick() => {
                    self.send(1).await?;
                    left -= 1;
                }
                heard = self.writer.next() => self.hear(heard)?,
            }
        }
        self.wait().await
    }

    fn reading(&self) -> Result<Reading> {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        Ok(Reading {
            at: Instant::now(),
            server: self.server.cpu()?.as_secs_f64(),
            generator: cpu("self")?.as_secs_f64(),
            deliveries: of(&self.board.deliveries),
            messages: of(&self.board.messages),
            bytes: of(&self.board.bytes),
        })
    }
}

struct Reading {
    at: Instant,
    server: f64,
    generator: f64,
    deliveries: f64,
    messages: f64,
    bytes: f64,
}

impl Reading {
    fn cost_until(&self, end: &Self) -> Cost {
        let deliveries = end.deliveries - self.deliveries;
        let seconds = end.at.duration_since(self.at).as_secs_f64();
        Cost {
            cpu_us_per_delivery: (end.server - self.server) * 1e6 / deliveries,
            deliveries_per_second: deliveries / seconds,
            bytes_per_delivery: (end.bytes - self.bytes) / deliveries,
            deliveries_per_message: deliveries / (end.messages - self.messages),
            generator_cores: (end.generator - self.generator) / seconds,
        }
    }
}

/// One change every 50 ms, then 200 at a time as soon as everybody has the 200 before.
pub async fn measure(subject: Subject, plan: &Plan) -> Result<[Cost; 2]> {
    let mut room = Room::open(subject, plan.subscribers).await?;
    // Node compiles what it has seen often.
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_secs(1) {
        room.burst().await?;
    }
    let start = room.reading()?;
    let paces = plan.seconds * 1_000 / u64::try_from(PACE.as_millis())?;
    room.paced(paces).await?;
    let paced = start.cost_until(&room.reading()?);
    let start = room.reading()?;
    while start.at.elapsed() < Duration::from_secs(plan.seconds) {
        room.burst().await?;
    }
    let burst = start.cost_until(&room.reading()?);
    room.server.stop().await?;
    Ok([paced, burst])
}
