//! Runs of nodes.

use super::Element;
use crate::context::Interval;
use crate::dot::Dot;

/// Where a node is in the tree. It never changes but for being raised over collected tombstones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// How many collected ancestors the node was raised over. A join takes the larger level.
    pub level: u64,
    /// What siblings are ordered by: the node's dot, or that of the topmost ancestor it was raised over.
    pub key: Dot,
    /// Parent; none is the root.
    pub parent: Option<Dot>,
    /// Whether it is a left child.
    pub left: bool,
    /// For a right child, the node that was to its right; none is the end.
    pub right_origin: Option<Dot>,
}

impl Place {
    /// Right origin of a right child typed directly after a node in this place.
    pub(super) fn follows_with(&self) -> Option<Dot> {
        if self.left { self.parent } else { self.right_origin }
    }

    /// Place of the node after `before`, where the right origin follows.
    pub(super) fn following(before: Dot, right_origin: Option<Dot>) -> Self {
        Self {
            level: 0,
            key: before.next(),
            parent: Some(before),
            left: false,
            right_origin,
        }
    }
}

/// Elements, or the deletion of as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<T> {
    /// Visible.
    Alive(Vec<T>),
    /// Tombstones of one deletion.
    Deleted { by: Dot, count: u64 },
}

/// Nodes with consecutive dots, each the right child of the one before. With an unknown place: deletions that arrived before
/// what they delete; those nodes are children of the root for the time being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run<T> {
    pub(super) first: Dot,
    pub(super) place: Option<Place>,
    pub(super) content: Content<T>,
}

impl<T: Element> Run<T> {
    pub(super) fn len(&self) -> u64 {
        match &self.content {
            Content::Alive(values) => values.len() as u64,
            Content::Deleted { count, .. } => *count,
        }
    }

    pub(super) fn last(&self) -> Dot {
        self.first.after(self.len().saturating_sub(1))
    }

    pub(super) fn interval(&self) -> Interval {
        Interval {
            slot: self.first.slot,
            first: self.first.counter,
            last: self.last().counter,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.content, Content::Alive(_))
    }

    pub(super) fn alive(&self) -> &[T] {
        match &self.content {
            Content::Alive(values) => values,
            Content::Deleted { .. } => &[],
        }
    }

    pub(super) fn visible(&self) -> u32 {
        u32::try_from(self.alive().len()).unwrap_or(u32::MAX)
    }

    /// Place of the node at an offset.
    pub(super) fn place_at(&self, offset: u64) -> Option<Place> {
        let place = self.place?;
        Some(match offset.checked_sub(1) {
            None => place,
            Some(before) => Place::following(self.first.after(before), place.follows_with()),
        })
    }

    /// Whether the other run can go on where this one ends.
    pub(super) fn can_join(&self, next: &Self) -> bool {
        let same = match (&self.content, &next.content) {
            (Content::Alive(_), Content::Alive(_)) => true,
            (Content::Deleted { by: a, .. }, Content::Deleted { by: b, .. }) => a == b,
            _ => false,
        };
        let places = match (self.place, next.place) {
            (None, None) => true,
            (Some(place), Some(found)) => found == Place::following(self.last(), place.follows_with()),
            _ => false,
        };
        same && places && next.first == self.last().next()
    }

    /// Appends a run for which `can_join` holds.
    pub(super) fn append(&mut self, next: Self) {
        match (&mut self.content, next.content) {
            (Content::Alive(values), Content::Alive(more)) => values.extend(more),
            (Content::Deleted { count, .. }, Content::Deleted { count: more, .. }) => *count += more,
            _ => {}
        }
    }

    /// Cuts off the nodes from an offset on, which is neither 0 nor the length.
    pub(super) fn split_off(&mut self, offset: u64) -> Self {
        let place = self.place_at(offset);
        let content = match &mut self.content {
            Content::Alive(values) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX).min(values.len());
                Content::Alive(values.split_off(at))
            }
            Content::Deleted { by, count } => {
                let rest = count.saturating_sub(offset);
                *count -= rest;
                Content::Deleted { by: *by, count: rest }
            }
        };
        Self {
            first: self.first.after(offset),
            place,
            content,
        }
    }
}
