//! Exhaustive exploration: three replicas, every choice of operations up to a depth, every set of events that an origin can
//! have received before each, every order of delivery, out of causal order too.
//!
//! A state is a function of the set of events received, so a history is a list of events with the set that each origin had
//! received. For every history and every set of its events the state is made by every last delivery, and all are equal: by
//! induction that is every order. Histories that differ only in the names of replicas not yet heard of are left out.
//! `POINTSMAN_DEPTH` goes deeper.

use std::fmt::Debug;

use pointsman_crdt::{
    Crdt, DisableWinsFlag, EnableWinsFlag, Map, MapOperation, Node, Operation, OrSet, SequenceOperation,
    SetOperation, State, Store, Text, Value, VisibleSet,
};

use crate::laws::replica;
use crate::sample::joined;

const REPLICAS: usize = 3;

/// What happened: the operation, where, and the set of earlier events that its origin had received.
#[derive(Clone, Debug)]
struct Event<S: Crdt> {
    operation: S::Operation,
    origin: usize,
    delta: State<S>,
    before: usize,
}

struct World<S: Crdt> {
    events: Vec<Event<S>>,
    /// State by set of received events, as bits.
    states: Vec<State<S>>,
}

struct Model<S: Crdt> {
    operations: Vec<S::Operation>,
    depth: usize,
    /// Compares a reading with the events that were received, a set that is causally closed.
    check: fn(&World<S>, &State<S>, usize),
}

/// Explores and gives the number of histories.
fn explore<S: Crdt>(model: &Model<S>) -> usize {
    let asked = std::env::var("POINTSMAN_DEPTH")
        .ok()
        .and_then(|depth| depth.parse().ok());
    let mut world = World {
        events: Vec::new(),
        states: vec![State::new()],
    };
    extend(model, &mut world, asked.unwrap_or(model.depth))
}

fn extend<S: Crdt>(model: &Model<S>, world: &mut World<S>, depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let mut histories = 1;
    let count = world.events.len();
    let heard_of = world
        .events
        .iter()
        .map(|event| event.origin + 1)
        .max()
        .unwrap_or(0);
    for origin in 0..REPLICAS.min(heard_of + 1) {
        let own = world
            .events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.origin == origin);
        let own = own.fold(0, |own, (index, _)| own | 1 << index);
        for before in (0..1_usize << count).filter(|before| before & own == own) {
            for operation in &model.operations {
                let mut after = world.states[before].clone();
                let Ok(Some(delta)) = after.update(replica(origin as u16), operation) else {
                    continue;
                };
                world.events.push(Event {
                    operation: operation.clone(),
                    origin,
                    delta,
                    before,
                });
                deliver(world, &after);
                for set in 1 << count..1 << (count + 1) {
                    if closed(world, set) {
                        (model.check)(world, &world.states[set], set);
                    }
                }
                histories += extend(model, world, depth - 1);
                world.events.pop();
                world.states.truncate(1 << count);
            }
        }
    }
    histories
}

/// Adds the states of all sets with the newest event.
fn deliver<S: Crdt>(world: &mut World<S>, after: &State<S>) {
    let newest = world.events.len() - 1;
    for set in 0..1_usize << newest {
        let state = joined(&world.states[set], &world.events[newest].delta);
        let live = state.live();
        assert!(live.is_subset(&state.context), "S1");
        world.states.push(state);
    }
    for set in 1 << newest..1 << (newest + 1) {
        for other in (0..newest).filter(|other| set >> other & 1 == 1) {
            let by_other = joined(&world.states[set & !(1 << other)], &world.events[other].delta);
            assert_eq!(
                by_other, world.states[set],
                "order of delivery {:?}",
                world.events
            );
        }
    }
    assert_eq!(
        after,
        &world.states[world.events[newest].before | 1 << newest],
        "effect = delta"
    );
}

fn closed<S: Crdt>(world: &World<S>, set: usize) -> bool {
    world
        .events
        .iter()
        .enumerate()
        .all(|(index, event)| set >> index & 1 == 0 || event.before & !set == 0)
}

/// Events of the set that no other event of the set, among those that matter, was made after.
fn last<S: Crdt>(
    world: &World<S>,
    set: usize,
    matters: impl Fn(&S::Operation) -> bool,
) -> Vec<&S::Operation> {
    let chosen: Vec<usize> = (0..world.events.len())
        .filter(|i| set >> i & 1 == 1 && matters(&world.events[*i].operation))
        .collect();
    let is_last = |index: &&usize| {
        !chosen
            .iter()
            .any(|later| world.events[*later].before >> **index & 1 == 1)
    };
    chosen
        .iter()
        .filter(is_last)
        .map(|index| &world.events[*index].operation)
        .collect()
}

#[test]
fn enable_wins_flag() {
    let model = Model::<EnableWinsFlag> {
        operations: vec![true, false],
        depth: 4,
        check: |world, state, set| {
            assert_eq!(
                state.store.value(),
                last(world, set, |_| true).into_iter().any(|on| *on)
            );
        },
    };
    assert!(explore(&model) > 3_000);
}

#[test]
fn disable_wins_flag() {
    let model = Model::<DisableWinsFlag> {
        operations: vec![true, false],
        depth: 4,
        check: |world, state, set| {
            assert_eq!(
                state.store.value(),
                last(world, set, |_| true).into_iter().all(|on| *on)
            );
        },
    };
    assert!(explore(&model) > 3_000);
}

#[test]
fn or_set() {
    let model = Model::<OrSet> {
        operations: vec![
            SetOperation::Add(1.into()),
            SetOperation::Remove(1.into()),
            SetOperation::Add(2.into()),
        ],
        depth: 4,
        check: |world, state, set| {
            for element in [Value::Integer(1), Value::Integer(2)] {
                let about = |operation: &SetOperation| match operation {
                    SetOperation::Add(key) | SetOperation::Remove(key) => *key == element,
                };
                let present = last(world, set, about)
                    .into_iter()
                    .any(|op| matches!(op, SetOperation::Add(_)));
                assert_eq!(state.store.contains(&element), present);
            }
        },
    };
    assert!(explore(&model) > 3_000);
}

#[test]
fn map() {
    let set_to = |name: &str, on| MapOperation::Update {
        name: name.into(),
        operation: Box::new(Operation::EnableWinsFlag(on)),
    };
    let model = Model::<Map> {
        operations: vec![
            set_to("k", true),
            set_to("k", false),
            MapOperation::Remove { name: "k".into() },
        ],
        depth: 4,
        check: |world, state, set| {
            let left = last(world, set, |_| true);
            let writes: Vec<bool> = left
                .iter()
                .filter_map(|operation| match operation {
                    MapOperation::Update { operation, .. } => match **operation {
                        Operation::EnableWinsFlag(on) => Some(on),
                        _ => None,
                    },
                    MapOperation::Remove { .. } => None,
                })
                .collect();
            let read = match state.store.get("k", EnableWinsFlag::TAG) {
                Some(Node::EnableWinsFlag(flag)) => Some(flag.value()),
                _ => None,
            };
            assert_eq!(read, (!writes.is_empty()).then(|| writes.contains(&true)));
        },
    };
    assert!(explore(&model) > 3_000);
}

/// Letters are in the same order everywhere, in every state that any replica can be in, and a letter is visible exactly as
/// long as no deletion of it arrived.
#[test]
fn list() {
    let insert = |index, letter| SequenceOperation::Insert {
        index,
        values: vec![letter],
    };
    let model = Model::<Text> {
        operations: vec![
            insert(0, 'a'),
            insert(1, 'b'),
            SequenceOperation::Delete { index: 0, count: 1 },
        ],
        depth: 4,
        check: |world, state, set| {
            // The whole order: everything joined.
            let mut all = State::<Text>::new();
            world
                .events
                .iter()
                .for_each(|event| all.join(&event.delta).unwrap());
            let mut anchors: Vec<_> = (0..state.store.len())
                .map(|i| state.store.anchor(i).unwrap())
                .collect();
            let visible = anchors.len();
            let inserted = (0..world.events.len())
                .filter(|i| {
                    set >> i & 1 == 1
                        && matches!(world.events[*i].operation, SequenceOperation::Insert { .. })
                })
                .count();
            assert!(visible <= inserted);
            anchors.retain(|anchor| all.store.anchor(all.store.index_of(*anchor).unwrap()) == Some(*anchor));
            let indexes: Vec<_> = anchors
                .iter()
                .map(|anchor| all.store.index_of(*anchor).unwrap())
                .collect();
            assert!(indexes.is_sorted(), "one order for all");
        },
    };
    assert!(explore(&model) > 3_000);
}
