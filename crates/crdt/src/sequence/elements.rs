//! Node by node: the general join, and building the order anew.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{Content, Place, Run};
use super::{Element, Sequence};
use crate::context::Context;
use crate::dot::Dot;
use crate::store::Join;

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

    /// Higher place, deletion over element, smaller deletion. Elements of one dot are equal but for faulty peers.
    fn join(&mut self, other: &Self) {
        self.place = self.place.max(other.place);
        self.content = match (&self.content, &other.content) {
            (Ok(a), Ok(b)) => Ok(a.max(b).clone()),
            (Err(a), Err(b)) => Err(*a.min(b)),
            (Err(by), _) | (_, Err(by)) => Err(*by),
        };
    }
}

impl<T: Element> Sequence<T> {
    pub(super) fn elements(&self) -> BTreeMap<Dot, Node<T>> {
        let mut nodes = BTreeMap::new();
        for run in self.runs.values() {
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
        merge(self.runs.into_values())
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
        built.dangling = built.runs.values().filter(|run| built.is_dangling(run)).count();
        built
    }

    /// The join rule, for any two sequences.
    pub(super) fn join_elements(&mut self, theirs: &Self, join: &mut Join<'_>) {
        let mut nodes = std::mem::take(self).elements();
        let others = theirs.elements();
        let before = nodes.len();
        nodes.retain(|dot, _| others.contains_key(dot) || !join.theirs.contains(*dot));
        join.dropped += (before - nodes.len()) as u128;
        for (dot, other) in others {
            match nodes.get_mut(&dot) {
                Some(node) => node.join(&other),
                None if !join.mine.contains(dot) => {
                    nodes.insert(dot, other);
                }
                None => {}
            }
        }
        *self = Self::from_elements(nodes);
    }

    pub(super) fn elements_unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        let mut nodes = BTreeMap::new();
        let known = seen.map(Self::elements);
        for (dot, node) in self.elements() {
            let lacks = if !context.contains(dot) {
                true
            } else if let Some(known) = &known {
                known.get(&dot).is_some_and(|other| {
                    let mut joined = other.clone();
                    joined.join(&node);
                    joined != *other
                })
            } else {
                node.deleted_by()
                    .is_some_and(|by| by != Dot::STABLE && !context.contains(by))
            };
            if lacks {
                nodes.insert(dot, node);
            }
        }
        Self::from_elements(nodes)
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
