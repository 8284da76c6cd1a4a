//! One copy of one document.
//!
//! A *holder* stores the document and counts when a write is acknowledged; `placement` says who that is. Any other
//! replica that has users of the document keeps a copy in memory: it *follows* one holder, and sends its own writes to
//! all of them. A copy that is neither gives what it has to the holders and goes.
//!
//! Every copy exchanges digests with every holder when it meets it, and from then on sends it each change. What a
//! connection loses is made good by the next exchange: when the connection is back, and at the next tick when a holder
//! has not said that it holds all of this copy.
//!
//! A crash loses what was not stored. Nobody was told that such a thing is held: `Held`, `Digest` and `Filled` of a
//! holder wait until what they speak of is stored.

mod exchange;
mod retire;
mod store;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use pointsman_crdt::{
    Clock, Context, Document, JsonError, LimitError, Map, OperationError, Replica, Schema, State,
};

use super::message::Message;
use super::placement::{Copies, holders};
use super::view::View;
use retire::Round;
use store::Stored;

/// Writes that may wait for their acknowledgement at one copy.
const WAITING_MAX: usize = 4_096;
/// The part of a counter that is the sequence.
const SEQUENCE_MASK: u64 = (1 << 40) - 1;
/// A member that answers nothing for so many ticks has lost what was asked: its copy closed under it.
const SILENT_TICKS_MAX: u32 = 4;
/// Deltas on the way to one neighbour; what comes then goes with the next exchange.
const SENT_MAX: usize = 256;

/// How a copy behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the document.
    pub name: Arc<str>,
    /// Who this replica is.
    pub me: Replica,
    /// Its fields.
    pub schema: Schema,
    /// How many members hold the document.
    pub copies: Copies,
    /// Parts of an exchange have at most so many bytes.
    pub part_bytes_max: usize,
    /// Stamps may be so far ahead of the time here, in milliseconds.
    pub skew_max_ms: u64,
    /// `last_sequence` of an earlier copy of this document in this process, 0 when there was none. The copy writes only
    /// once it has that dot back: it must not make dots again, nor forget its own share of counters.
    pub last_sequence: u64,
}

/// What is to be done for a copy.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message to a member.
    Send {
        /// To whom.
        to: Replica,
        /// What.
        message: Message,
    },
    /// Append to the document's log; then call `stored` with the version.
    Append {
        /// Of the copy, with these deltas.
        version: u64,
        /// Encoded deltas.
        deltas: Vec<Bytes>,
    },
    /// Replace snapshot and log; then call `stored` with the version.
    Snapshot {
        /// Of the copy.
        version: u64,
        /// Encoded state.
        state: Bytes,
    },
    /// Remove snapshot and log: others hold the document now.
    Erase,
    /// The state has grown by so much.
    Changed(Arc<State<Map>>),
    /// What the others have is being asked for: reads and writes have to wait until `Ready`, or until `open_anyway`.
    Opening,
    /// All that the others had when they were asked is here.
    Ready,
    /// The write with this ticket is acknowledged.
    Done(u64),
    /// Nothing needs this copy any more.
    Close,
}

/// Why a write was not taken. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Not an operation on this document.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not possible here and now.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// A bound of the document.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A client names dots that are not its own and not known.
    #[error("the delta names changes of others that this replica does not have; exchange digests first")]
    Foreign,
    /// The client's writer was retired.
    #[error("the writer was retired; open the document again for a new one")]
    Retired,
    /// A stamp is too far ahead.
    #[error("a stamp is {ahead_ms} ms ahead of this replica; take the time from its greeting")]
    Skew {
        /// By so much.
        ahead_ms: u64,
    },
    /// This process wrote to the document before, and that has not come back yet.
    #[error("what was written here before is on its way; try again")]
    NotBack,
    /// Too many wait already.
    #[error("more than {WAITING_MAX} writes wait; try again")]
    Full,
}

/// What is known of another member's copy.
#[derive(Clone, Debug, Default)]
struct Neighbour {
    /// What it has stored, as far as it said so.
    held: Context,
    /// Deltas on the way.
    sent: BTreeMap<u64, Context>,
    /// The digest on the way, and whether it asks for what is lacked.
    asked: Option<(u64, bool)>,
    /// Digests were exchanged over this connection.
    met: bool,
    /// It gave all that this copy lacked.
    filled: bool,
    /// It wants to hear of changes.
    follows: bool,
    /// It takes itself for a holder.
    claims: bool,
    /// It was told that we want to hear of changes.
    followed: bool,
    /// It lacks something that no delta on the way has.
    behind: bool,
    /// Ticks since it last answered, while an answer is due.
    silent_ticks: u32,
}

/// From whom a copy has asked what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fetched {
    Nothing,
    /// The holder that it follows.
    Source,
    /// Every member.
    All,
}

/// A delta that a member relies on, at a copy that is no holder.
#[derive(Clone, Debug)]
struct Entrusted {
    from: Replica,
    id: u64,
    dots: Context,
}

#[derive(Clone, Debug)]
struct Waiting {
    ticket: u64,
    dots: Context,
}

/// One copy of one document. Every call may leave effects to be taken.
#[derive(Debug)]
pub struct DocumentCopy {
    settings: Settings,
    document: Document,
    clock: Clock,
    view: View,
    holders: Vec<Replica>,
    neighbours: BTreeMap<Replica, Neighbour>,
    stored: Stored,
    waiting: VecDeque<Waiting>,
    entrusted: Vec<Entrusted>,
    /// Members that were asked for what they have, until they answer.
    opening: BTreeSet<Replica>,
    ready: bool,
    fetched: Fetched,
    used: bool,
    closed: bool,
    next_id: u64,
    /// Asks everybody whether gone replicas have left anything that is not here.
    round: Option<Round>,
    effects: Vec<Effect>,
}

impl DocumentCopy {
    /// Opens a copy with what is stored here. `used`: sessions here use it.
    #[must_use]
    pub fn open(settings: Settings, stored: Option<State<Map>>, view: View, used: bool) -> Self {
        let has_stored = stored.is_some();
        let mut copy = Self {
            clock: Clock::new(settings.skew_max_ms),
            document: Document::with_state(settings.schema.clone(), stored.unwrap_or_default()),
            settings,
            view,
            holders: Vec::new(),
            neighbours: BTreeMap::new(),
            stored: Stored::default(),
            waiting: VecDeque::new(),
            entrusted: Vec::new(),
            opening: BTreeSet::new(),
            ready: false,
            fetched: Fetched::Nothing,
            used,
            closed: false,
            next_id: 1,
            round: None,
            effects: Vec::new(),
        };
        if has_stored {
            copy.stored.found(&copy.document.state().context);
        }
        copy.place();
        copy.fetch();
        copy.contact();
        copy.look_ready();
        copy
    }

    /// The effects of the calls since the last time, to be done in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The document, to be read.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What is replicated.
    #[must_use]
    pub fn state(&self) -> &State<Map> {
        self.document.state()
    }

    /// Makes stamps for registers.
    pub fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// Whether reads and writes may begin.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether nothing needs it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether this replica is one of the holders.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holders.contains(&self.settings.me)
    }

    /// Whether sessions here use it and this replica is none of the holders: what it has of others, they have.
    #[must_use]
    pub fn follows(&self) -> bool {
        !self.holds() && self.used
    }

    /// Whether all that it has is stored by every holder, as far as they have said so.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.handed_over() && (!self.holds() || self.stored.has(&self.document.state().context))
    }

    /// Writes that wait for their acknowledgement.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    // === users ===

    /// Says whether sessions here use it.
    pub fn set_used(&mut self, used: bool) {
        self.used = used;
        if used {
            self.closed = false;
        } else {
            self.unfollow(None);
        }
        self.fetch();
        self.contact();
        self.look_ready();
        self.look_leave();
    }

    /// Begins without the answers that are still missing: whoever has not answered is gone or cut off.
    pub fn open_anyway(&mut self) {
        self.opening.clear();
        self.look_ready();
    }

    // === members ===

    /// The members have changed.
    pub fn set_view(&mut self, view: View) {
        let held_before = self.holds();
        self.view = view;
        self.forget_round();
        let view = &self.view;
        self.neighbours.retain(|replica, _| view.has(*replica));
        self.opening.retain(|replica| view.has(*replica));
        self.place();
        if self.holds() && !held_before {
            self.closed = false;
            if !self.document.state().is_bottom() {
                self.stored.begin();
                self.look_store();
            }
        } else if held_before && !self.holds() {
            self.release_unstored();
        }
        self.fetch();
        self.contact();
        self.settle();
        self.look_ready();
        self.look_leave();
    }

    /// The connection to a member broke; what was on the way is lost. The member is still one.
    pub fn lost(&mut self, replica: Replica) {
        self.neighbours.remove(&replica);
        self.opening.remove(&replica);
        self.forget_round();
        self.contact();
        self.look_ready();
    }

    /// Time passes: makes good what was lost.
    pub fn tick(&mut self) {
        self.look_silent();
        self.look_store();
        self.contact();
        // A copy that only follows is not asked to know what the holders have of others.
        let answers_for_all = self.holds() || self.leaves() || !self.waiting.is_empty();
        let holders = self.holders.clone();
        for holder in holders {
            let context = &self.document.state().context;
            let Some(neighbour) = self.neighbours.get_mut(&holder) else {
                continue;
            };
            let lacks = neighbour.behind || (answers_for_all && !context.is_subset(&neighbour.held));
            if neighbour.met && lacks && neighbour.sent.is_empty() && neighbour.asked.is_none() {
                self.ask(holder);
            }
        }
        self.look_retire();
        self.look_leave();
    }

    /// Begins afresh with whoever lets answers wait; the connection lives, so nothing else would make that good.
    fn look_silent(&mut self) {
        let mut silent = Vec::new();
        for (replica, neighbour) in &mut self.neighbours {
            if neighbour.asked.is_none() && neighbour.sent.is_empty() {
                neighbour.silent_ticks = 0;
                continue;
            }
            neighbour.silent_ticks += 1;
            if neighbour.silent_ticks > SILENT_TICKS_MAX {
                silent.push(*replica);
            }
        }
        for replica in silent {
            let follows = self.neighbour(replica).follows;
            self.neighbours.remove(&replica);
            self.neighbour(replica).follows = follows;
        }
    }

    fn place(&mut self) {
        let chosen = holders(&self.settings.name, self.settings.copies, &self.view);
        self.holders = chosen.iter().map(|member| member.replica).collect();
    }

    fn others(&self) -> impl Iterator<Item = Replica> {
        let me = self.settings.me;
        let members = self.view.members().iter().map(|member| member.replica);
        members.filter(move |replica| *replica != me)
    }

    /// The holder that a copy follows.
    fn source(&self) -> Option<Replica> {
        let me = self.settings.me;
        let mut holders = self.holders.iter().copied();
        holders.find(|holder| *holder != me)
    }

    /// Asks for what the others have, when this copy comes to need more than it has asked for.
    fn fetch(&mut self) {
        let need = match (self.holds(), self.used) {
            (true, _) => Fetched::All,
            (false, true) => Fetched::Source,
            // It misses changes from now on.
            (false, false) => Fetched::Nothing,
        };
        let before = std::mem::replace(&mut self.fetched, need);
        if need <= before {
            return;
        }
        let from: Vec<Replica> = if need == Fetched::All {
            // Whoever held it in an earlier view may be any member.
            self.others().collect()
        } else {
            self.source().into_iter().collect()
        };
        if before == Fetched::Nothing {
            // Whoever was met by a copy that left told what it has, and gave nothing.
            self.neighbours
                .values_mut()
                .for_each(|neighbour| neighbour.met = false);
        }
        for replica in &from {
            self.neighbour(*replica).met = false;
        }
        self.opening = from.into_iter().collect();
        // A follower that becomes a holder has what its source had, and goes on meanwhile.
        if before == Fetched::Nothing {
            self.ready = false;
            self.effects.push(Effect::Opening);
        }
    }

    fn look_ready(&mut self) {
        if !self.ready && self.opening.is_empty() {
            self.ready = true;
            self.effects.push(Effect::Ready);
        }
    }

    /// Whether every holder has all of this copy.
    fn handed_over(&self) -> bool {
        let me = self.settings.me;
        let mut others = self.holders.iter().filter(|holder| **holder != me);
        others.all(|holder| {
            let neighbour = self.neighbours.get(holder);
            neighbour.is_some_and(|neighbour| self.document.state().context.is_subset(&neighbour.held))
        })
    }

    /// Whether it only hands over what it has. It learns nothing new, or it would never be done under writes.
    pub(super) fn leaves(&self) -> bool {
        !self.holds() && !self.used
    }

    /// Goes when nothing needs the copy.
    fn look_leave(&mut self) {
        if self.closed || (self.holds() && !(self.document.state().is_bottom() && self.ready)) {
            return;
        }
        let empty = self.document.state().is_bottom();
        if !empty && (self.source().is_none() || !self.handed_over()) {
            return;
        }
        if !self.holds() && self.stored.leave() {
            self.effects.push(Effect::Erase);
        }
        let follows = self.neighbours.values().any(|neighbour| neighbour.follows);
        if !self.used && !follows && self.waiting.is_empty() && self.entrusted.is_empty() {
            self.closed = true;
            self.effects.push(Effect::Close);
        }
    }
}
