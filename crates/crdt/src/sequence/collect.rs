//! Exact collection of tombstones; `docs/CRDT.md` §4 and §7.

use std::collections::{BTreeMap, BTreeSet};

use super::elements::Node;
use super::run::Content;
use super::{Element, Sequence};
use crate::context::Context;
use crate::dot::Dot;

/// Who refers to a node.
#[derive(Default)]
struct References {
    children: BTreeSet<Dot>,
    origins: BTreeSet<Dot>,
}

struct Collector<T> {
    nodes: BTreeMap<Dot, Node<T>>,
    references: BTreeMap<Dot, References>,
}

impl<T: Element> Sequence<T> {
    /// Drops tombstones whose deletion is stable and that nothing needs. All later operations were made by replicas that
    /// saw the deletion, and new nodes refer to visible nodes only, so the references that are here are all there will be.
    pub(super) fn collect_tombstones(&mut self, stable: &Context) {
        let gone = |by: Dot| by == Dot::STABLE || stable.contains(by);
        let any = self
            .runs()
            .any(|run| matches!(run.content, Content::Deleted { by, .. } if run.place.is_some() && gone(by)));
        if !any {
            return;
        }
        let mut nodes = self.elements();
        let mut candidates = BTreeSet::new();
        for (dot, node) in &mut nodes {
            if node.place.is_some() && node.deleted_by().is_some_and(gone) {
                node.content = Err(Dot::STABLE);
                candidates.insert(*dot);
            }
        }
        if candidates.is_empty() {
            return;
        }
        let mut collector = Collector {
            nodes,
            references: BTreeMap::new(),
        };
        for dot in collector.nodes.keys().copied().collect::<Vec<_>>() {
            collector.refer(dot);
        }
        while let Some(dot) = candidates.pop_first() {
            candidates.extend(collector.drop_or_raise(dot));
        }
        *self = Self::from_elements(collector.nodes);
    }
}

impl<T: Element> Collector<T> {
    fn refer(&mut self, dot: Dot) {
        let Some(place) = self.nodes.get(&dot).and_then(|node| node.place) else {
            return;
        };
        if let Some(parent) = place.parent {
            self.references.entry(parent).or_default().children.insert(dot);
        }
        if let Some(origin) = place.right_origin {
            self.references.entry(origin).or_default().origins.insert(dot);
        }
    }

    /// Takes back the node's references; gives the tombstones that may be free now.
    fn release(&mut self, dot: Dot) -> Vec<Dot> {
        let Some(place) = self.nodes.get(&dot).and_then(|node| node.place) else {
            return Vec::new();
        };
        let mut freed = Vec::new();
        for target in [place.parent, place.right_origin].into_iter().flatten() {
            if let Some(references) = self.references.get_mut(&target) {
                references.children.remove(&dot);
                references.origins.remove(&dot);
            }
            if self.nodes.get(&target).and_then(Node::deleted_by) == Some(Dot::STABLE) {
                freed.push(target);
            }
        }
        freed
    }

    fn drop_or_raise(&mut self, dot: Dot) -> Vec<Dot> {
        let Some(place) = self.nodes.get(&dot).and_then(|node| node.place) else {
            return Vec::new();
        };
        let (children, origins) = self.references.get(&dot).map_or((Vec::new(), 0), |refs| {
            (refs.children.iter().copied().collect(), refs.origins.len())
        });
        let only = match children.as_slice() {
            [] => None,
            [only] => Some(*only),
            _ => return Vec::new(),
        };
        if origins > 0 {
            return Vec::new();
        }
        let mut freed = self.release(dot);
        self.nodes.remove(&dot);
        if let Some(child) = only {
            freed.extend(self.release(child));
            if let Some(node) = self.nodes.get_mut(&child) {
                let level = node
                    .place
                    .map_or(0, |child| child.level)
                    .saturating_add(place.level)
                    .saturating_add(1);
                node.place = Some(super::Place { level, ..place });
            }
            self.refer(child);
            if self.nodes.get(&child).and_then(Node::deleted_by) == Some(Dot::STABLE) {
                freed.push(child);
            }
        }
        freed.retain(|freed| *freed != dot);
        freed
    }
}
