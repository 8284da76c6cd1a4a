//! The tree of runs: finding the place of a new run, splitting and merging. Children are kept by parent, so a new run
//! finds its siblings without walking the sequence.

use super::list::At;
use super::run::{Content, Place, Run};
use super::{Element, Sequence, Slot};
use crate::context::{Context, Interval};
use crate::dot::Dot;

/// A position in the order.
type Position = (At, u64);

impl<T: Element> Sequence<T> {
    pub(super) fn position(&self, dot: Dot) -> Option<Position> {
        let (slot, offset) = self.locate(dot)?;
        Some((self.list.find(slot.chunk, slot.run.first)?, offset))
    }

    /// Whether the run's place is not known or refers to absent nodes.
    pub(super) fn is_dangling(&self, run: &Run<T>) -> bool {
        let absent = |dot: Option<Dot>| dot.is_some_and(|dot| self.locate(dot).is_none());
        run.place
            .is_none_or(|place| absent(place.parent) || absent(place.right_origin))
    }

    /// The place by which a node is ordered now: what refers to absent nodes hangs on the root.
    fn effective(&self, node: Dot, place: Option<Place>) -> Place {
        let root = Place {
            level: 0,
            key: node,
            parent: None,
            left: false,
            right_origin: None,
        };
        let Some(place) = place else { return root };
        match place.parent {
            Some(parent) if self.locate(parent).is_some() => place,
            Some(_) => Place {
                key: place.key,
                ..root
            },
            None => Place { left: false, ..place },
        }
    }

    /// Whether a new right child comes before a sibling: further right origin first, then by key. No origin is the end,
    /// which is furthest.
    fn is_before(&self, new: &Place, sibling: &Place) -> bool {
        if new.right_origin == sibling.right_origin {
            return new.key < sibling.key;
        }
        let position = |place: &Place| place.right_origin.and_then(|origin| self.position(origin));
        match (position(new), position(sibling)) {
            (None, None) => new.key < sibling.key,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(origin), Some(other)) => origin > other || (origin == other && new.key < sibling.key),
        }
    }

    fn effective_of(&self, first: Dot) -> Option<&Place> {
        self.slots.get(&first).map(|slot| &slot.effective)
    }

    /// Appends a run to the one that it goes on, if it is the only right child there: typing. Gives it back otherwise.
    fn append_run(&mut self, run: Run<T>) -> Option<Run<T>> {
        let Some(parent) = run.place.and_then(|place| place.parent) else {
            return Some(run);
        };
        let found = self.slots.range_mut(..=parent).next_back();
        let Some(slot) = found.map(|(_, slot)| slot).filter(|slot| slot.run.can_join(&run)) else {
            return Some(run);
        };
        if self.rights.contains_key(&Some(parent)) {
            return Some(run);
        }
        let Some(at) = self.list.find(slot.chunk, slot.run.first) else {
            return Some(run);
        };
        self.nodes += run.len();
        slot.run.append(run);
        self.list.set_visible(at, slot.run.visible());
        None
    }

    /// Puts a run at its place. Its parent and right origin are here, or it hangs on the root.
    pub(super) fn place_run(&mut self, run: Run<T>) {
        let Some(run) = self.append_run(run) else { return };
        if self.is_dangling(&run) {
            self.dangling += 1;
        }
        let effective = self.effective(run.first, run.place);
        let at = if effective.left {
            self.left_gap(&effective, run.first)
        } else {
            self.right_gap(&effective, run.first)
        };
        self.nodes += run.len();
        let at = self.put(at, run, effective);
        self.merge_before(at);
    }

    /// Enters a run whose siblings know it.
    fn put(&mut self, at: At, run: Run<T>, effective: Place) -> At {
        let entry = (run.first, run.visible());
        let slot = Slot {
            run,
            effective,
            chunk: 0,
        };
        self.slots.insert(entry.0, slot);
        let slots = &mut self.slots;
        self.list.insert(at, entry, &mut |first, chunk| {
            if let Some(slot) = slots.get_mut(&first) {
                slot.chunk = chunk;
            }
        })
    }

    /// Where a new left child goes: after left siblings with smaller keys, before the parent. Enters it as a sibling.
    fn left_gap(&mut self, place: &Place, first: Dot) -> At {
        let Some(parent) = place.parent else {
            return self.list.start();
        };
        let siblings = self.lefts.get(&parent).map_or(&[][..], Vec::as_slice);
        let index = siblings.partition_point(|sibling| {
            self.effective_of(*sibling)
                .is_some_and(|other| other.key < place.key)
        });
        let at = match siblings.get(index) {
            Some(next) => self.leftmost(*next),
            None => self.before(parent),
        };
        self.lefts.entry(parent).or_default().insert(index, first);
        at
    }

    /// Where a new right child goes: after the parent and the right siblings that come first. Enters it as a sibling.
    fn right_gap(&mut self, place: &Place, first: Dot) -> At {
        if let Some(parent) = place.parent
            && let Some((slot, offset)) = self.locate(parent)
            && offset + 1 < slot.run.len()
        {
            // The next node of the parent's own run is the first sibling; without a place it is none.
            let next = slot.run.place_at(offset + 1);
            if next.is_none_or(|next| self.is_before(place, &next)) {
                let placed = next.is_some();
                let at = self.before(parent.next());
                let index = if placed { 0 } else { self.right_index(place) };
                self.rights.entry(place.parent).or_default().insert(index, first);
                return at;
            }
        }
        let index = self.right_index(place);
        let siblings = self.rights.get(&place.parent).map_or(&[][..], Vec::as_slice);
        let at = match (siblings.get(index), place.parent) {
            (Some(next), _) => self.leftmost(*next),
            (None, Some(parent)) => self.after_subtree(parent),
            (None, None) => match siblings.last() {
                Some(last) => self.after_subtree(*last),
                None => self.list.start(),
            },
        };
        self.rights.entry(place.parent).or_default().insert(index, first);
        at
    }

    /// How many of the right children that have runs of their own come first.
    fn right_index(&self, place: &Place) -> usize {
        let siblings = self.rights.get(&place.parent).map_or(&[][..], Vec::as_slice);
        siblings.partition_point(|sibling| {
            self.effective_of(*sibling)
                .is_some_and(|other| !self.is_before(place, other))
        })
    }

    /// The first entry of a subtree.
    fn leftmost(&self, top: Dot) -> At {
        let mut first = top;
        while let Some(next) = self.lefts.get(&first).and_then(|lefts| lefts.first()) {
            first = *next;
        }
        let slot = self.slots.get(&first);
        slot.and_then(|slot| self.list.find(slot.chunk, first))
            .unwrap_or(self.list.start())
    }

    /// The child through which the right end of a node's subtree is found; none when its run ends it.
    fn rightmost_child(&self, node: Dot) -> Option<Dot> {
        let last = self.locate(node)?.0.run.last();
        let (_, children) = self.rights.range(Some(node)..=Some(last)).next()?;
        children.last().copied()
    }

    fn after_subtree(&self, top: Dot) -> At {
        let mut node = top;
        while let Some(next) = self.rightmost_child(node) {
            node = next;
        }
        self.position(node)
            .map_or(self.list.start(), |(at, _)| self.list.after(at))
    }

    /// The entry that begins with a node; splits its run there.
    fn before(&mut self, node: Dot) -> At {
        match self.position(node) {
            None => self.list.start(),
            Some((at, 0)) => at,
            Some((at, offset)) => self.split_at(at, offset),
        }
    }

    /// Splits the run of an entry; gives the entry of the second part.
    fn split_at(&mut self, at: At, offset: u64) -> At {
        let slot = self
            .list
            .get(at)
            .and_then(|(first, _)| self.slots.get_mut(&first));
        let Some(slot) = slot else { return at };
        let rest = slot.run.split_off(offset);
        let visible = slot.run.visible();
        self.list.set_visible(at, visible);
        let effective = self.effective(rest.first, rest.place);
        if rest.place.is_none() {
            self.dangling += 1;
        }
        let index = if rest.place.is_some() {
            0
        } else {
            self.right_index(&effective)
        };
        self.rights
            .entry(effective.parent)
            .or_default()
            .insert(index, rest.first);
        self.put(self.list.after(at), rest, effective)
    }

    /// Merges the run of an entry into the one before, where they go on.
    fn merge_before(&mut self, at: At) -> Option<At> {
        let before = self.list.previous(at)?;
        let (first, next) = (self.list.get(before)?.0, self.list.get(at)?.0);
        let fits = self.slots.get(&first)?.run.can_join(&self.slots.get(&next)?.run);
        if !fits {
            return None;
        }
        let slot = self.slots.remove(&next)?;
        if slot.run.place.is_none() {
            self.dangling = self.dangling.saturating_sub(1);
        }
        let parent = slot.effective.parent;
        if let Some(siblings) = self.rights.get_mut(&parent) {
            siblings.retain(|sibling| *sibling != next);
            if siblings.is_empty() {
                self.rights.remove(&parent);
            }
        }
        let run = &mut self.slots.get_mut(&first)?.run;
        run.append(slot.run);
        let visible = run.visible();
        self.list.remove(at);
        self.list.set_visible(before, visible);
        Some(before)
    }

    /// Turns nodes into tombstones; of two deletions the smaller dot stays.
    pub(super) fn delete_range(&mut self, range: Interval, by: Dot) {
        let mut next = Dot {
            slot: range.slot,
            counter: range.first,
        };
        let end = Dot {
            slot: range.slot,
            counter: range.last,
        };
        while next <= end {
            let Some((slot, offset)) = self.locate(next) else {
                // Nothing here: go on with the next run in the range.
                match self.slots.range(next..=end).next() {
                    Some((first, _)) => next = *first,
                    None => return,
                }
                continue;
            };
            let count = (slot.run.len() - offset).min(end.counter - next.counter + 1);
            let whole = offset + count == slot.run.len();
            if let Content::Deleted { by: before, .. } = slot.run.content
                && before <= by
            {
                next = next.after(count);
                continue;
            }
            let mut at = self.before(next);
            if !whole {
                let rest = self.split_at(at, count);
                at = self.list.previous(rest).unwrap_or(at);
            }
            if let Some(slot) = self.slots.get_mut(&next) {
                slot.run.content = Content::Deleted { by, count };
                self.list.set_visible(at, 0);
            }
            if let Some(after) = self.list.next(at) {
                self.merge_before(after);
            }
            // Merging the one after leaves this entry where it is.
            self.merge_before(at);
            next = next.after(count);
        }
    }

    /// The visible nodes before and at an index.
    fn neighbours(&self, index: u64) -> (Option<Dot>, Option<Dot>) {
        let Some(before) = index.checked_sub(1) else {
            return (None, self.anchor(0));
        };
        let found = self.list.find_visible(before);
        let Some((at, offset, (first, visible))) =
            found.and_then(|(at, offset)| Some((at, offset, self.list.get(at)?)))
        else {
            return (None, None);
        };
        let left = first.after(offset);
        if offset + 1 < u64::from(visible) {
            return (Some(left), Some(left.next()));
        }
        (Some(left), self.list.next_visible(at))
    }

    /// Place for new nodes before the visible element at an index: refers to visible nodes only.
    pub(super) fn place_before(&self, index: u64, first: Dot) -> Place {
        let (left, right) = self.neighbours(index);
        let place = Place {
            level: 0,
            key: first,
            parent: left,
            left: false,
            right_origin: None,
        };
        let Some(next) = right else { return place };
        // Everything is below the root.
        if left.is_none_or(|left| self.is_right_below(next, left)) {
            Place {
                parent: right,
                left: true,
                ..place
            }
        } else {
            Place {
                right_origin: right,
                ..place
            }
        }
    }

    /// Whether the node, which is after `top` in the order, is in its right subtree. Climbs from the node, and in turn
    /// goes down to the end of the subtree: after typing forwards the first is short, after typing backwards the second.
    fn is_right_below(&self, node: Dot, top: Dot) -> bool {
        let Some(target) = self.position(node) else {
            return false;
        };
        let (mut climbing, mut end) = (node, top);
        loop {
            let Some((slot, offset)) = self.locate(climbing) else {
                return false;
            };
            let inside = top.counter.checked_sub(slot.run.first.counter);
            if slot.run.first.slot == top.slot && inside.is_some_and(|inside| inside < offset) {
                return slot.run.place.is_some();
            }
            match slot.effective.parent {
                Some(parent) if parent == top => return !slot.effective.left,
                Some(parent) => climbing = parent,
                None => return false,
            }
            match self.rightmost_child(end) {
                Some(child) => end = child,
                None => {
                    let last = self.locate(end).map(|(slot, _)| slot.run.last());
                    return last.and_then(|last| self.position(last)) >= Some(target);
                }
            }
        }
    }

    /// Nodes of visible elements from `start` to before `end`.
    pub(super) fn visible_nodes(&self, start: u64, end: u64) -> Context {
        let mut nodes = Vec::new();
        let Some((at, mut offset)) = self.list.find_visible(start) else {
            return Context::new();
        };
        let mut left = end.saturating_sub(start);
        for (first, visible) in self.list.iter_from(at) {
            let count = u64::from(visible).saturating_sub(offset).min(left);
            if count > 0 {
                let first = first.after(offset);
                nodes.push(Interval {
                    slot: first.slot,
                    first: first.counter,
                    last: first.after(count - 1).counter,
                });
            }
            offset = 0;
            left -= count;
            if left == 0 {
                break;
            }
        }
        nodes.into_iter().collect()
    }
}
