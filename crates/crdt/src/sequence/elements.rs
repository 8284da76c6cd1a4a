//! Node by node, and building the order anew.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{Content, Place, Run};
use super::{Element, Sequence, Slot};
use crate::dot::Dot;

/// One node on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node<T> {
    pub(super) place: Option<Place>,
    pub(super) content: Result<T, Dot>,
}

impl<T: Element> Node<T> {
    pub(super) fn deleted_by(&self) -> Option<Dot> {
        self.content.as_ref().err().copied()
    }
}

impl<T: Element> Sequence<T> {
    pub(super) fn elements(&self) -> BTreeMap<Dot, Node<T>> {
        let mut nodes = BTreeMap::new();
        for run in self.runs() {
            let contents: Box<dyn Iterator<Item = Result<T, Dot>>> = match &run.content {
                Content::Alive(values) => Box::new(values.iter().cloned().map(Ok)),
                Content::Deleted { by, count } => Box::new((0..*count).map(|_| Err(*by))),
            };
            for (offset, content) in (0..).zip(contents) {
                nodes.insert(
                    run.first.after(offset),
                    Node {
                        place: run.place_at(offset),
                        content,
                    },
                );
            }
        }
        nodes
    }

    pub(super) fn from_elements(nodes: BTreeMap<Dot, Node<T>>) -> Self {
        let one = |(first, node): (Dot, Node<T>)| {
            let content = match node.content {
                Ok(value) => Content::Alive(vec![value]),
                Err(by) => Content::Deleted { by, count: 1 },
            };
            Run {
                first,
                place: node.place,
                content,
            }
        };
        Self::from_runs(nodes.into_iter().map(one).collect())
    }

    /// Runs by dot, merged wherever they go on, whatever stands between them in the order.
    pub(super) fn into_dot_runs(self) -> Vec<Run<T>> {
        merge(self.slots.into_values().map(|slot| slot.run))
    }

    /// Builds the order. Runs are put in place after what they refer to; the result depends on the set of nodes only.
    pub(super) fn from_runs(runs: Vec<Run<T>>) -> Self {
        let mut sorted = runs;
        sorted.sort_by_key(|run| run.first);
        let mut waiting: BTreeMap<Dot, Run<T>> =
            merge(sorted).into_iter().map(|run| (run.first, run)).collect();
        let owner = |dot: Dot, waiting: &BTreeMap<Dot, Run<T>>| {
            let (first, run) = waiting.range(..=dot).next_back()?;
            run.interval().contains(dot).then_some(*first)
        };
        let mut needs: BTreeMap<Dot, BTreeSet<Dot>> = BTreeMap::new();
        let mut needed_by: BTreeMap<Dot, Vec<Dot>> = BTreeMap::new();
        let mut ready = Vec::new();
        for (first, run) in &waiting {
            let refers = run.place.map(|place| [place.parent, place.right_origin]);
            let targets = refers
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|dot| owner(dot, &waiting));
            let targets: BTreeSet<Dot> = targets.filter(|target| target != first).collect();
            for target in &targets {
                needed_by.entry(*target).or_default().push(*first);
            }
            if targets.is_empty() {
                ready.push(*first);
            } else {
                needs.insert(*first, targets);
            }
        }
        let mut built = Self::default();
        // Only a faulty peer's cycle leaves runs that wait for each other; they go in by dot.
        while let Some(first) = ready.pop().or_else(|| waiting.keys().next().copied()) {
            let Some(run) = waiting.remove(&first) else {
                continue;
            };
            built.place_run(run);
            for next in needed_by.remove(&first).unwrap_or_default() {
                if let Some(left) = needs.get_mut(&next) {
                    left.remove(&first);
                    if left.is_empty() {
                        ready.push(next);
                    }
                }
            }
        }
        // One of a cycle is not where its place says: it counts too, so whatever comes next is built anew as well.
        let unsettled =
            |slot: &&Slot<T>| built.is_dangling(&slot.run) || slot.run.place != Some(slot.effective);
        built.dangling = built.slots.values().filter(unsettled).count();
        built
    }
}

fn merge<T: Element>(runs: impl IntoIterator<Item = Run<T>>) -> Vec<Run<T>> {
    let mut merged: Vec<Run<T>> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if last.can_join(&run) => last.append(run),
            _ => merged.push(run),
        }
    }
    merged
}
