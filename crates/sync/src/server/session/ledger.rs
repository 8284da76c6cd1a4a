//! What this replica remembers of sessions, by their tokens: who they are, and how their calls ended. So a call that is
//! sent again after a cut is answered from here and not run twice. Other replicas ask for it (`elsewhere`); a crash
//! forgets it: then a call may run a second time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::hex;
use crate::server::authentication::Identity;
use crate::server::hub::lock;
use crate::server::units::Fault;

/// Answers of one session that are kept.
const ANSWERS_MAX: usize = 256;
/// Bytes of them; of a larger one it is kept that there was one.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all answers of all sessions; beyond, one session keeps little.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const SCARCE_BYTES_MAX: usize = 4 * 1024;
/// A session whose socket has gone is remembered for so long.
const KEPT_WITHIN: Duration = Duration::from_secs(300);
/// Sessions without a socket that are remembered.
const LEFT_MAX: usize = 20_000;

/// Outcome of a call.
pub(in crate::server) type Outcome = Result<Value, Fault>;

/// A token is not kept, only what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::server) struct Key([u8; 16]);

impl Key {
    pub(in crate::server) fn of(token: &str) -> Self {
        let digest = Sha256::digest(token.as_bytes());
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        Self(key)
    }

    pub(super) fn hex(self) -> String {
        hex::encode(&self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        Some(Self(hex::decode(text)?.try_into().ok()?))
    }

    /// Name of the writer in documents, which everybody may read; so it must not tell the token.
    pub(in crate::server) fn writer(self) -> String {
        self.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Debug, Default)]
pub(in crate::server) struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    sessions: HashMap<Key, Entry>,
    /// Sessions in the order in which they lost their last socket; those that came back are passed over.
    left: VecDeque<(Instant, Key)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entry {
    sockets: usize,
    left_at: Option<Instant>,
    identity: Option<Arc<Identity>>,
    /// Somebody has its token on purpose.
    kept: bool,
    calls: BTreeMap<i64, Record>,
    bytes: usize,
    /// Calls up to this one were answered, and their answers forgotten.
    forgotten: i64,
}

#[derive(Debug)]
enum State {
    /// Ends with the sender.
    Running(watch::Receiver<()>),
    Done(Outcome),
    /// The answer was too large to keep.
    Large,
}

#[derive(Debug)]
struct Record {
    fingerprint: u64,
    bytes: usize,
    state: State,
    /// Whether another replica knows it is being asked; it does not run yet.
    asked: bool,
}

/// What to do with a call.
#[derive(Debug)]
pub(in crate::server) enum Begun {
    /// It is new: run it, and give its outcome.
    Run(Permit),
    /// It runs already: look again when this has ended.
    Wait(watch::Receiver<()>),
    /// It was answered so.
    Answer(Outcome),
}

/// What is known of a call.
#[derive(Debug)]
pub(super) enum Recalled {
    Unknown,
    Running(watch::Receiver<()>),
    /// Does not run yet; whoever asks with a larger replica waits for this one.
    Asked(watch::Receiver<()>),
    Done(Outcome),
}

/// A call that runs. Dropped without an outcome, it was never begun.
#[derive(Debug)]
pub(in crate::server) struct Permit {
    ledger: Arc<Ledger>,
    key: Key,
    id: i64,
    given: bool,
    /// Wakes whoever waits, by its end.
    _running: watch::Sender<()>,
}

impl Permit {
    /// Keeps the outcome.
    pub(in crate::server) fn done(mut self, outcome: &Outcome) {
        self.given = true;
        self.ledger.finish(self.key, self.id, outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.given {
            let mut entries = lock(&self.ledger.entries);
            if let Some(entry) = entries.sessions.get_mut(&self.key) {
                entry.calls.remove(&self.id);
            }
        }
    }
}

/// What an answer takes beside its own bytes.
const RECORD_BYTES: usize = 128;

fn size(outcome: &Outcome) -> usize {
    let bytes = match outcome {
        Ok(value) => value.to_string().len(),
        Err(fault) => fault.message.len(),
    };
    bytes.saturating_add(RECORD_BYTES)
}

impl Ledger {
    /// A socket of a session is there. Gives who the session is, and its highest call.
    pub(in crate::server) fn attach(&self, key: Key) -> (Option<Arc<Identity>>, i64) {
        let mut entries = lock(&self.entries);
        entries.sweep();
        let entry = entries.sessions.entry(key).or_default();
        entry.sockets += 1;
        entry.left_at = None;
        let identity = entry.identity.clone().filter(|identity| !identity.is_over());
        let last = entry.calls.keys().next_back().copied();
        (identity, last.unwrap_or(entry.forgotten))
    }

    /// A socket has gone.
    pub(in crate::server) fn detach(&self, key: Key) {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.sessions.get_mut(&key) else {
            return;
        };
        entry.sockets = entry.sockets.saturating_sub(1);
        let empty = entry.identity.is_none() && !entry.kept && entry.calls.is_empty() && entry.forgotten == 0;
        if entry.sockets == 0 && empty {
            // One of many that came and went, such as a request over HTTP.
            entries.sessions.remove(&key);
        } else if entry.sockets == 0 {
            entry.left_at = Some(now);
            entries.left.push_back((now, key));
        }
        entries.sweep();
    }

    /// True when this replica remembers the session.
    pub(in crate::server) fn knows(&self, key: Key) -> bool {
        lock(&self.entries).sessions.contains_key(&key)
    }

    /// Remembers a session that has done nothing yet.
    pub(in crate::server) fn keep(&self, key: Key) {
        lock(&self.entries).sessions.entry(key).or_default().kept = true;
    }

    pub(in crate::server) fn identify(&self, key: Key, identity: Arc<Identity>) {
        let mut entries = lock(&self.entries);
        entries.sessions.entry(key).or_default().identity = Some(identity);
    }

    /// Asks what to do with a call. `fingerprint` tells method and arguments.
    pub(in crate::server) fn begin(self: &Arc<Self>, key: Key, id: i64, fingerprint: u64) -> Begun {
        let mut entries = lock(&self.entries);
        let entry = entries.sessions.entry(key).or_default();
        if let Some(record) = entry.calls.get(&id) {
            if record.fingerprint != fingerprint {
                let text = "id: another call had it; a session counts on from `lastCall` of its greeting";
                return Begun::Answer(Err(Fault::new(409, text)));
            }
            return match &record.state {
                State::Running(running) => Begun::Wait(running.clone()),
                State::Done(outcome) => Begun::Answer(outcome.clone()),
                State::Large => Begun::Answer(Err(forgotten())),
            };
        }
        if id <= entry.forgotten {
            return Begun::Answer(Err(forgotten()));
        }
        let (running, wait) = watch::channel(());
        let record = Record {
            fingerprint,
            bytes: 0,
            state: State::Running(wait),
            asked: false,
        };
        entry.calls.insert(id, record);
        Begun::Run(Permit {
            ledger: Arc::clone(self),
            key,
            id,
            given: false,
            _running: running,
        })
    }

    /// Says whether others are being asked for a call that is about to run.
    pub(super) fn set_asked(&self, key: Key, id: i64, asked: bool) {
        let mut entries = lock(&self.entries);
        let entry = entries.sessions.get_mut(&key);
        if let Some(record) = entry.and_then(|entry| entry.calls.get_mut(&id)) {
            record.asked = asked;
        }
    }

    /// What is known of a call here.
    pub(super) fn recall(&self, key: Key, id: i64) -> Recalled {
        let entries = lock(&self.entries);
        let Some(entry) = entries.sessions.get(&key) else {
            return Recalled::Unknown;
        };
        let record = entry.calls.get(&id);
        match record.map(|record| &record.state) {
            Some(State::Running(running)) if record.is_some_and(|record| record.asked) => {
                Recalled::Asked(running.clone())
            }
            Some(State::Running(running)) => Recalled::Running(running.clone()),
            Some(State::Done(outcome)) => Recalled::Done(outcome.clone()),
            Some(State::Large) => Recalled::Done(Err(forgotten())),
            None if id <= entry.forgotten => Recalled::Done(Err(forgotten())),
            None => Recalled::Unknown,
        }
    }

    fn finish(&self, key: Key, id: i64, outcome: &Outcome) {
        let bytes = size(outcome);
        let (bytes, state) = if bytes > ANSWER_BYTES_MAX {
            (RECORD_BYTES, State::Large)
        } else {
            (bytes, State::Done(outcome.clone()))
        };
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.sessions.get_mut(&key) else {
            return;
        };
        let Some(record) = entry.calls.get_mut(&id) else {
            return;
        };
        record.state = state;
        record.bytes = bytes;
        entry.bytes += bytes;
        entries.bytes = entries.bytes.saturating_add(bytes);
        entries.sweep();
        let most = if entries.bytes > BYTES_MAX {
            SCARCE_BYTES_MAX
        } else {
            ANSWER_BYTES_MAX
        };
        if let Some(entry) = entries.sessions.get_mut(&key) {
            let freed = entry.shrink(most);
            entries.bytes = entries.bytes.saturating_sub(freed);
        }
    }
}

fn forgotten() -> Fault {
    Fault::new(
        410,
        "the call was answered before, and its answer is no longer kept",
    )
}

impl Entry {
    /// Forgets the oldest answers beyond the bounds; a call that runs is kept, whatever its age. Gives the bytes freed.
    fn shrink(&mut self, bytes_max: usize) -> usize {
        let before = self.bytes;
        while self.calls.len() > ANSWERS_MAX || self.bytes > bytes_max {
            let done = |(_, record): &(&i64, &Record)| !matches!(record.state, State::Running(_));
            let Some((id, bytes)) = self
                .calls
                .iter()
                .find(done)
                .map(|(id, record)| (*id, record.bytes))
            else {
                break;
            };
            self.calls.remove(&id);
            self.bytes = self.bytes.saturating_sub(bytes);
            self.forgotten = self.forgotten.max(id);
        }
        before.saturating_sub(self.bytes)
    }
}

impl Entries {
    /// Forgets sessions that were left long ago, or that are too many.
    fn sweep(&mut self) {
        let now = Instant::now();
        while let Some((left_at, key)) = self.left.front().copied() {
            let over = self.left.len() > LEFT_MAX || self.bytes > BYTES_MAX;
            if !over && now.duration_since(left_at) < KEPT_WITHIN {
                return;
            }
            self.left.pop_front();
            // It may have come back, and left again later.
            let still = self
                .sessions
                .get(&key)
                .is_some_and(|entry| entry.left_at == Some(left_at));
            if still && let Some(entry) = self.sessions.remove(&key) {
                self.bytes = self.bytes.saturating_sub(entry.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(ledger: &Arc<Ledger>, key: Key, id: i64) -> Permit {
        match ledger.begin(key, id, 0) {
            Begun::Run(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn status(begun: Begun) -> u16 {
        match begun {
            Begun::Answer(Err(fault)) => fault.status,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_call_runs_once_and_is_answered_as_often_as_it_is_sent() {
        let (ledger, key) = (Arc::<Ledger>::default(), Key::of("a"));
        ledger.attach(key);
        let permit = run(&ledger, key, 1);
        let Begun::Wait(mut running) = ledger.begin(key, 1, 0) else {
            panic!("it runs");
        };
        permit.done(&Ok(json!(7)));
        assert!(running.changed().await.is_err(), "it has ended");
        for _ in 0..2 {
            match ledger.begin(key, 1, 0) {
                Begun::Answer(outcome) => assert_eq!(outcome, Ok(json!(7))),
                other => panic!("{other:?}"),
            }
        }
        // Another session, another call.
        drop(run(&ledger, Key::of("b"), 1));
        assert_eq!(status(ledger.begin(key, 1, 9)), 409);
        assert_eq!(ledger.attach(key).1, 1);
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_may_run_again() {
        let (ledger, key) = (Arc::<Ledger>::default(), Key::of("a"));
        drop(run(&ledger, key, 1));
        drop(run(&ledger, key, 1));
    }

    #[tokio::test]
    async fn what_is_forgotten_is_refused_and_not_run_twice() {
        let (ledger, key) = (Arc::<Ledger>::default(), Key::of("a"));
        ledger.attach(key);
        for id in 1..=300 {
            run(&ledger, key, id).done(&Ok(json!(id)));
        }
        assert_eq!(status(ledger.begin(key, 44, 0)), 410);
        assert!(matches!(ledger.begin(key, 45, 0), Begun::Answer(Ok(_))));
        let large = "x".repeat(ANSWER_BYTES_MAX + 1);
        run(&ledger, key, 301).done(&Ok(json!(large)));
        assert_eq!(status(ledger.begin(key, 301, 0)), 410);
        let half = "x".repeat(ANSWER_BYTES_MAX / 2 + 1);
        for id in [302, 303] {
            run(&ledger, key, id).done(&Ok(json!(half)));
        }
        assert_eq!(status(ledger.begin(key, 302, 0)), 410);
        assert!(lock(&ledger.entries).bytes <= ANSWER_BYTES_MAX);
    }

    #[tokio::test]
    async fn all_sessions_together_keep_a_bounded_number_of_bytes() {
        let ledger = Arc::<Ledger>::default();
        let answer = "x".repeat(ANSWER_BYTES_MAX - 2 - RECORD_BYTES);
        let sessions = BYTES_MAX / ANSWER_BYTES_MAX + 10;
        for number in 0..sessions {
            let key = Key::of(&number.to_string());
            ledger.attach(key);
            run(&ledger, key, 1).done(&Ok(json!(answer)));
        }
        assert!(lock(&ledger.entries).bytes <= BYTES_MAX);
        assert_eq!(
            status(ledger.begin(Key::of(&(sessions - 1).to_string()), 1, 0)),
            410
        );
        // What is small is kept all the same.
        let key = Key::of("small");
        ledger.attach(key);
        run(&ledger, key, 1).done(&Ok(json!(1)));
        assert!(matches!(ledger.begin(key, 1, 0), Begun::Answer(Ok(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_remembered_for_a_while() {
        let (ledger, key) = (Arc::<Ledger>::default(), Key::of("a"));
        ledger.attach(key);
        run(&ledger, key, 1).done(&Ok(json!(1)));
        ledger.detach(key);
        tokio::time::advance(KEPT_WITHIN / 2).await;
        assert_eq!(ledger.attach(key).1, 1);
        ledger.detach(key);
        tokio::time::advance(KEPT_WITHIN).await;
        assert_eq!(ledger.attach(key).1, 0);
        assert!(!ledger.knows(Key::of("b")));
        assert_eq!(lock(&ledger.entries).bytes, 0);
    }
}
