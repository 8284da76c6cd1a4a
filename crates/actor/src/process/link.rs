//! What the references to actors of one worker share with its supervisor.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::error::{Refusal, SendError, SpawnError};
use crate::handle::{Closing, Ending, Handle, Order, State, far};
use crate::mailbox::{Gate, Outbox};
use crate::reply::{self, Awaited, Replies};
use crate::settings::{Restart, Settings};

/// Actors of one worker at once.
const ACTORS_MAX: usize = 1 << 16;
/// Reply addresses that one worker may have open.
const REPLIES_MAX: usize = 1 << 16;
/// After the deadline of a stop, the worker has so long to say that the actor has ended.
const REPORT_WITHIN: Duration = Duration::from_millis(500);

/// Waits to be written. Messages are bounded by the permits of their mailboxes, the rest by the number of actors.
pub(super) enum Out {
    Start(u32),
    Deliver {
        actor: u32,
        body: Vec<u8>,
        replies: Vec<(u64, OpenReply)>,
    },
    Unreferenced(u32),
    Stop(u32),
}

/// Counts as open until it is dropped, wherever that is.
pub(super) struct OpenReply {
    /// To whom the question went; the address may be with another by now.
    actor: u32,
    awaited: Box<dyn Awaited>,
    _open: Open,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OpenReply {
    pub(super) fn answered(self, body: &[u8]) -> Result<(), postcard::Error> {
        self.awaited.answered(body)
    }
}

/// One actor over there.
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) settings: Settings,
    pub(super) argument: Vec<u8>,
    pub(super) closing: Closing,
    lost: Arc<AtomicU64>,
    pub(super) order: Order,
    pub(super) stop_queued: bool,
    /// On this connection.
    pub(super) started: bool,
    /// This connection has been told to end it.
    pub(super) leaving: bool,
    /// Written on this connection and not reported as taken.
    pub(super) untaken: usize,
}

impl Entry {
    /// What the connection that is gone had not reported as taken is lost.
    fn settle(&mut self) {
        let lost = std::mem::take(&mut self.untaken);
        self.lost.fetch_add(lost as u64, Ordering::Relaxed);
        self.closing.gate.room.add_permits(lost);
        self.started = false;
    }

    /// Whether it starts again on the next connection.
    fn outlives(&mut self, reason: &str) -> bool {
        self.settle();
        let told_to_end = self.leaving || matches!(self.order, Order::Now(_));
        if told_to_end {
            self.closing.ending = Ending::Aborted;
        } else if self.settings.supervision.restart == Restart::Never {
            self.closing.ending = Ending::Failed(format!("its process ended: {reason}"));
        } else {
            self.closing.set(State::Restarting);
            return true;
        }
        false
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) actors: BTreeMap<u32, Entry>,
    pub(super) pending: HashMap<u64, OpenReply>,
    pub(super) connected: bool,
    ended: Option<String>,
    number: u32,
}

pub(super) struct Link {
    queue: mpsc::UnboundedSender<Out>,
    table: Mutex<Table>,
    runtime: tokio::runtime::Handle,
    pub(super) message_bytes_max: usize,
    open: Arc<AtomicUsize>,
    pub(super) process_id: AtomicU32,
    pub(super) starts: AtomicU64,
    pub(super) stop: CancellationToken,
    pub(super) ended: CancellationToken,
}

impl Link {
    pub(super) fn new(
        queue: mpsc::UnboundedSender<Out>,
        message_bytes_max: usize,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            queue,
            table: Mutex::new(Table::default()),
            runtime,
            message_bytes_max,
            open: Arc::new(AtomicUsize::new(0)),
            process_id: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Never held across an await, nor while a reply address is dropped or answered: both may reach another link.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After the end of the supervisor there is nobody to take it, and dropping it is right.
    pub(super) fn push(&self, out: Out) {
        let _ = self.queue.send(out);
    }

    /// Notes an actor that is to start there.
    pub(super) fn add(
        self: &Arc<Self>,
        kind: &'static str,
        settings: Settings,
        argument: Vec<u8>,
        gate: &Arc<Gate>,
        state: watch::Sender<State>,
        handle: &Handle,
    ) -> Result<u32, SpawnError> {
        let mut table = self.table();
        if let Some(reason) = &table.ended {
            return Err(SpawnError::PlaceEnded(reason.clone()));
        }
        if table.actors.len() >= ACTORS_MAX {
            return Err(SpawnError::TooManyChildren(ACTORS_MAX));
        }
        // Numbers are not used again, so a late frame cannot meet another actor.
        let Some(number) = table.number.checked_add(1) else {
            return Err(SpawnError::PlaceEnded("it has no more numbers".to_owned()));
        };
        table.number = number;
        let entry = Entry {
            kind,
            settings,
            argument,
            closing: Closing::new(Arc::clone(gate), state),
            lost: handle.lost_counter(),
            order: Order::Run,
            stop_queued: false,
            started: false,
            leaving: false,
            untaken: 0,
        };
        table.actors.insert(number, entry);
        drop(table);
        let keep = keep(Arc::clone(self), number, Arc::clone(gate), handle.orders());
        self.runtime.spawn(keep);
        Ok(number)
    }

    /// Ends an actor here, whatever it does there.
    pub(super) fn end(&self, number: u32, ending: Ending) {
        let entry = self.table().actors.remove(&number);
        if let Some(mut entry) = entry {
            entry.closing.ending = ending;
        }
    }

    /// Ends an actor of which the worker says nothing, and the asks that it was sent.
    fn give_up(&self, number: u32) {
        let mut table = self.table();
        let asked = |_: &u64, reply: &mut OpenReply| reply.actor == number;
        let unanswered: Vec<_> = table.pending.extract_if(asked).collect();
        drop(table);
        drop(unanswered);
        self.end(number, Ending::Aborted);
    }

    fn order(&self, number: u32, order: Order) {
        let mut table = self.table();
        let connected = table.connected;
        let Some(entry) = table.actors.get_mut(&number) else {
            return;
        };
        entry.order = order;
        if !connected && matches!(order, Order::Now(_)) {
            drop(table);
            return self.end(number, Ending::Stopped);
        }
        if !entry.stop_queued {
            entry.stop_queued = true;
            // Behind the messages that were sent before.
            self.push(Out::Stop(number));
        }
    }

    /// The connection is gone. What was written and not taken is lost; who waits for an answer learns it now.
    pub(super) fn disconnected(&self, reason: &str) {
        let mut table = self.table();
        table.connected = false;
        let unanswered = std::mem::take(&mut table.pending);
        let ended: Vec<_> = table
            .actors
            .extract_if(.., |_, entry| !entry.outlives(reason))
            .collect();
        drop(table);
        drop(unanswered);
        drop(ended);
    }

    /// There will be no other connection.
    pub(super) fn close(&self, ending: &Ending, reason: &str) {
        let mut table = self.table();
        table.connected = false;
        table.ended = Some(reason.to_owned());
        let unanswered = std::mem::take(&mut table.pending);
        let mut actors = std::mem::take(&mut table.actors);
        drop(table);
        drop(unanswered);
        for entry in actors.values_mut() {
            entry.settle();
            entry.closing.ending = ending.clone();
        }
        drop(actors);
        self.ended.cancel();
    }

    /// Counts reply addresses as open.
    fn open_all(&self, actor: u32, replies: Replies) -> Result<Vec<(u64, OpenReply)>, Refusal> {
        let count = replies.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.open.load(Ordering::Relaxed) + count > REPLIES_MAX {
            // Of those that nobody waits for any more the answers are not needed.
            let mut table = self.table();
            let abandoned: Vec<_> = table
                .pending
                .extract_if(|_, reply| reply.awaited.is_abandoned())
                .collect();
            drop(table);
            drop(abandoned);
        }
        if self.open.fetch_add(count, Ordering::Relaxed) + count > REPLIES_MAX {
            self.open.fetch_sub(count, Ordering::Relaxed);
            return Err(Refusal::TooManyReplies(REPLIES_MAX));
        }
        let open = |(number, awaited)| {
            let reply = OpenReply {
                actor,
                awaited,
                _open: Open(Arc::clone(&self.open)),
            };
            (number, reply)
        };
        Ok(replies.into_iter().map(open).collect())
    }
}

/// Passes orders on, and keeps their deadlines even when the worker does not answer.
async fn keep(link: Arc<Link>, number: u32, gate: Arc<Gate>, mut orders: watch::Receiver<Order>) {
    let mut latest = None;
    let mut heard = true;
    loop {
        tokio::select! {
            () = gate.ended.cancelled() => return,
            changed = orders.changed(), if heard => heard = changed.is_ok(),
            () = sleep_until(latest.unwrap_or_else(far)), if latest.is_some() => {
                return link.give_up(number);
            }
        }
        let order = *orders.borrow_and_update();
        if let Some(deadline) = order.deadline() {
            latest = deadline.checked_add(REPORT_WITHIN).or(Some(deadline));
            link.order(number, order);
        } else if !heard {
            return;
        }
    }
}

/// Writes messages as bytes, in the task that sends them.
pub(super) struct RemoteOutbox {
    number: u32,
    link: Arc<Link>,
}

impl RemoteOutbox {
    pub(super) fn new(number: u32, link: Arc<Link>) -> Self {
        Self { number, link }
    }

    fn encode<M: Serialize>(&self, message: &M) -> Result<Out, Refusal> {
        let (body, replies) = reply::encode(message)?;
        let (bytes, max) = (body.len(), self.link.message_bytes_max);
        if bytes > max {
            return Err(Refusal::TooLarge { bytes, max });
        }
        Ok(Out::Deliver {
            actor: self.number,
            replies: self.link.open_all(self.number, replies)?,
            body,
        })
    }
}

impl<M: Serialize> Outbox<M> for RemoteOutbox {
    fn push(&self, message: M) -> Result<(), SendError<M>> {
        let out = match self.encode(&message) {
            Ok(out) => out,
            Err(refusal) => return Err(SendError::Refused(message, refusal)),
        };
        self.link.queue.send(out).map_err(|_| SendError::Closed(message))
    }
}

impl Drop for RemoteOutbox {
    fn drop(&mut self) {
        self.link.push(Out::Unreferenced(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Waits(bool);

    impl Awaited for Waits {
        fn answered(self: Box<Self>, _: &[u8]) -> Result<(), postcard::Error> {
            Ok(())
        }

        fn is_abandoned(&self) -> bool {
            !self.0
        }
    }

    #[tokio::test]
    async fn open_reply_addresses_are_bounded_and_abandoned_ones_give_way() {
        let (sender, _queue) = mpsc::unbounded_channel();
        let link = Link::new(sender, 1_000, tokio::runtime::Handle::current());
        let replies = |count: usize, waits: bool| -> Replies {
            let reply = |number| (number, Box::new(Waits(waits)) as Box<dyn Awaited>);
            (0..count as u64).map(reply).collect()
        };
        let waited_for = link.open_all(1, replies(REPLIES_MAX - 10, true)).unwrap();
        let abandoned = link.open_all(1, replies(10, false)).unwrap();
        assert_eq!(
            link.open_all(1, replies(1, true)).err(),
            Some(Refusal::TooManyReplies(REPLIES_MAX)),
            "they wait to be written, so nobody knows whether they are abandoned"
        );
        link.table().pending.extend(abandoned);
        let more = link.open_all(1, replies(10, true)).unwrap();
        assert!(link.open_all(1, replies(1, true)).is_err());
        drop((waited_for, more));
        assert!(link.open_all(1, replies(REPLIES_MAX, true)).is_ok());
    }
}
