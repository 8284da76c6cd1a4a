//! Causal contexts: sets of dots as intervals.

use crate::dot::{Dot, Replica};

mod bytes;

/// Dots of one slot from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Slot.
    pub slot: u16,
    /// First counter.
    pub first: u64,
    /// Last counter, at least `first`.
    pub last: u64,
}

impl Interval {
    /// Just one dot.
    #[must_use]
    pub fn one(dot: Dot) -> Self {
        Self {
            slot: dot.slot,
            first: dot.counter,
            last: dot.counter,
        }
    }

    /// How many dots.
    #[must_use]
    pub fn count(self) -> u128 {
        u128::from(self.last.saturating_sub(self.first)) + 1
    }

    pub(crate) fn contains(self, dot: Dot) -> bool {
        self.slot == dot.slot && self.first <= dot.counter && dot.counter <= self.last
    }
}

/// A set of dots. Invariant: intervals ascend, are disjoint, and adjacent ones are merged, so equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Context {
    intervals: Vec<Interval>,
}

impl Context {
    /// No dots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are no dots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The intervals, ascending.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// How many dots; a retired range counts in full.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.intervals.iter().map(|interval| interval.count()).sum()
    }

    /// Index of the first interval that ends at or after the dot.
    fn position(&self, slot: u16, counter: u64) -> usize {
        self.intervals
            .partition_point(|interval| (interval.slot, interval.last) < (slot, counter))
    }

    /// Whether the dot is in the set.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.intervals
            .get(self.position(dot.slot, dot.counter))
            .is_some_and(|interval| interval.contains(dot))
    }

    /// Whether any dot of the interval is in the set.
    pub(crate) fn touches(&self, interval: Interval) -> bool {
        self.intervals
            .get(self.position(interval.slot, interval.first))
            .is_some_and(|found| found.slot == interval.slot && found.first <= interval.last)
    }

    /// How many dots of the interval are in the set.
    pub(crate) fn overlap_of(&self, a: Interval) -> u128 {
        let start = self.position(a.slot, a.first);
        let found = self.intervals.iter().skip(start);
        found
            .take_while(|b| b.slot == a.slot && b.first <= a.last)
            .map(|b| u128::from(a.last.min(b.last) - a.first.max(b.first)) + 1)
            .sum()
    }

    /// Index of the interval that has the dot, and the interval.
    pub(crate) fn find(&self, dot: Dot) -> Option<(usize, Interval)> {
        let index = self.position(dot.slot, dot.counter);
        let interval = *self.intervals.get(index)?;
        interval.contains(dot).then_some((index, interval))
    }

    /// Adds a dot; says whether it was new.
    pub fn insert(&mut self, dot: Dot) -> bool {
        if self.contains(dot) {
            return false;
        }
        self.insert_interval(Interval::one(dot));
        true
    }

    /// Adds every dot of the interval.
    pub fn insert_interval(&mut self, new: Interval) {
        let before = new.first.saturating_sub(1);
        let start = self.position(new.slot, before);
        let mut merged = new;
        let mut end = start;
        while let Some(next) = self.intervals.get(end) {
            if next.slot != new.slot || next.first > merged.last.saturating_add(1) {
                break;
            }
            merged.first = merged.first.min(next.first);
            merged.last = merged.last.max(next.last);
            end += 1;
        }
        match self.intervals.get_mut(start) {
            Some(place) if end == start + 1 => *place = merged,
            _ => {
                self.intervals.splice(start..end, [merged]);
            }
        }
    }

    /// Adds every dot of the other set.
    pub fn join(&mut self, other: &Self) {
        if other.intervals.len() <= 4 {
            for interval in &other.intervals {
                self.insert_interval(*interval);
            }
            return;
        }
        let mine = std::mem::take(&mut self.intervals);
        let (mut left, mut right) = (mine.iter().peekable(), other.intervals.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => {
                    if a <= b {
                        left.next()
                    } else {
                        right.next()
                    }
                }
                (Some(_), None) => left.next(),
                (None, _) => right.next(),
            };
            let Some(next) = next else { break };
            self.push(*next);
        }
    }

    /// Appends an interval that does not begin before the last one; merges where they touch.
    pub(crate) fn push(&mut self, next: Interval) {
        match self.intervals.last_mut() {
            Some(last) if last.slot == next.slot && next.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(next.last);
            }
            _ => self.intervals.push(next),
        }
    }

    /// Dots in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let (small, large) = if self.intervals.len() <= other.intervals.len() {
            (self, other)
        } else {
            (other, self)
        };
        for a in &small.intervals {
            let start = large.position(a.slot, a.first);
            for b in large.intervals.iter().skip(start) {
                if b.slot != a.slot || b.first > a.last {
                    break;
                }
                both.push(Interval {
                    slot: a.slot,
                    first: a.first.max(b.first),
                    last: a.last.min(b.last),
                });
            }
        }
        both
    }

    /// How many dots are in both.
    pub(crate) fn overlap(&self, other: &Self) -> u128 {
        other.intervals.iter().map(|a| self.overlap_of(*a)).sum()
    }

    /// Dots that are here and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        for a in &self.intervals {
            let mut first = Some(a.first);
            let start = other.position(a.slot, a.first);
            for b in other.intervals.iter().skip(start) {
                let Some(from) = first else { break };
                if b.slot != a.slot || b.first > a.last {
                    break;
                }
                if b.first > from {
                    rest.push(Interval {
                        slot: a.slot,
                        first: from,
                        last: b.first - 1,
                    });
                }
                first = b.last.checked_add(1).filter(|next| *next <= a.last);
            }
            if let Some(from) = first {
                rest.push(Interval {
                    slot: a.slot,
                    first: from,
                    last: a.last,
                });
            }
        }
        rest
    }

    /// Whether every dot is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.intervals.iter().all(|a| {
            other
                .intervals
                .get(other.position(a.slot, a.first))
                .is_some_and(|b| b.slot == a.slot && b.first <= a.first && a.last <= b.last)
        })
    }

    /// The replica's last dot that is here, as a counter; the counter before its first dot when there is none.
    pub(crate) fn last_of(&self, replica: Replica) -> u64 {
        let after = self
            .intervals
            .partition_point(|i| (i.slot, i.first) <= (replica.slot(), replica.end()));
        after
            .checked_sub(1)
            .and_then(|index| self.intervals.get(index))
            .filter(|interval| interval.slot == replica.slot())
            .map_or(replica.base(), |interval| {
                interval.last.clamp(replica.base(), replica.end())
            })
    }

    /// Fills the dots that this and earlier incarnations of the slot never made. The caller knows that every member has
    /// all that they did make. Contexts with and without the filling join freely: those dots have no effects.
    pub fn retire(&mut self, replica: Replica) {
        // Up to the counter before the first dot of the next incarnation, so that the two intervals touch.
        let last = replica.end().saturating_add(1);
        self.insert_interval(Interval {
            slot: replica.slot(),
            first: 0,
            last,
        });
    }

    /// Whether the incarnation was retired.
    #[must_use]
    pub fn is_retired(&self, replica: Replica) -> bool {
        self.contains(Dot {
            slot: replica.slot(),
            counter: replica.end(),
        })
    }
}

impl From<Interval> for Context {
    fn from(interval: Interval) -> Self {
        Self {
            intervals: vec![interval],
        }
    }
}

impl FromIterator<Interval> for Context {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> Self {
        let mut sorted: Vec<Interval> = intervals.into_iter().collect();
        sorted.sort_unstable();
        let mut context = Self::new();
        for interval in sorted {
            context.push(interval);
        }
        context
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut sorted: Vec<Dot> = dots.into_iter().collect();
        sorted.sort_unstable();
        let mut context = Self::new();
        for dot in sorted {
            context.push(Interval::one(dot));
        }
        context
    }
}
