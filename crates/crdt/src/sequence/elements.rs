//! Node by node, and building the order anew.

use std::collections::BTreeMap;

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
        let mut built = Self::default();
        let mut waiting = Waiting::new(merge(sorted));
        while let Some(run) = waiting.next() {
            built.place_run(run);
        }
        // One of a cycle is not where its place says: it counts too, so whatever comes next is built anew as well.
        let unsettled =
            |slot: &&Slot<T>| built.is_dangling(&slot.run) || slot.run.place != Some(slot.effective);
        built.dangling = built.slots.values().filter(unsettled).count();
        built
    }
}

/// Runs by dot, given out after those that they refer to.
struct Waiting<T> {
    runs: Vec<Option<Run<T>>>,
    /// How many of those that a run refers to are still here.
    needs: Vec<u8>,
    needed_by: Vec<Vec<usize>>,
    ready: Vec<usize>,
    /// All before it were given out.
    first: usize,
}

impl<T: Element> Waiting<T> {
    fn new(runs: Vec<Run<T>>) -> Self {
        let mut needs = vec![0; runs.len()];
        let mut needed_by = vec![Vec::new(); runs.len()];
        let mut ready = Vec::new();
        let owner = |dot: Dot| {
            let index = runs.partition_point(|run| run.first <= dot).checked_sub(1)?;
            runs.get(index)?.interval().contains(dot).then_some(index)
        };
        for (index, (run, needs)) in runs.iter().zip(&mut needs).enumerate() {
            let refers = run.place.map(|place| [place.parent, place.right_origin]);
            let targets = refers.unwrap_or_default().map(|dot| dot.and_then(owner));
            let [parent, origin] = targets.map(|target| target.filter(|target| *target != index));
            for target in [parent, origin.filter(|_| origin != parent)]
                .into_iter()
                .flatten()
            {
                *needs += 1;
                if let Some(list) = needed_by.get_mut(target) {
                    list.push(index);
                }
            }
            if *needs == 0 {
                ready.push(index);
            }
        }
        // Ascending: siblings mostly ascend, and are appended then.
        ready.reverse();
        Self {
            runs: runs.into_iter().map(Some).collect(),
            needs,
            needed_by,
            ready,
            first: 0,
        }
    }

    fn next(&mut self) -> Option<Run<T>> {
        loop {
            // Only a faulty peer's cycle leaves runs that wait for each other; they go in by dot.
            let index = self.ready.pop().unwrap_or(self.first);
            if index == self.first {
                self.first += 1;
            }
            let Some(run) = self.runs.get_mut(index)?.take() else {
                continue;
            };
            for next in self
                .needed_by
                .get_mut(index)
                .map(std::mem::take)
                .unwrap_or_default()
            {
                if let Some(needs) = self.needs.get_mut(next) {
                    *needs = needs.saturating_sub(1);
                    if *needs == 0 {
                        self.ready.push(next);
                    }
                }
            }
            return Some(run);
        }
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
