//! The order of runs: finding the place of a new run, splitting and merging. Insertion keeps the order right without ever
//! walking the whole tree.

use super::run::{Content, Place, Run};
use super::{Element, Sequence};
use crate::context::{Context, Interval};
use crate::dot::Dot;

/// A position in the order; nodes without a position are after everything.
type Position = (usize, u64);
const END: Position = (usize::MAX, 0);

impl<T: Element> Sequence<T> {
    /// Where a run is in the order.
    pub(super) fn order_of(&self, first: Dot) -> Option<usize> {
        let near = self.hint.saturating_sub(2);
        let close = self
            .order
            .iter()
            .skip(near)
            .take(5)
            .position(|entry| entry.0 == first)
            .map(|index| near + index);
        close.or_else(|| self.order.iter().position(|entry| entry.0 == first))
    }

    fn position(&self, dot: Dot) -> Option<Position> {
        let (run, offset) = self.locate(dot)?;
        Some((self.order_of(run.first)?, offset))
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

    /// The child of `parent` in whose subtree the node is, with its place.
    fn child_towards(&self, node: Dot, parent: Option<Dot>) -> Option<(Dot, Place)> {
        let mut current = node;
        // Each step leaves a run for its parent's; a faulty peer's cycle ends with the count.
        for _ in 0..=self.runs.len() {
            let (run, offset) = self.locate(current)?;
            if run.place.is_none() {
                return parent.is_none().then(|| (current, self.effective(current, None)));
            }
            if let Some(parent) = parent
                && let Some(inside) = parent.counter.checked_sub(run.first.counter)
                && parent.slot == run.first.slot
                && inside < offset
            {
                return Some((
                    parent.next(),
                    self.effective(parent.next(), run.place_at(inside + 1)),
                ));
            }
            let place = self.effective(run.first, run.place);
            if place.parent == parent {
                return Some((run.first, place));
            }
            current = place.parent?;
        }
        None
    }

    fn origin_position(&self, place: &Place) -> Position {
        place
            .right_origin
            .and_then(|origin| self.position(origin))
            .unwrap_or(END)
    }

    /// Whether a new right child comes before a sibling: further right origin first, then by key.
    fn is_before(&self, new: &Place, sibling: &Place) -> bool {
        if new.right_origin == sibling.right_origin {
            return new.key < sibling.key;
        }
        let (origin, other) = (self.origin_position(new), self.origin_position(sibling));
        origin > other || (origin == other && new.key < sibling.key)
    }

    /// Puts a run at its place. Its parent and right origin are here, or it hangs on the root.
    pub(super) fn place_run(&mut self, run: Run<T>) {
        if self.is_dangling(&run) {
            self.dangling += 1;
        }
        let place = self.effective(run.first, run.place);
        let at = if place.left {
            self.left_gap(&place)
        } else {
            self.right_gap(&place)
        };
        self.hint = at;
        self.visible += u64::from(run.visible());
        self.nodes += run.len();
        self.order.insert(at, (run.first, run.visible()));
        self.runs.insert(run.first, run);
        self.merge_before(at);
    }

    /// Index in the order for a new left child: after left siblings with smaller keys, before the parent.
    fn left_gap(&mut self, place: &Place) -> usize {
        let Some(parent) = place.parent else { return 0 };
        let Some((index, offset)) = self.position(parent) else {
            return 0;
        };
        if offset > 0 {
            return self.split_at(index, offset);
        }
        let mut at = index;
        while let Some((first, _)) = at.checked_sub(1).and_then(|before| self.order.get(before)) {
            let Some(last) = self.runs.get(first).map(Run::last) else {
                break;
            };
            match self.child_towards(last, Some(parent)) {
                Some((_, sibling)) if sibling.left && sibling.key >= place.key => at -= 1,
                _ => break,
            }
        }
        at
    }

    /// Index in the order for a new right child: after the parent and the right siblings that come first.
    fn right_gap(&mut self, place: &Place) -> usize {
        let mut at = 0;
        if let Some((index, offset)) = place.parent.and_then(|parent| self.position(parent)) {
            let next = self.order.get(index).and_then(|entry| self.runs.get(&entry.0));
            if let Some(run) = next.filter(|run| offset + 1 < run.len()) {
                // The next node of the parent's own run is a sibling.
                let sibling = run.place_at(offset + 1);
                if sibling.is_none_or(|sibling| self.is_before(place, &sibling)) {
                    return self.split_at(index, offset + 1);
                }
            }
            at = index + 1;
        }
        let mut skipped = None;
        while let Some((first, _)) = self.order.get(at) {
            // A child of the root that has left descendants is not the first of its subtree; climbing finds it.
            match self.child_towards(*first, place.parent) {
                Some((child, _)) if skipped == Some(child) => {}
                Some((child, sibling)) if !sibling.left && !self.is_before(place, &sibling) => {
                    skipped = Some(child);
                }
                _ => break,
            }
            at += 1;
        }
        at
    }

    /// Splits the run at an index of the order; gives the index of the second part.
    fn split_at(&mut self, index: usize, offset: u64) -> usize {
        if let Some(entry) = self.order.get_mut(index)
            && let Some(run) = self.runs.get_mut(&entry.0)
        {
            let rest = run.split_off(offset);
            entry.1 = run.visible();
            self.order.insert(index + 1, (rest.first, rest.visible()));
            if rest.place.is_none() {
                self.dangling += 1;
            }
            self.runs.insert(rest.first, rest);
        }
        index + 1
    }

    /// Merges the run at an index of the order into the one before, where they go on.
    fn merge_before(&mut self, index: usize) -> bool {
        let pair = index
            .checked_sub(1)
            .and_then(|before| Some((self.order.get(before)?.0, self.order.get(index)?.0)));
        let Some((before, after)) = pair else { return false };
        let fits = match (self.runs.get(&before), self.runs.get(&after)) {
            (Some(before), Some(after)) => before.can_join(after),
            _ => false,
        };
        if !fits {
            return false;
        }
        if let Some(next) = self.runs.remove(&after)
            && let Some(run) = self.runs.get_mut(&before)
        {
            if next.place.is_none() {
                self.dangling = self.dangling.saturating_sub(1);
            }
            run.append(next);
            let visible = run.visible();
            self.order.remove(index);
            if let Some(entry) = self.order.get_mut(index - 1) {
                entry.1 = visible;
            }
            self.hint = index - 1;
        }
        true
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
            let Some((run, offset)) = self.locate(next) else {
                // Nothing here: go on with the next run in the range.
                match self.runs.range(next..=end).next() {
                    Some((first, _)) => next = *first,
                    None => return,
                }
                continue;
            };
            let (first, length) = (run.first, run.len());
            let Some(mut index) = self.order_of(first) else {
                return;
            };
            if offset > 0 {
                index = self.split_at(index, offset);
            }
            let count = (length - offset).min(end.counter - next.counter + 1);
            if offset + count < length {
                self.split_at(index, count);
            }
            if let Some(entry) = self.order.get_mut(index)
                && let Some(run) = self.runs.get_mut(&entry.0)
            {
                let by = match run.content {
                    Content::Deleted { by: before, .. } => by.min(before),
                    Content::Alive(_) => by,
                };
                run.content = Content::Deleted { by, count };
                self.visible = self.visible.saturating_sub(u64::from(entry.1));
                entry.1 = 0;
            }
            self.hint = index;
            self.merge_before(index + 1);
            self.merge_before(index);
            next = next.after(count);
        }
    }

    /// The entry of the order that has a visible element, and the offset in it; looks from the nearer end.
    pub(super) fn find_visible(&self, index: u64) -> Option<(usize, u64)> {
        if index >= self.visible {
            return None;
        }
        if index < self.visible / 2 {
            let mut before = 0;
            for (at, (_, visible)) in self.order.iter().enumerate() {
                let after = before + u64::from(*visible);
                if index < after {
                    return Some((at, index - before));
                }
                before = after;
            }
            return None;
        }
        let mut after = self.visible;
        for (at, (_, visible)) in self.order.iter().enumerate().rev() {
            let before = after.saturating_sub(u64::from(*visible));
            if index >= before {
                return Some((at, index - before));
            }
            after = before;
        }
        None
    }

    /// The visible nodes before and at an index.
    fn neighbours(&self, index: u64) -> (Option<Dot>, Option<Dot>) {
        let Some(before) = index.checked_sub(1) else {
            return (None, self.anchor(0));
        };
        let Some((at, offset)) = self.find_visible(before) else {
            return (None, None);
        };
        let Some((first, visible)) = self.order.get(at) else {
            return (None, None);
        };
        let left = first.after(offset);
        if offset + 1 < u64::from(*visible) {
            return (Some(left), Some(left.next()));
        }
        let right = self
            .order
            .iter()
            .skip(at + 1)
            .find(|(_, visible)| *visible > 0)
            .map(|(first, _)| *first);
        (Some(left), right)
    }

    /// Place for new nodes before the visible element at an index: refers to visible nodes only.
    pub(super) fn place_before(&self, index: u64, first: Dot) -> Place {
        let (left, right) = self.neighbours(index);
        let root = Place {
            level: 0,
            key: first,
            parent: None,
            left: false,
            right_origin: None,
        };
        let Some(next) = right else {
            return Place { parent: left, ..root };
        };
        // The right neighbour is below the left one exactly when a climb from it meets a right child of the left one.
        match self.child_towards(next, left) {
            Some((_, place)) if !place.left => Place {
                parent: right,
                left: true,
                ..root
            },
            _ => Place {
                parent: left,
                right_origin: right,
                ..root
            },
        }
    }

    /// Nodes of visible elements from `start` to before `end`.
    pub(super) fn visible_nodes(&self, start: u64, end: u64) -> Context {
        let mut nodes = Context::new();
        let mut before = 0;
        for (first, visible) in &self.order {
            let visible = u64::from(*visible);
            let (from, to) = (start.max(before), end.min(before + visible));
            if from < to {
                let (from, to) = (first.after(from - before), first.after(to - before - 1));
                nodes.insert_interval(Interval {
                    slot: first.slot,
                    first: from.counter,
                    last: to.counter,
                });
            }
            before += visible;
            if before >= end {
                break;
            }
        }
        nodes
    }
}
