//! The actor that owns one copy: does what the copy wants done, and answers who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pointsman_actor::{Actor, Context, Failure, ReplyTo};
use pointsman_crdt::{Digest, Document, Map, Replica, State};
use pointsman_replication::{DocumentCopy, Effect, Message};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::peers::Around;
use super::copy::{open, store_write};
use super::standing::Standing;
use super::{Act, DocumentError, Documents, Filled, Subscriber};

/// How long a write waits for other replicas.
const HELD_WITHIN: Duration = Duration::from_secs(2);
/// A copy begins without members that have not answered after this long.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Asks that wait for the copy to be ready.
const EARLY_MAX: usize = 4_096;
/// Ticks that a copy stays open without a user.
const IDLE_TICKS: u32 = 2;
const SUBSCRIBERS_MAX: usize = 100_000;
/// Changes that subscribers are told of together.
const NEWS_MAX: usize = 256;

/// What an owner is asked.
pub(super) enum Ask {
    Look(Box<dyn FnOnce(&Document) + Send>),
    Transact {
        act: Act,
        reply: ReplyTo<Result<(), DocumentError>>,
    },
    Join {
        writer: Replica,
        delta: State<Map>,
        reply: ReplyTo<Result<(), DocumentError>>,
    },
    Fill {
        digest: Digest,
        reply: ReplyTo<Filled>,
    },
    Subscribe {
        subscriber: Subscriber,
        reply: ReplyTo<()>,
    },
    Unsubscribe {
        id: u64,
    },
    Watch {
        reply: ReplyTo<watch::Receiver<u64>>,
    },
    Peer {
        from: Replica,
        link: u64,
        message: Message,
    },
    Stored {
        version: u64,
        stored: bool,
    },
    Tick,
    Tell,
    Expire,
    OpenAnyway,
    LookAround,
    End,
}

impl Ask {
    fn is_of_users(&self) -> bool {
        self.waits_for_ready() || matches!(self, Self::Subscribe { .. } | Self::Watch { .. })
    }

    /// Whether it has to wait until the copy is ready.
    fn waits_for_ready(&self) -> bool {
        matches!(
            self,
            Self::Look(_) | Self::Transact { .. } | Self::Join { .. } | Self::Fill { .. }
        )
    }
}

/// A write that waits for its acknowledgement: one reply for all tickets of a transaction.
struct Writer {
    left: usize,
    reply: ReplyTo<Result<(), DocumentError>>,
}

/// Owns a copy.
pub(super) struct Owner {
    documents: Weak<Documents>,
    name: Arc<str>,
    id: u64,
    copy: Option<DocumentCopy>,
    around: Option<watch::Receiver<Option<Around>>>,
    /// Connections by member, as far as this copy has taken note.
    links: Arc<BTreeMap<Replica, u64>>,
    early: VecDeque<Ask>,
    writers: BTreeMap<u64, Writer>,
    tickets: BTreeMap<u64, u64>,
    due: VecDeque<(Instant, u64)>,
    next: u64,
    subscribers: Vec<(Subscriber, bool)>,
    /// Joined changes that subscribers have not been told of, and how many those are.
    news: Option<(Arc<State<Map>>, usize)>,
    changes: watch::Sender<u64>,
    idle_ticks: u32,
    /// Ticks since somebody said something.
    quiet_ticks: u32,
    standing: Arc<Standing>,
}

impl Owner {
    pub(super) fn new(documents: Weak<Documents>, name: Arc<str>, id: u64, standing: Arc<Standing>) -> Self {
        Self {
            documents,
            name,
            id,
            copy: None,
            around: None,
            links: Arc::default(),
            early: VecDeque::new(),
            writers: BTreeMap::new(),
            tickets: BTreeMap::new(),
            due: VecDeque::new(),
            next: 1,
            subscribers: Vec::new(),
            news: None,
            changes: watch::Sender::new(0),
            idle_ticks: 0,
            quiet_ticks: 0,
            standing,
        }
    }
}

impl Actor for Owner {
    type Message = Ask;

    async fn started(&mut self, context: &mut Context<Ask>) -> Result<(), Failure> {
        let Some(documents) = self.documents.upgrade() else {
            context.stop();
            return Ok(());
        };
        let mut around = documents.around.clone();
        let now = around.wait_for(Option::is_some).await?.clone();
        let Some(now) = now else { return Ok(()) };
        self.around = Some(around);
        self.links.clone_from(&now.links);
        self.copy = Some(open(&documents, &self.name, now.view).await?);
        self.work(&documents, context);
        Ok(())
    }

    async fn handle(&mut self, ask: Ask, context: &mut Context<Ask>) -> Result<(), Failure> {
        let Some(documents) = self.documents.upgrade() else {
            context.stop();
            return Ok(());
        };
        self.look_around();
        if !matches!(
            ask,
            Ask::Tick | Ask::Tell | Ask::LookAround | Ask::End | Ask::Stored { .. }
        ) {
            self.quiet_ticks = 0;
        }
        if ask.is_of_users()
            && let Some(copy) = &mut self.copy
        {
            self.idle_ticks = 0;
            copy.set_used(true);
        }
        let ready = self.copy.as_ref().is_some_and(DocumentCopy::is_ready);
        if ask.waits_for_ready() && !ready {
            if self.early.len() < EARLY_MAX {
                self.early.push_back(ask);
            }
        } else {
            self.take(ask, context);
        }
        self.work(&documents, context);
        Ok(())
    }
}

impl Owner {
    /// Takes note of the members before anything that they sent.
    fn look_around(&mut self) {
        let (Some(around), Some(copy)) = (&mut self.around, &mut self.copy) else {
            return;
        };
        if !around.has_changed().unwrap_or(false) {
            return;
        }
        let Some(now) = around.borrow_and_update().clone() else {
            return;
        };
        for (replica, link) in now.links.iter() {
            if self.links.get(replica).is_some_and(|before| before != link) {
                copy.lost(*replica);
            }
        }
        self.standing.unsettle();
        self.links = now.links;
        copy.set_view(now.view);
    }

    fn take(&mut self, ask: Ask, context: &mut Context<Ask>) {
        let Some(copy) = &mut self.copy else { return };
        match ask {
            Ask::Look(look) => look(copy.document()),
            Ask::Transact { act, reply } => self.transact(act, reply, context),
            Ask::Join { writer, delta, reply } => self.join(writer, delta, reply, context),
            Ask::Fill { digest, reply } => {
                let _ = reply.answer(super::copy::fill(copy, &digest));
            }
            Ask::Subscribe { subscriber, reply } => {
                if self.subscribers.len() < SUBSCRIBERS_MAX {
                    self.subscribers.push((subscriber, false));
                    let _ = reply.answer(());
                }
            }
            Ask::Unsubscribe { id } => self.subscribers.retain(|(subscriber, _)| subscriber.id != id),
            Ask::Watch { reply } => {
                let _ = reply.answer(self.changes.subscribe());
            }
            Ask::Peer { from, link, message } => {
                // Of a connection that this copy has not heard of yet, or no longer: not to be trusted.
                tracing::trace!(name = %self.name, ?from, ?message, "hears");
                if self.links.get(&from) == Some(&link) {
                    copy.receive(from, message, super::now_ms());
                }
            }
            Ask::Stored {
                version,
                stored: true,
            } => copy.stored(version),
            Ask::Stored { version, .. } => copy.not_stored(version),
            Ask::Tick => self.tick(context),
            Ask::Tell => self.tell(),
            Ask::Expire => self.expire(context),
            Ask::OpenAnyway => copy.open_anyway(),
            Ask::End => self.end(context),
            Ask::LookAround => {}
        }
    }

    fn transact(&mut self, act: Act, reply: ReplyTo<Result<(), DocumentError>>, context: &mut Context<Ask>) {
        let (Some(copy), Some(documents)) = (&mut self.copy, self.documents.upgrade()) else {
            return;
        };
        let operations = match act(copy.document()) {
            Ok(operations) => operations,
            Err(why) => {
                let _ = reply.answer(Err(DocumentError::Refused(why)));
                return;
            }
        };
        let group = self.next;
        let mut left = 0;
        let mut fault = None;
        for (index, operation) in operations.iter().enumerate() {
            self.next += 1;
            let ticket = self.next;
            match copy.operate_json(ticket, operation, super::now_ms()) {
                Ok(_) => {
                    self.tickets.insert(ticket, group);
                    left += 1;
                }
                Err(error) => {
                    fault = Some(super::copy::refusal(&error, index));
                    break;
                }
            }
        }
        documents.wrote(&self.name, copy.last_sequence());
        if operations.is_empty() {
            self.next += 1;
            match copy.wait_for_all(self.next) {
                Ok(()) => {
                    self.tickets.insert(self.next, group);
                    left = 1;
                }
                Err(_) => fault = Some(DocumentError::Busy),
            }
        }
        self.next += 1;
        match fault {
            Some(fault) => {
                self.tickets.retain(|_, of| *of != group);
                let _ = reply.answer(Err(fault));
            }
            None => self.wait(group, left, reply, context),
        }
    }

    fn join(
        &mut self,
        writer: Replica,
        delta: State<Map>,
        reply: ReplyTo<Result<(), DocumentError>>,
        context: &mut Context<Ask>,
    ) {
        let Some(copy) = &mut self.copy else { return };
        let group = self.next;
        let ticket = group + 1;
        self.next += 2;
        match copy.join_client(ticket, writer, delta, super::now_ms()) {
            Ok(()) => {
                self.tickets.insert(ticket, group);
                self.wait(group, 1, reply, context);
            }
            Err(error) => {
                let _ = reply.answer(Err(super::copy::refusal(&error, 0)));
            }
        }
    }

    fn wait(
        &mut self,
        group: u64,
        left: usize,
        reply: ReplyTo<Result<(), DocumentError>>,
        context: &mut Context<Ask>,
    ) {
        self.writers.insert(group, Writer { left, reply });
        if self.due.is_empty() {
            // One timer at a time, for the oldest.
            let _ = context.send_after(HELD_WITHIN, Ask::Expire);
        }
        self.due.push_back((Instant::now() + HELD_WITHIN, group));
    }

    /// Tells writers that waited too long.
    fn expire(&mut self, context: &mut Context<Ask>) {
        let now = Instant::now();
        while let Some((due, group)) = self.due.front().copied() {
            let waits = self.writers.contains_key(&group);
            if waits && due > now {
                let _ = context.send_after(due.saturating_duration_since(now), Ask::Expire);
                return;
            }
            self.due.pop_front();
            if let Some(writer) = self.writers.remove(&group) {
                let _ = writer.reply.answer(Err(DocumentError::NotHeld));
                let tickets = std::mem::take(&mut self.tickets);
                for (ticket, of) in tickets {
                    if of == group {
                        if let Some(copy) = &mut self.copy {
                            copy.forget(ticket);
                        }
                    } else {
                        self.tickets.insert(ticket, of);
                    }
                }
            }
        }
    }

    fn done(&mut self, ticket: u64) {
        let Some(group) = self.tickets.remove(&ticket) else {
            return;
        };
        if let Some(writer) = self.writers.get_mut(&group) {
            writer.left = writer.left.saturating_sub(1);
            if writer.left == 0
                && let Some(writer) = self.writers.remove(&group)
            {
                let _ = writer.reply.answer(Ok(()));
            }
        }
    }

    /// Keeps a change until what waits in the mailbox is done: its changes go out with this one, as one delta. A crash
    /// loses it together with the subscribers, who begin again with a digest.
    fn keep(&mut self, delta: Arc<State<Map>>, context: &mut Context<Ask>) {
        if let Some((news, count)) = &mut self.news
            && *count < NEWS_MAX
            && Arc::make_mut(news).join(&delta).is_ok()
        {
            *count += 1;
            return;
        }
        self.tell();
        self.news = Some((delta, 1));
        let this = context.this().upgrade();
        if this.is_none_or(|this| this.try_send(Ask::Tell).is_err()) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if let Some((news, _)) = self.news.take() {
            super::copy::tell(&mut self.subscribers, &news);
        }
    }

    fn tick(&mut self, context: &mut Context<Ask>) {
        let Some(copy) = &mut self.copy else { return };
        self.subscribers
            .retain(|(subscriber, _)| !subscriber.events.is_closed());
        let users = !self.subscribers.is_empty()
            || self.changes.receiver_count() > 0
            || !self.writers.is_empty()
            || !self.early.is_empty();
        self.idle_ticks = if users {
            0
        } else {
            self.idle_ticks.saturating_add(1)
        };
        if self.idle_ticks > IDLE_TICKS {
            copy.set_used(false);
        }
        copy.tick();
        self.standing.note_settled(copy);
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        if copy.is_closed()
            && self.quiet_ticks > IDLE_TICKS
            && let Some(this) = context.this().upgrade()
        {
            // What waits already comes first; it may need the copy again.
            let _ = this.try_send(Ask::End);
        }
        for (subscriber, behind) in &mut self.subscribers {
            if *behind {
                *behind = !super::copy::tell_all(copy, subscriber);
            }
        }
    }

    /// Ends when the copy is still closed. What is sent to this actor in this very moment is lost, as on a connection that
    /// breaks: peers begin afresh after a few ticks, and users are told to try again.
    fn end(&mut self, context: &mut Context<Ask>) {
        let closed = self.copy.as_ref().is_some_and(DocumentCopy::is_closed);
        if closed
            && self.subscribers.is_empty()
            && self.early.is_empty()
            && self.changes.receiver_count() == 0
        {
            if let Some(documents) = self.documents.upgrade() {
                documents.closed(&self.name, self.id);
            }
            context.stop();
        }
    }

    /// Does what the copy wants done.
    fn work(&mut self, documents: &Arc<Documents>, context: &mut Context<Ask>) {
        loop {
            let Some(copy) = &mut self.copy else { return };
            let effects = copy.take_effects();
            if effects.is_empty() {
                self.standing.note(copy);
                return;
            }
            for effect in effects {
                self.effect(effect, documents, context);
            }
        }
    }

    fn effect(&mut self, effect: Effect, documents: &Arc<Documents>, context: &mut Context<Ask>) {
        match effect {
            Effect::Send { to, message } => {
                tracing::trace!(name = %self.name, ?to, ?message, "says");
                documents.peers.send(to, &self.name, message);
            }
            Effect::Append { .. } | Effect::Snapshot { .. } | Effect::Erase => {
                store_write(documents, &self.name, effect, context.this());
            }
            Effect::Changed(delta) => {
                self.changes
                    .send_modify(|version| *version = version.wrapping_add(1));
                if !self.subscribers.is_empty() {
                    self.keep(delta, context);
                }
            }
            Effect::Opening => {
                // A timer that does not fit would only make this copy wait longer for who does not answer.
                let _ = context.send_after(OPEN_WITHIN, Ask::OpenAnyway);
            }
            Effect::Ready => {
                for ask in std::mem::take(&mut self.early) {
                    self.take(ask, context);
                }
            }
            Effect::Done(ticket) => self.done(ticket),
            // Not at once: whoever asked for it may send something next. It ends when it was quiet for a while.
            Effect::Close => {}
        }
    }
}
