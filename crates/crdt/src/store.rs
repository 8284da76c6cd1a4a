//! The one trait set: what a type has to say so that all engines, digests and bytes work for it.

use std::fmt::Debug;

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::{Dot, Replica};
use crate::error::{DecodeError, LimitError, OperationError};

/// What a join knows while it walks two stores.
#[derive(Debug)]
pub struct Join<'a> {
    /// Context of the store that changes.
    pub mine: &'a Context,
    /// Context of the store that comes in.
    pub theirs: &'a Context,
    /// How many entries were dropped because the other side had removed them.
    pub dropped: u128,
}

/// Live dots and what hangs on them. Only meaningful together with a context that has all of them.
pub trait Store: Clone + Debug + Default + PartialEq {
    /// Type tag in bytes; 0 for what has no tag of its own.
    const TAG: u64;
    /// Type name in schemas.
    const NAME: &'static str;

    /// Whether there is nothing.
    fn is_bottom(&self) -> bool;

    /// Visits live dots, as intervals. With a `guide`, at least those at the keys that the guide has.
    fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval));

    /// Visits dots of deletions of what is live: a state's context has those too.
    fn deletions(&self, _visit: &mut dyn FnMut(Dot)) {}

    /// Why the join with another store would be beyond a bound, if it would be.
    ///
    /// # Errors
    /// The bound.
    fn fits(&self, _theirs: &Self, _join: &Join<'_>) -> Result<(), LimitError> {
        Ok(())
    }

    /// The join rule, at the keys that `theirs` has.
    fn join(&mut self, theirs: &Self, join: &mut Join<'_>);

    /// The join rule at all other keys: drops what the other side has seen and does not have.
    fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
        if theirs.is_none() {
            self.join(&Self::default(), join);
        }
    }

    /// Entries that a state lacks: not in its context, or there (`seen`) with less. Without `seen`, an entry in the context
    /// counts as there unless it changed by a dot that the context lacks.
    fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self;

    /// Emits one atom per entry, with the dots that belong into its context.
    fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot]));

    /// Appends the body.
    fn encode_body(&self, context: &Context, to: &mut Writer);

    /// Reads all that is left as a body.
    ///
    /// # Errors
    /// When it is not the one encoding of a store.
    fn decode_body(from: &mut Reader<'_>, context: &Context, depth: u32) -> Result<Self, DecodeError>;

    /// Removes what nobody needs once `stable` is stable; `docs/CRDT.md` §7.
    fn collect(&mut self, _stable: &Context) {}

    /// Visits live dots of which only a later change is known: deletions ahead of what they delete.
    fn incomplete(&self, _visit: &mut dyn FnMut(Interval)) {}

    /// Visits live dots whose payload changed by collection, which has no dot of its own.
    fn changed_by_collection(&self, _visit: &mut dyn FnMut(Dot)) {}

    /// The largest stamp, for the skew bound.
    fn newest_stamp(&self) -> Option<Stamp> {
        None
    }

    /// Whether any part is of a type that this build does not know.
    fn has_unknown(&self) -> bool {
        false
    }
}

/// A store with operations.
pub trait Crdt: Store {
    /// What a user asks for.
    type Operation: Clone + Debug;
    /// What `prepare` makes of it: names the dots that it observed and made.
    type Effect: Clone + Debug + PartialEq;

    /// Turns an operation into its effect. Does not change the state. `None`: there is nothing to do.
    ///
    /// # Errors
    /// When the operation is not possible here and now.
    fn prepare(
        &self,
        operation: &Self::Operation,
        mint: &mut Mint<'_>,
    ) -> Result<Option<Self::Effect>, OperationError>;

    /// Applies an effect; exactly once and in causal order.
    fn effect(&mut self, effect: &Self::Effect);

    /// The store of the effect's delta.
    fn fragment(effect: &Self::Effect) -> Self;

    /// Adds all dots that the effect observed or made: the context of its delta.
    fn covers(effect: &Self::Effect, to: &mut Context);

    /// Appends an effect but for its new dots. `after` is what the origin had seen; it has all other dots.
    fn encode_effect(effect: &Self::Effect, after: &Context, to: &mut Writer);

    /// Reads an effect whose first new dot is `dot`, which is not in `after`.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of an effect.
    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        depth: u32,
    ) -> Result<Self::Effect, DecodeError>;
}

/// Makes new dots for one operation.
#[derive(Debug)]
pub struct Mint<'a> {
    replica: Replica,
    context: &'a Context,
    next: u64,
    /// Maps around what is written.
    depth: u32,
}

impl<'a> Mint<'a> {
    /// The replica's dots go on after its last one in the context.
    #[must_use]
    pub fn new(replica: Replica, context: &'a Context) -> Self {
        Self {
            replica,
            context,
            next: context.last_of(replica).saturating_add(1),
            depth: 0,
        }
    }

    /// Who writes.
    #[must_use]
    pub fn replica(&self) -> Replica {
        self.replica
    }

    /// Goes into a map; says how many were around it.
    pub(crate) fn enter(&mut self) -> u32 {
        self.depth += 1;
        self.depth - 1
    }

    /// The next dot.
    ///
    /// # Errors
    /// When the replica was retired or its numbers are used up.
    pub fn dot(&mut self) -> Result<Dot, OperationError> {
        self.dots(1)
    }

    /// The first of `count` consecutive dots.
    ///
    /// # Errors
    /// As `dot`.
    pub fn dots(&mut self, count: u64) -> Result<Dot, OperationError> {
        let first = self.next;
        let after = first.saturating_add(count);
        if after > self.replica.end() || self.context.is_retired(self.replica) {
            return Err(OperationError::Retired {
                replica: self.replica,
            });
        }
        self.next = after;
        Ok(Dot {
            slot: self.replica.slot(),
            counter: first,
        })
    }

    /// Whether the dot is of this replica, or of an earlier incarnation of its slot when all of them are retired: a share
    /// that it may carry on. As long as one before it may still write, that one may carry on the same.
    #[must_use]
    pub fn owns(&self, dot: Dot) -> bool {
        dot.slot == self.replica.slot()
            && dot.counter <= self.replica.end()
            && (dot.counter > self.replica.base() || self.context.contains(self.replica.before()))
    }

    /// What the writer has seen.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.context
    }
}

pub(crate) fn cover(to: &mut Context, dots: &[Dot]) {
    for dot in dots {
        to.insert_interval(Interval::one(*dot));
    }
}
