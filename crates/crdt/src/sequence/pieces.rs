//! Joining and comparing run by run. What takes part is cut into pieces that are on one side, or agree in their places.

use super::run::{Content, Place, Run};
use super::{Element, Sequence};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::store::Join;

/// Some consecutive nodes of a run.
pub(super) struct Piece<'a, T> {
    run: &'a Run<T>,
    from: u64,
    count: u64,
}

impl<T> Clone for Piece<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Piece<'_, T> {}

impl<'a, T: Element> Piece<'a, T> {
    pub(super) fn whole(run: &'a Run<T>) -> Self {
        Self {
            run,
            from: 0,
            count: run.len(),
        }
    }

    fn first(&self) -> Dot {
        self.run.first.after(self.from)
    }

    fn place(&self) -> Option<Place> {
        self.run.place_at(self.from)
    }

    fn alive(&self) -> Option<&'a [T]> {
        let range = usize::try_from(self.from).ok()?..usize::try_from(self.from + self.count).ok()?;
        match &self.run.content {
            Content::Alive(values) => values.get(range),
            Content::Deleted { .. } => None,
        }
    }

    fn deleted_by(&self) -> Option<Dot> {
        match self.run.content {
            Content::Alive(_) => None,
            Content::Deleted { by, .. } => Some(by),
        }
    }

    fn to_run(self) -> Run<T> {
        let content = match self.deleted_by() {
            Some(by) => Content::Deleted {
                by,
                count: self.count,
            },
            None => Content::Alive(self.alive().unwrap_or_default().to_vec()),
        };
        Run {
            first: self.first(),
            place: self.place(),
            content,
        }
    }

    /// The parts whose dots are in a context.
    fn parts(self, context: &Context, inside: bool) -> Vec<Self> {
        let nodes = Context::from(self.interval());
        let chosen = if inside {
            nodes.intersection(context)
        } else {
            nodes.difference(context)
        };
        let part = |interval: &Interval| Self {
            from: self.from + (interval.first - self.first().counter),
            count: interval.last - interval.first + 1,
            ..self
        };
        chosen.intervals().iter().map(part).collect()
    }

    fn interval(&self) -> Interval {
        let first = self.first();
        Interval {
            slot: first.slot,
            first: first.counter,
            last: first.after(self.count.saturating_sub(1)).counter,
        }
    }

    fn cut(&self, count: u64) -> (Self, Option<Self>) {
        let head = Self { count, ..*self };
        let rest = Self {
            from: self.from + count,
            count: self.count - count,
            ..*self
        };
        (head, (rest.count > 0).then_some(rest))
    }

    /// Higher place, deletion over element, smaller deletion. Elements of one dot are equal but for faulty peers. Both are
    /// of a pair.
    fn join(&self, other: &Self) -> Run<T> {
        let content = match (self.deleted_by(), other.deleted_by()) {
            (Some(a), Some(b)) => Content::Deleted {
                by: a.min(b),
                count: self.count,
            },
            (Some(by), None) | (None, Some(by)) => Content::Deleted {
                by,
                count: self.count,
            },
            (None, None) => {
                let (a, b) = (
                    self.alive().unwrap_or_default(),
                    other.alive().unwrap_or_default(),
                );
                Content::Alive(a.iter().zip(b).map(|(a, b)| a.max(b).clone()).collect())
            }
        };
        Run {
            first: self.first(),
            place: self.place().max(other.place()),
            content,
        }
    }

    /// Whether joining this into the other would change it. Both are of a pair.
    fn is_news_to(&self, other: &Self) -> bool {
        let content = match (self.deleted_by(), other.deleted_by()) {
            (Some(a), Some(b)) => a < b,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.alive() > other.alive(),
        };
        content || self.place() > other.place()
    }
}

/// What is on one side, or on both: then it is as long as one decision holds for all of it.
enum Pair<'a, T> {
    Left(Piece<'a, T>),
    Right(Piece<'a, T>),
    Both(Piece<'a, T>, Piece<'a, T>),
}

struct Pairs<'a, T, L: Iterator<Item = Piece<'a, T>>, R: Iterator<Item = Piece<'a, T>>> {
    left: L,
    right: R,
    /// What is left of pieces that were cut.
    left_rest: Option<Piece<'a, T>>,
    right_rest: Option<Piece<'a, T>>,
}

fn pairs<'a, T: Element, L: Iterator<Item = Piece<'a, T>>, R: Iterator<Item = Piece<'a, T>>>(
    left: L,
    right: R,
) -> Pairs<'a, T, L, R> {
    Pairs {
        left,
        right,
        left_rest: None,
        right_rest: None,
    }
}

/// How many nodes of two pieces that begin with one dot may be decided at once.
fn agreeing<T: Element>(a: &Piece<'_, T>, b: &Piece<'_, T>) -> u64 {
    let places = match (a.place(), b.place()) {
        (Some(mine), Some(theirs)) => mine == theirs,
        _ => true,
    };
    let elements = a.deleted_by().is_some() || b.deleted_by().is_some() || a.run == b.run;
    if places && elements {
        a.count.min(b.count)
    } else if places {
        let (x, y) = (a.alive().unwrap_or_default(), b.alive().unwrap_or_default());
        let same = x.iter().zip(y).take_while(|(x, y)| x == y).count() as u64;
        same.max(1)
    } else {
        1
    }
}

impl<'a, T: Element, L: Iterator<Item = Piece<'a, T>>, R: Iterator<Item = Piece<'a, T>>> Iterator
    for Pairs<'a, T, L, R>
{
    type Item = Pair<'a, T>;

    fn next(&mut self) -> Option<Pair<'a, T>> {
        let left = self.left_rest.take().or_else(|| self.left.next());
        let right = self.right_rest.take().or_else(|| self.right.next());
        match (left, right) {
            (None, None) => None,
            (Some(a), None) => Some(Pair::Left(a)),
            (None, Some(b)) => Some(Pair::Right(b)),
            (Some(a), Some(b)) if a.first() < b.first() => {
                let (head, rest) = a.cut(before(&a, b.first()));
                self.left_rest = rest;
                self.right_rest = Some(b);
                Some(Pair::Left(head))
            }
            (Some(a), Some(b)) if b.first() < a.first() => {
                let (head, rest) = b.cut(before(&b, a.first()));
                self.right_rest = rest;
                self.left_rest = Some(a);
                Some(Pair::Right(head))
            }
            (Some(a), Some(b)) => {
                let count = agreeing(&a, &b);
                let (x, x_rest) = a.cut(count);
                let (y, y_rest) = b.cut(count);
                self.left_rest = x_rest;
                self.right_rest = y_rest;
                Some(Pair::Both(x, y))
            }
        }
    }
}

/// How much of a piece is before a dot.
fn before<T: Element>(piece: &Piece<'_, T>, dot: Dot) -> u64 {
    if piece.first().slot == dot.slot {
        piece.count.min(dot.counter - piece.first().counter)
    } else {
        piece.count
    }
}

impl<T: Element> Sequence<T> {
    /// Runs that have dots of an interval.
    pub(super) fn overlapping(&self, interval: Interval) -> impl Iterator<Item = &Run<T>> {
        let at = |counter| Dot {
            slot: interval.slot,
            counter,
        };
        let start = self
            .locate(at(interval.first))
            .map_or(at(interval.first), |(slot, _)| slot.run.first);
        self.slots
            .range(start..=at(interval.last))
            .map(|(_, slot)| &slot.run)
    }

    /// The join rule, for any two sequences.
    pub(super) fn join_runs(&mut self, theirs: &Self, join: &mut Join<'_>) {
        let mut runs = Vec::new();
        let before = self.nodes;
        let mut kept = 0;
        for pair in pairs(self.runs().map(Piece::whole), theirs.runs().map(Piece::whole)) {
            match pair {
                Pair::Left(mine) => {
                    for part in mine.parts(join.theirs, false) {
                        kept += part.count;
                        runs.push(part.to_run());
                    }
                }
                Pair::Right(other) => {
                    runs.extend(other.parts(join.mine, false).into_iter().map(Piece::to_run));
                }
                Pair::Both(mine, other) => {
                    kept += mine.count;
                    runs.push(mine.join(&other));
                }
            }
        }
        join.dropped += u128::from(before.saturating_sub(kept));
        *self = Self::from_runs(runs);
    }

    pub(super) fn runs_unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        let mut runs = Vec::new();
        for run in self.runs() {
            let piece = Piece::whole(run);
            runs.extend(piece.parts(context, false).into_iter().map(Piece::to_run));
            for known in piece.parts(context, true) {
                let Some(seen) = seen else {
                    let news = known
                        .deleted_by()
                        .is_some_and(|by| by != Dot::STABLE && !context.contains(by));
                    runs.extend(news.then(|| known.to_run()));
                    continue;
                };
                // What is not there was removed there.
                let there = seen.overlapping(known.interval()).map(|other| {
                    let nodes = Context::from(known.interval());
                    Piece::whole(other).parts(&nodes, true)
                });
                for pair in pairs(std::iter::once(known), there.flatten()) {
                    if let Pair::Both(mine, other) = pair
                        && mine.is_news_to(&other)
                    {
                        runs.push(mine.to_run());
                    }
                }
            }
        }
        if runs.is_empty() {
            return Self::default();
        }
        Self::from_runs(runs)
    }
}
