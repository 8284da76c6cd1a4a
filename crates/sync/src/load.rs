//! Many live clients, and an account of what happens to them.
//!
//! The clients are quiet: none leaves by itself. Each writes to the counter of its room and knows which of its writes
//! were acknowledged, so that a lost one is seen.

mod account;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use account::Account;
pub use report::{Report, Spread};

use crate::client::{self, CallError, Client, Observed};

/// Clients that share a room.
const CLIENTS_PER_ROOM: usize = 10;
/// A client that does not answer a read in time leaves it to the next one of its room.
const READ_WITHIN: Duration = Duration::from_secs(3);
const ROOMS_READ_AT_ONCE: usize = 32;

/// What load to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// How each client connects.
    pub client: client::Options,
    /// How many clients.
    pub clients: usize,
    /// Time between two writes of one client; no writes when zero.
    pub write_interval: Duration,
    /// Time between the starts of two clients, so that they do not arrive all at once.
    pub start_interval: Duration,
    /// An acknowledged write that is not read back after this long is lost.
    pub seen_within: Duration,
}

/// Clients that run.
pub struct Load {
    account: Arc<Mutex<Account>>,
    changed: Arc<Notify>,
    seen_within: Duration,
    clients: Vec<Arc<Client>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts all clients; [`Load::connected`] waits for them.
    pub async fn start(options: Options) -> Self {
        let account = Arc::new(Mutex::new(Account::new(options.clients, Instant::now())));
        let changed = Arc::new(Notify::new());
        let (mut clients, mut tasks) = (Vec::new(), Vec::new());
        for index in 0..options.clients {
            let (client, observed) = Client::start(options.client.clone());
            let client = Arc::new(client);
            tasks.push(tokio::spawn(watch(
                index,
                observed,
                Arc::clone(&account),
                Arc::clone(&changed),
            )));
            if !options.write_interval.is_zero() {
                let writer = write(
                    index,
                    Arc::clone(&client),
                    Arc::clone(&account),
                    options.write_interval,
                );
                tasks.push(tokio::spawn(writer));
            }
            clients.push(client);
            tokio::time::sleep(options.start_interval).await;
        }
        Self {
            account,
            changed,
            seen_within: options.seen_within,
            clients,
            tasks,
        }
    }

    /// Waits until every client has a socket. False when they have not within that time.
    pub async fn connected(&self, within: Duration) -> bool {
        let all = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if lock(&self.account).connected() == self.clients.len() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(within, all).await.is_ok()
    }

    /// Where the clients are now.
    #[must_use]
    pub fn snapshot(&self) -> Value {
        lock(&self.account).snapshot()
    }

    /// Ends the phase that runs and begins another.
    pub async fn phase(&self, next: &str) -> Report {
        let lost = self.lost().await;
        lock(&self.account).phase(next, lost, Instant::now())
    }

    /// Revisions that each client was on in the phase that runs, with the milliseconds since its begin.
    #[must_use]
    pub fn history(&self) -> Value {
        lock(&self.account).history()
    }

    /// Acknowledged writes that cannot be read back, at the replica of some client of the room.
    async fn lost(&self) -> u64 {
        let end = Instant::now() + self.seen_within;
        let acknowledged = lock(&self.account).acknowledged();
        loop {
            let rooms = acknowledged
                .iter()
                .map(|(room, writers)| self.lost_in(*room, writers));
            let lost: Vec<u64> = futures::stream::iter(rooms)
                .buffer_unordered(ROOMS_READ_AT_ONCE)
                .collect()
                .await;
            let lost = lost.into_iter().fold(0, u64::saturating_add);
            if lost == 0 || Instant::now() >= end {
                return lost;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn lost_in(&self, room: usize, writers: &[(String, u64)]) -> u64 {
        let held = self.read(room).await;
        writers.iter().fold(0, |lost: u64, (writer, count)| {
            let seen = held.get(writer).copied().unwrap_or(0);
            lost.saturating_add(count.saturating_sub(seen))
        })
    }

    /// Each writer's total in a room; empty when no client could read it.
    async fn read(&self, room: usize) -> BTreeMap<String, u64> {
        let asked = json!({"room": room_name(room), "entries": true});
        let clients = self.clients.iter().skip(room * CLIENTS_PER_ROOM);
        for client in clients.take(CLIENTS_PER_ROOM) {
            let answer = tokio::time::timeout(READ_WITHIN, client.call("counter/get", &asked)).await;
            if let Ok(Ok(answer)) = answer
                && let Some(entries) = answer.get("entries")
                && let Ok(entries) = serde_json::from_value(entries.clone())
            {
                return entries;
            }
        }
        BTreeMap::new()
    }

    /// Ends all clients and returns the last report.
    pub async fn stop(self) -> Report {
        let report = self.phase("end").await;
        for task in &self.tasks {
            task.abort();
        }
        report
    }
}

fn room_of(index: usize) -> usize {
    index / CLIENTS_PER_ROOM
}

fn room_name(room: usize) -> String {
    format!("load-{room}")
}

async fn watch(
    index: usize,
    mut observed: mpsc::Receiver<Observed>,
    account: Arc<Mutex<Account>>,
    changed: Arc<Notify>,
) {
    while let Some(observed) = observed.recv().await {
        let now = Instant::now();
        let mut account = lock(&account);
        match observed {
            Observed::Connected { greeting, .. } => {
                account.connected_to(index, room_of(index), &greeting.revision, &greeting.writer, now);
            }
            Observed::Disconnected { moved } => account.disconnected(index, moved, now),
            Observed::Failed(error) => account.failed(&error.kind()),
            Observed::Event { .. } => continue,
        }
        drop(account);
        changed.notify_waiters();
    }
}

async fn write(index: usize, client: Arc<Client>, account: Arc<Mutex<Account>>, every: Duration) {
    // Spread over the interval by place, so that the load is even and the same in every run.
    let part = u32::try_from(index % 97).unwrap_or(0);
    tokio::time::sleep(every.saturating_mul(part) / 97).await;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let room = room_name(room_of(index));
    let mut count = 0_u64;
    loop {
        ticks.tick().await;
        lock(&account).sent();
        let written = client
            .call("counter/set", &json!({"room": room, "count": count + 1}))
            .await;
        let mut account = lock(&account);
        match written {
            Ok(_) => {
                count += 1;
                account.acknowledge(index, count);
            }
            Err(CallError::Refused { .. }) => account.refused(),
            Err(CallError::Timeout | CallError::Full) => account.unanswered(),
            Err(CallError::Ended) => return,
        }
    }
}

/// What is behind the lock is whole between statements, so a poisoned lock is still usable.
fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}
