//! Ordered lists and text: FugueMax in runs; `docs/CRDT.md` §4.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::error::{DecodeError, LimitError, OperationError};
use crate::store::{Crdt, Join, Mint, Store};
use crate::value::Value;

mod bytes;
mod collect;
mod elements;
mod list;
mod order;
mod pieces;
mod run;
#[cfg(test)]
mod specification;

use list::RunList;
pub use run::Place;
use run::{Content, Run};

/// Nodes of one sequence, tombstones included.
const NODES_MAX: u64 = 1 << 20;
const LIMIT: LimitError = LimitError {
    what: "nodes of a sequence",
    limit: NODES_MAX,
};
/// Deltas with more runs are joined node by node.
const SMALL_RUNS: usize = 16;
const SMALL_INTERVALS: usize = 64;

/// What a sequence holds.
pub trait Element: Clone + Debug + Ord {
    /// Tag of the sequence type.
    const TAG: u64;
    /// Name of the sequence type.
    const NAME: &'static str;
    /// Appends the encoding of consecutive elements.
    fn encode_run(run: &[Self], to: &mut Writer);
    /// Reads so many.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of so many elements.
    fn decode_run(count: u64, from: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError>;
    /// Whether every reader takes it.
    ///
    /// # Errors
    /// As `Value::check`.
    fn check(&self) -> Result<(), OperationError> {
        Ok(())
    }
}

/// A list of values.
pub type List = Sequence<Value>;
/// Text: a list of Unicode scalar values.
pub type Text = Sequence<char>;

/// What a user asks of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceOperation<T> {
    /// Inserts before the element at the index, or at the end.
    Insert {
        /// From 0 to the length.
        index: u64,
        /// What to insert.
        values: Vec<T>,
    },
    /// Deletes elements.
    Delete {
        /// First.
        index: u64,
        /// How many.
        count: u64,
    },
}

/// Effect on a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceEffect<T> {
    /// New nodes with consecutive dots, each the right child of the one before.
    Insert {
        /// Dot of the first.
        first: Dot,
        /// Place of the first.
        place: Place,
        /// Elements.
        values: Vec<T>,
    },
    /// Nodes become tombstones.
    Delete {
        /// Which.
        nodes: Context,
        /// Dot of the deletion.
        dot: Dot,
    },
}

/// A run, and how it is ordered now. The latter follows from all runs.
#[derive(Clone, Debug)]
struct Slot<T> {
    run: Run<T>,
    /// What orders its first node: its place, or the root where that refers to what is absent.
    effective: Place,
    /// Chunk of the list that has its entry.
    chunk: u32,
}

/// An ordered sequence.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    /// By first dot. A run's nodes are contiguous both in dots and in order.
    slots: BTreeMap<Dot, Slot<T>>,
    /// The order of the runs.
    list: RunList,
    /// Left children of nodes in their order; each begins a run.
    lefts: BTreeMap<Dot, Vec<Dot>>,
    /// Right children of nodes in their order, none is the root; those that begin a run.
    rights: BTreeMap<Option<Dot>, Vec<Dot>>,
    /// Runs whose place is not known or refers to a node that is absent. They are not final: what arrives may move them.
    dangling: usize,
    /// Sum over the runs.
    nodes: u64,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            list: RunList::default(),
            lefts: BTreeMap::new(),
            rights: BTreeMap::new(),
            dangling: 0,
            nodes: 0,
        }
    }
}

impl<T: Element> PartialEq for Sequence<T> {
    fn eq(&self, other: &Self) -> bool {
        // Where runs are cut depends on the order, which depends on the set of nodes only.
        self.slots.len() == other.slots.len() && self.runs().eq(other.runs())
    }
}

impl<T: Element> Sequence<T> {
    /// Visible elements.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.list.visible()
    }

    /// Whether nothing is visible.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visible elements in order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.list
            .iter_from(self.list.start())
            .filter_map(|(first, _)| self.slots.get(&first))
            .flat_map(|slot| slot.run.alive())
    }

    /// Runs by dot.
    fn runs(&self) -> impl Iterator<Item = &Run<T>> {
        self.slots.values().map(|slot| &slot.run)
    }

    /// Nodes that are kept, tombstones included.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Dot of the visible element at the index: an anchor that stays with the element.
    #[must_use]
    pub fn anchor(&self, index: u64) -> Option<Dot> {
        let (at, offset) = self.list.find_visible(index)?;
        Some(self.list.get(at)?.0.after(offset))
    }

    /// Where the anchor is now, counted in visible elements; for a deleted element, where it was.
    #[must_use]
    pub fn index_of(&self, anchor: Dot) -> Option<u64> {
        let (slot, offset) = self.locate(anchor)?;
        let at = self.list.find(slot.chunk, slot.run.first)?;
        let before = self.list.visible_before(at);
        Some(before + if slot.run.is_alive() { offset } else { 0 })
    }

    /// The run that has the node, and the offset in it.
    fn locate(&self, dot: Dot) -> Option<(&Slot<T>, u64)> {
        let (_, slot) = self.slots.range(..=dot).next_back()?;
        let offset = dot.counter.checked_sub(slot.run.first.counter)?;
        (slot.run.first.slot == dot.slot && offset < slot.run.len()).then_some((slot, offset))
    }

    /// How many nodes have dots in the context.
    fn nodes_in(&self, context: &Context) -> u64 {
        let mut count = 0;
        for interval in context.intervals() {
            for run in self.overlapping(*interval) {
                let from = run.first.counter.max(interval.first);
                let to = run.last().counter.min(interval.last);
                count += to.saturating_add(1).saturating_sub(from);
            }
        }
        count
    }

    /// Whether a run's nodes, which are all here, are where it says; it may say nothing.
    fn agrees_on_places(&self, run: &Run<T>) -> bool {
        run.place.is_none()
            || self.overlapping(run.interval()).all(|mine| {
                let start = mine.first.counter.max(run.first.counter);
                mine.place_at(start - mine.first.counter) == run.place_at(start - run.first.counter)
            })
    }

    /// Joins a small delta in place. `None`: nothing was changed, the general way has to be taken.
    fn join_small(&mut self, theirs: &Self, join: &Join<'_>) -> Option<()> {
        if theirs.slots.len() > SMALL_RUNS || join.theirs.intervals().len() > SMALL_INTERVALS {
            return None;
        }
        let mut common = 0;
        let mut fresh = Vec::new();
        for run in theirs.runs() {
            let mine = self.locate(run.first);
            if mine.is_some() {
                // A deletion of nodes that are all here.
                let nodes = Context::from(run.interval());
                if self.nodes_in(&nodes) != run.len()
                    || !matches!(run.content, Content::Deleted { .. })
                    || !self.agrees_on_places(run)
                {
                    return None;
                }
                common += run.len();
            } else if join.mine.overlap(&run.interval().into()) == 0 {
                let place = run.place.filter(|_| self.dangling == 0)?;
                fresh.push((run, place));
            } else {
                return None;
            }
        }
        if self.nodes_in(join.theirs) != common {
            return None;
        }
        let known = |dot: Option<Dot>| dot.is_none_or(|dot| self.locate(dot).is_some());
        // Places within the delta itself go the general way, but for the runs that follow each other.
        if !fresh
            .iter()
            .all(|(_, place)| known(place.parent) && known(place.right_origin))
        {
            return None;
        }
        for (run, _) in fresh {
            self.place_run(run.clone());
        }
        for run in theirs.runs() {
            if let Content::Deleted { by, .. } = run.content {
                self.delete_range(run.interval(), by);
            }
        }
        Some(())
    }
}

impl<T: Element> Store for Sequence<T> {
    const TAG: u64 = T::TAG;
    const NAME: &'static str = T::NAME;

    fn is_bottom(&self) -> bool {
        self.slots.is_empty()
    }

    fn dots(&self, _guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
        self.runs().for_each(|run| visit(run.interval()));
    }

    fn deletions(&self, visit: &mut dyn FnMut(Dot)) {
        for run in self.runs() {
            match run.content {
                Content::Deleted { by, .. } if by != Dot::STABLE => visit(by),
                _ => {}
            }
        }
    }

    fn fits(&self, theirs: &Self, join: &Join<'_>) -> Result<(), LimitError> {
        if self.nodes.saturating_add(theirs.nodes) <= NODES_MAX {
            return Ok(());
        }
        let nodes = |sequence: &Self| sequence.runs().map(Run::interval).collect::<Context>();
        let (mine, others) = (nodes(self), nodes(theirs));
        let mut all = mine.intersection(&others);
        all.join(&mine.difference(join.theirs));
        all.join(&others.difference(join.mine));
        if all.count() > u128::from(NODES_MAX) {
            return Err(LIMIT);
        }
        Ok(())
    }

    fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        if self.join_small(theirs, join).is_none() {
            self.join_runs(theirs, join);
        }
    }

    fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        self.runs_unknown_to(seen, context)
    }

    fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        for (dot, node) in self.elements() {
            let by = node.deleted_by().filter(|by| *by != Dot::STABLE);
            let dots = [Some(dot), by];
            let store = Self::from_elements(BTreeMap::from([(dot, node)]));
            match dots {
                [Some(dot), Some(by)] => emit(store, &[dot, by]),
                _ => emit(store, &[dot]),
            }
        }
    }

    fn incomplete(&self, visit: &mut dyn FnMut(Interval)) {
        let unplaced = self.runs().filter(|run| run.place.is_none());
        unplaced.for_each(|run| visit(run.interval()));
    }

    fn changed_by_collection(&self, visit: &mut dyn FnMut(Dot)) {
        let raised = |run: &&Run<T>| run.place.is_some_and(|place| place.level > 0);
        self.runs().filter(raised).for_each(|run| visit(run.first));
    }

    fn encode_body(&self, context: &Context, to: &mut Writer) {
        self.encode_runs(context, to);
    }

    fn decode_body(from: &mut Reader<'_>, context: &Context, _depth: u32) -> Result<Self, DecodeError> {
        Self::decode_runs(from, context)
    }

    fn collect(&mut self, stable: &Context) {
        self.collect_tombstones(stable);
    }
}

impl<T: Element> Crdt for Sequence<T> {
    type Operation = SequenceOperation<T>;
    type Effect = SequenceEffect<T>;

    fn prepare(
        &self,
        operation: &SequenceOperation<T>,
        mint: &mut Mint<'_>,
    ) -> Result<Option<SequenceEffect<T>>, OperationError> {
        let length = self.len();
        match operation {
            SequenceOperation::Insert { values, .. } if values.is_empty() => Ok(None),
            SequenceOperation::Insert { index, values } => {
                if *index > length {
                    return Err(OperationError::OutOfRange {
                        index: *index,
                        length,
                    });
                }
                let count = values.len() as u64;
                if self.nodes().saturating_add(count) > NODES_MAX {
                    return Err(LIMIT.into());
                }
                values.iter().try_for_each(Element::check)?;
                let first = mint.dots(count)?;
                let place = self.place_before(*index, first);
                Ok(Some(SequenceEffect::Insert {
                    first,
                    place,
                    values: values.clone(),
                }))
            }
            SequenceOperation::Delete { count: 0, .. } => Ok(None),
            SequenceOperation::Delete { index, count } => {
                let end = index.saturating_add(*count);
                if end > length {
                    return Err(OperationError::OutOfRange { index: end, length });
                }
                Ok(Some(SequenceEffect::Delete {
                    nodes: self.visible_nodes(*index, end),
                    dot: mint.dot()?,
                }))
            }
        }
    }

    fn effect(&mut self, effect: &SequenceEffect<T>) {
        match effect {
            SequenceEffect::Insert { first, place, values } => {
                let run = Run {
                    first: *first,
                    place: Some(*place),
                    content: Content::Alive(values.clone()),
                };
                if self.is_dangling(&run) {
                    // Its parent went by a reset; everything is placed anew.
                    let mut runs = std::mem::take(self).into_dot_runs();
                    runs.push(run);
                    *self = Self::from_runs(runs);
                } else {
                    self.place_run(run);
                }
            }
            SequenceEffect::Delete { nodes, dot } => {
                for interval in nodes.intervals() {
                    self.delete_range(*interval, *dot);
                }
            }
        }
    }

    fn fragment(effect: &SequenceEffect<T>) -> Self {
        let runs = match effect {
            SequenceEffect::Insert { first, place, values } => {
                vec![Run {
                    first: *first,
                    place: Some(*place),
                    content: Content::Alive(values.clone()),
                }]
            }
            SequenceEffect::Delete { nodes, dot } => {
                let run = |interval: &Interval| Run {
                    first: Dot {
                        slot: interval.slot,
                        counter: interval.first,
                    },
                    place: None,
                    content: Content::Deleted {
                        by: *dot,
                        count: interval.last - interval.first + 1,
                    },
                };
                nodes.intervals().iter().map(run).collect()
            }
        };
        Self::from_runs(runs)
    }

    fn covers(effect: &SequenceEffect<T>, to: &mut Context) {
        match effect {
            SequenceEffect::Insert { first, values, .. } => {
                let last = first
                    .counter
                    .saturating_add((values.len() as u64).saturating_sub(1));
                to.insert_interval(Interval {
                    slot: first.slot,
                    first: first.counter,
                    last,
                });
            }
            SequenceEffect::Delete { nodes, dot } => {
                to.join(nodes);
                to.insert(*dot);
            }
        }
    }

    fn encode_effect(effect: &SequenceEffect<T>, after: &Context, to: &mut Writer) {
        bytes::encode_effect(effect, after, to);
    }

    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        _depth: u32,
    ) -> Result<SequenceEffect<T>, DecodeError> {
        bytes::decode_effect(from, after, dot)
    }
}
