//! The order as `docs/CRDT.md` §4 states it, computed the slow way from nothing but the nodes, against what is kept.

use std::collections::BTreeMap;

use super::run::Place;
use super::{SequenceOperation, Text};
use crate::dot::{Dot, Replica};
use crate::state::State;

type Places = BTreeMap<Dot, Option<Place>>;

/// The place that counts: what refers to absent nodes is a right child of the root.
fn effective(node: Dot, places: &Places) -> Place {
    let root = Place {
        level: 0,
        key: node,
        parent: None,
        left: false,
        right_origin: None,
    };
    match places[&node] {
        None => root,
        Some(place) if place.parent.is_some_and(|parent| !places.contains_key(&parent)) => Place {
            key: place.key,
            ..root
        },
        Some(place) => place,
    }
}

/// Walks the tree of the nodes placed so far. `before` is the order of all but the newest.
fn walk(parent: Option<Dot>, placed: &BTreeMap<Dot, Place>, before: &[Dot], order: &mut Vec<Dot>) {
    let mut children: Vec<(Dot, Place)> = placed
        .iter()
        .filter(|(_, place)| place.parent == parent)
        .map(|(dot, place)| (*dot, *place))
        .collect();
    // No origin, or one that is absent, is the end: furthest right.
    let position = |origin: Option<Dot>| {
        origin
            .and_then(|origin| before.iter().position(|dot| *dot == origin))
            .unwrap_or(usize::MAX)
    };
    children.sort_by_key(|(_, place)| {
        let right = std::cmp::Reverse(position(place.right_origin));
        (!place.left, (!place.left).then_some(right), place.key)
    });
    let rights = children.iter().position(|(_, place)| !place.left);
    let (lefts, rights) = children.split_at(rights.unwrap_or(children.len()));
    lefts
        .iter()
        .for_each(|(child, _)| walk(Some(*child), placed, before, order));
    order.extend(parent);
    rights
        .iter()
        .for_each(|(child, _)| walk(Some(*child), placed, before, order));
}

fn order(text: &Text) -> Vec<Dot> {
    let nodes = text.elements();
    let places: Places = nodes.iter().map(|(dot, node)| (*dot, node.place)).collect();
    let (mut placed, mut order) = (BTreeMap::new(), Vec::new());
    while placed.len() < places.len() {
        // One whose parent and origin are there.
        let ready =
            |dot: Option<Dot>| dot.is_none_or(|dot| placed.contains_key(&dot) || !places.contains_key(&dot));
        let next = places.keys().find(|dot| {
            let place = effective(**dot, &places);
            !placed.contains_key(*dot) && ready(place.parent) && ready(place.right_origin)
        });
        let next = *next.expect("no cycles");
        placed.insert(next, effective(next, &places));
        let before = std::mem::take(&mut order);
        walk(None, &placed, &before, &mut order);
    }
    order
}

#[test]
fn the_order_is_the_stated_one() {
    let mut seed = 3_u64;
    let mut random = |end: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end.max(1)
    };
    for _ in 0..60 {
        let mut states: Vec<State<Text>> = vec![State::new(); 3];
        let mut deltas = Vec::new();
        for _ in 0..50 {
            let at = random(3) as usize;
            let length = states[at].store.len();
            let operation = match random(10) {
                0 if length > 1 => SequenceOperation::Delete {
                    index: random(length - 1),
                    count: 2,
                },
                1..5 => SequenceOperation::Insert {
                    // Mostly at the end, where others are as well.
                    index: length - random(3).min(length),
                    values: (0..=random(3)).map(|_| 'x').collect(),
                },
                // Deltas in any order, ahead of what they refer to.
                _ if !deltas.is_empty() => {
                    let delta: &State<Text> = &deltas[random(deltas.len() as u64) as usize];
                    states[at].join(delta).unwrap();
                    continue;
                }
                _ => continue,
            };
            let by = Replica::new(at as u16, 1).unwrap();
            deltas.extend(states[at].update(by, &operation).unwrap());
        }
        let all = states[0].clone();
        states[1].join(&all).unwrap();
        let stable = states[1].context.clone();
        states.push(states[1].clone());
        states[3].collect(&stable);
        for state in &states {
            let kept = state.store.list.iter_from(state.store.list.start());
            let kept: Vec<Dot> = kept
                .flat_map(|(first, _)| {
                    let run = &state.store.slots[&first].run;
                    (0..run.len()).map(|offset| run.first.after(offset))
                })
                .collect();
            assert_eq!(kept, order(&state.store));
        }
    }
}
