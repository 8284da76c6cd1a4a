//! The other replicas: found, dialled, and heard; who is a member; and the connections that carry documents.
//!
//! Two replicas have one connection. Either may dial; of two at once the one that the smaller process dialled stays. The
//! replica that is dialled takes note of the other before it answers, and the one that dials when it is answered, so both
//! know each other before anything else is said.

mod discovery;
mod hello;
mod link;
mod talk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use pointsman_crdt::Replica;
use pointsman_replication::members::{Entry, Hello, Members, Patience, Twice};
use pointsman_replication::{Message, View};
use pointsman_wire::Packet;
use tokio::sync::{Notify, oneshot, watch};

use super::hub::lock;
use super::units::Events;
pub(super) use discovery::run;
pub(super) use link::accept;
use link::{Link, Waits};

/// Subprotocol between replicas.
const PROTOCOL: &str = "pointsman.peer.v1";
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// How long a member that vanished holds up writes that it should hold.
const ABSENT_MS: u64 = 10_000;
/// After so long it is gone for good.
const GONE_MS: u64 = 600_000;
/// Answers of a member take no longer.
const CALL_WITHIN: Duration = Duration::from_secs(5);
const CLAIM: &str = "member/claim";

/// Whom a replica sees, and over which connection: one value, so that both change at once.
#[derive(Clone, Debug)]
pub(super) struct Around {
    pub(super) view: View,
    /// Number of the connection to each member.
    pub(super) links: Arc<BTreeMap<Replica, u64>>,
}

/// Why a member did not answer a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It is not connected. Another member may be.
    #[error("the member is not connected")]
    NotConnected,
    /// No answer in time.
    #[error("the member does not answer in time")]
    Timeout,
    /// It refuses.
    #[error("the member answers {status}")]
    Refused {
        /// Like HTTP's.
        status: u64,
    },
}

/// Answers calls of other members: method and payload in, status and payload out.
pub type Handler = Box<dyn Fn(Replica, String, Bytes) -> BoxFuture<'static, (u64, Bytes)> + Send + Sync>;

/// The other replicas.
pub struct Peers {
    process: u64,
    state: Mutex<State>,
    around: watch::Sender<Option<Around>>,
    links_made: AtomicU64,
    handler: OnceLock<Handler>,
    /// What replicas tell each other beside documents.
    events: Events,
    /// Shared by all members; signs tokens.
    key: OnceLock<[u8; 32]>,
    /// Members or connections have changed.
    changed: Notify,
    /// Another process has our replica; this one has to end.
    pub(super) twice: Notify,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Peers")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    members: Members,
    links: BTreeMap<u64, Arc<Link>>,
}

impl Peers {
    pub(super) fn new(process: u64, events: Events) -> Arc<Self> {
        let patience = Patience {
            absent_ms: ABSENT_MS,
            gone_ms: GONE_MS,
        };
        let state = State {
            members: Members::new(process, patience),
            links: BTreeMap::new(),
        };
        Arc::new(Self {
            process,
            state: Mutex::new(state),
            around: watch::Sender::new(None),
            links_made: AtomicU64::new(1),
            handler: OnceLock::new(),
            events,
            key: OnceLock::new(),
            changed: Notify::new(),
            twice: Notify::new(),
        })
    }

    /// Whom this replica sees, once it is a member.
    pub(super) fn around(&self) -> watch::Receiver<Option<Around>> {
        self.around.subscribe()
    }

    /// This replica, once it is a member.
    #[must_use]
    pub fn me(&self) -> Option<Replica> {
        lock(&self.state).members.me()
    }

    /// Waits until this replica is a member.
    pub(super) async fn is_member(&self) {
        // An error says that everything ends.
        let _ = self.around.subscribe().wait_for(Option::is_some).await;
    }

    /// Other members that are connected.
    #[must_use]
    pub fn members(&self) -> Vec<Replica> {
        let around = self.around.borrow();
        around
            .as_ref()
            .map_or_else(Vec::new, |around| around.links.keys().copied().collect())
    }

    /// The key that all members share.
    pub(super) fn key(&self) -> Option<[u8; 32]> {
        self.key.get().copied()
    }

    /// Answers calls of other members by this.
    pub fn set_handler(&self, handler: Handler) {
        // The first one stays.
        let _ = self.handler.set(handler);
    }

    /// Calls a member.
    ///
    /// # Errors
    /// When it is not connected, does not answer in time, or refuses.
    pub async fn call(&self, member: Replica, method: &str, payload: Bytes) -> Result<Bytes, CallError> {
        let link = self.link(member).ok_or(CallError::NotConnected)?;
        self.call_over(&link, method, payload).await
    }

    async fn call_over(&self, link: &Link, method: &str, payload: Bytes) -> Result<Bytes, CallError> {
        let (answer, answered) = oneshot::channel();
        let id = link.wait(Waits::Call(answer));
        let method = method.to_owned();
        link.send(&Packet::Call { id, method, payload });
        match tokio::time::timeout(CALL_WITHIN, answered).await {
            Ok(Ok((0, payload))) => Ok(payload),
            Ok(Ok((status, _))) => Err(CallError::Refused { status }),
            Ok(Err(_)) => Err(CallError::NotConnected),
            Err(_) => Err(CallError::Timeout),
        }
    }

    fn link(&self, member: Replica) -> Option<Arc<Link>> {
        let around = self.around.borrow();
        let number = around.as_ref()?.links.get(&member).copied()?;
        // `publish` takes both the other way round: one may not be held while the other is taken.
        drop(around);
        let state = lock(&self.state);
        state.links.values().find(|link| link.number == number).cloned()
    }

    /// Sends a member what a copy has to say. Lost when there is no connection, as everything is that was on one.
    pub(super) fn send(&self, to: Replica, name: &str, message: Message) {
        if let Some(link) = self.link(to) {
            talk::send(&link, name, message);
        }
    }

    /// Tells every replica that was caught up.
    pub(super) fn tell(&self, packet: &Packet) {
        let links: Vec<Arc<Link>> = lock(&self.state).links.values().cloned().collect();
        for link in links.iter().filter(|link| link.is_caught_up()) {
            link.send(packet);
        }
    }

    /// What this replica tells of itself.
    fn hello(&self, members: &Members) -> Packet {
        hello::packet(&members.hello(), &self.events.points())
    }

    // === members ===

    /// Writes down what has changed, for whoever looks.
    fn publish(&self, state: &State) {
        let Some(view) = state.members.view(super::documents::now_ms()) else {
            self.changed.notify_waiters();
            return;
        };
        let links: BTreeMap<Replica, u64> = state
            .links
            .values()
            .filter_map(|link| Some((link.replica()?, link.number)))
            .collect();
        self.around.send_if_modified(|around| {
            let same = around
                .as_ref()
                .is_some_and(|old| old.view == view && *old.links == links);
            if !same {
                let links = Arc::new(links);
                *around = Some(Around { view, links });
            }
            !same
        });
        self.changed.notify_waiters();
    }

    /// A connected process tells of itself. `false` when this connection is to be given up for an older one.
    fn heard(&self, link: &Arc<Link>, hello: &Hello) -> bool {
        tracing::trace!(?hello, link = link.number, dialled = link.dialled, "heard");
        let mut state = lock(&self.state);
        if let Some(old) = state
            .links
            .get(&hello.process)
            .filter(|old| old.number != link.number)
        {
            let by_smaller = |link: &Link| link.dialled == (self.process < hello.process);
            if by_smaller(old) && !by_smaller(link) && !old.has_ended() {
                return false;
            }
            old.end();
        }
        if let Err(twice) = state.members.heard(hello) {
            self.end_twice(twice);
            return false;
        }
        link.set_peer(hello);
        let before = state.links.insert(hello.process, Arc::clone(link));
        if before.is_none_or(|before| before.number != link.number) {
            // The one that dialled waits for this before it says anything; and what it told first may have changed since,
            // which it tells over this connection only from now on.
            link.send(&self.hello(&state.members));
        }
        self.publish(&state);
        true
    }

    fn end_twice(&self, twice: Twice) {
        tracing::error!("{twice}");
        self.twice.notify_one();
    }

    fn ended(&self, link: &Link) {
        let Some(process) = link.process() else { return };
        let mut state = lock(&self.state);
        if state
            .links
            .get(&process)
            .is_some_and(|current| current.number == link.number)
        {
            state.links.remove(&process);
            state.members.lost(process, super::documents::now_ms());
            self.publish(&state);
        }
    }

    fn left(&self, process: u64) {
        let mut state = lock(&self.state);
        state.members.left(process);
        if let Some(link) = state.links.remove(&process) {
            link.end();
        }
        self.publish(&state);
    }

    /// Tells everybody what has changed about this process.
    fn announce(&self, change: impl FnOnce(&mut Members)) {
        let mut state = lock(&self.state);
        change(&mut state.members);
        let hello = self.hello(&state.members);
        for link in state.links.values() {
            link.send(&hello);
        }
        self.publish(&state);
    }

    /// The largest number that is known of each slot, for who writes it down.
    pub(super) fn known(&self) -> Vec<Replica> {
        lock(&self.state).members.hello().highest
    }

    /// Takes note of numbers that were used before this process began.
    pub(super) fn know(&self, used: impl IntoIterator<Item = Replica>) {
        let mut state = lock(&self.state);
        for replica in used {
            state.members.know(replica);
        }
    }

    /// Waits until members or connections have changed.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// The largest number that is known of a slot; 0 when none is.
    pub(super) fn highest(&self, slot: u16) -> u32 {
        lock(&self.state).members.highest(slot)
    }

    /// Tells everybody that numbers of a slot are used up to this one.
    pub(super) fn reserve(&self, last: Replica) {
        self.announce(|members| members.know(last));
    }

    /// This replica is about to end: others take over what it holds.
    pub(super) fn drain(&self) {
        self.announce(Members::drain);
    }

    /// The last word to everybody.
    pub(super) fn leave(&self) {
        for link in lock(&self.state).links.values() {
            link.send(&Packet::Event {
                sequence: 1,
                name: hello::BYE.to_owned(),
                origin: None,
                payload: Bytes::new(),
            });
        }
    }

    /// Time passes.
    pub(super) fn tick(&self) {
        let mut state = lock(&self.state);
        state.members.tick(super::documents::now_ms());
        self.publish(&state);
    }

    /// Becomes a member, however long that takes. `stored`: what this replica was before.
    pub(super) async fn enter(&self, tried: &watch::Receiver<bool>, stored: Option<Replica>) -> Replica {
        loop {
            let changed = self.changed.notified();
            let entry = lock(&self.state).members.entry(*tried.borrow());
            tracing::trace!(?entry, tried = *tried.borrow(), "enters");
            match entry {
                Entry::Member(replica) => return replica,
                Entry::First => {
                    let lot = rand::random();
                    let _ = self.key.set(rand::random());
                    self.announce(|members| {
                        let _ = members.be_first(lot, stored);
                    });
                }
                Entry::Ask(process) => {
                    let link = lock(&self.state).links.get(&process).cloned();
                    if let Some(link) = link
                        && let Ok(payload) = self.call_over(&link, CLAIM, Bytes::new()).await
                        && let Some((replica, key)) = hello::granted(&payload)
                    {
                        let _ = self.key.set(key);
                        self.announce(|members| members.become_member(replica));
                        continue;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Entry::Wait => {
                    // Also looks again by itself: whether all were tried is not told.
                    let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
                }
            }
        }
    }

    fn claimed(&self, link: &Link) -> Option<Bytes> {
        let process = link.process()?;
        let replica = lock(&self.state)
            .members
            .grant(process, super::documents::now_ms())?;
        Some(hello::grant(replica, &self.key()?))
    }

    fn next_link(&self) -> u64 {
        self.links_made.fetch_add(1, Ordering::Relaxed)
    }
}
