//! Merges that are known to be broken elsewhere. Each property holds for ours and fails for a copy of the fault.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_crdt::engine::{DeltaEngine, Engine, OperationEngine, Settings};
use pointsman_crdt::{
    DisableWinsFlag, EnableWinsFlag, GCounter, LwwRegister, Map, MapOperation, Node, Operation, OrSet,
    SetOperation, Stamp, State, Store, TwoPhaseSet, Value, VisibleSet,
};

use crate::laws::replica;
use crate::sample::joined;

type Set = State<OrSet>;

fn add(state: &mut Set, slot: u16, element: &str) -> Set {
    state
        .update(replica(slot), &SetOperation::Add(element.into()))
        .unwrap()
        .unwrap()
}

fn remove(state: &mut Set, slot: u16, element: &str) -> Set {
    state
        .update(replica(slot), &SetOperation::Remove(element.into()))
        .unwrap()
        .unwrap()
}

/// A set with dots and a plain version vector, with the faults switched on.
#[derive(Clone, Default, PartialEq, Debug)]
struct FaultySet {
    dots: BTreeMap<&'static str, BTreeSet<(u16, u64)>>,
    vector: BTreeMap<u16, u64>,
}

impl FaultySet {
    fn seen(&self, dot: (u16, u64)) -> bool {
        self.vector.get(&dot.0).is_some_and(|last| dot.1 <= *last)
    }

    fn add(&mut self, slot: u16, element: &'static str) -> Self {
        let next = self.vector.get(&slot).copied().unwrap_or(0) + 1;
        self.vector.insert(slot, next);
        self.dots.insert(element, BTreeSet::from([(slot, next)]));
        Self {
            dots: BTreeMap::from([(element, BTreeSet::from([(slot, next)]))]),
            vector: BTreeMap::from([(slot, next)]),
        }
    }

    fn join(&mut self, other: &Self, by_presence: bool) {
        let keys: BTreeSet<_> = self.dots.keys().chain(other.dots.keys()).copied().collect();
        for key in keys {
            let mine = self.dots.remove(key).unwrap_or_default();
            let theirs = other.dots.get(key).cloned().unwrap_or_default();
            let kept: BTreeSet<_> = if by_presence && !mine.is_empty() && !theirs.is_empty() {
                mine.union(&theirs).copied().collect()
            } else {
                let keep_mine = mine
                    .iter()
                    .filter(|dot| theirs.contains(dot) || !other.seen(**dot));
                keep_mine
                    .chain(
                        theirs
                            .iter()
                            .filter(|dot| mine.contains(dot) || !self.seen(**dot)),
                    )
                    .copied()
                    .collect()
            };
            if !kept.is_empty() {
                self.dots.insert(key, kept);
            }
        }
        for (slot, last) in &other.vector {
            let mine = self.vector.entry(*slot).or_default();
            *mine = (*mine).max(*last);
        }
    }
}

/// riak_dt 82: an element on both sides may still have to vanish; dots decide, not presence.
#[test]
fn riak_dt_82_presence_on_both_sides_proves_nothing() {
    // a has x by dot 0.1. b saw that, removed it, and then added x anew and removed... each side holds a dot that the other saw die.
    let (mut a, mut b) = (Set::new(), Set::new());
    let first = add(&mut a, 0, "x");
    b.join(&first).unwrap();
    let second = add(&mut b, 1, "x");
    // a takes b's add, which covers its own, and removes; b's second add is live at b alone.
    a.join(&second).unwrap();
    remove(&mut a, 0, "x");
    let mut late = Set::new();
    late.join(&first).unwrap();
    let all = joined(&joined(&a, &b), &late);
    assert!(!all.store.contains(&"x".into()), "removed everywhere: {all:?}");

    let faulty = |by_presence: bool| {
        let mut a = FaultySet::default();
        let first = a.add(0, "x");
        let mut b = first.clone();
        let second = b.add(1, "x");
        // Another replica re-adds over what it saw; the two sides hold dots that the other side has seen die.
        let mut c = first;
        c.join(&second, false);
        c.dots.insert("x", BTreeSet::from([(1, 1)]));
        b.dots.insert("x", BTreeSet::from([(0, 1)]));
        b.join(&c, by_presence);
        b.dots.contains_key("x")
    };
    assert!(!faulty(false), "compared by dots it vanishes");
    assert!(faulty(true), "compared by presence it stays");
}

/// akka 22890: a delta ahead of a gap, with a plain vector as context, hides what comes later.
#[test]
fn akka_22890_a_delta_ahead_of_a_gap() {
    let mut origin = Set::new();
    let (first, second) = (add(&mut origin, 0, "x"), add(&mut origin, 0, "y"));
    let late = joined(&joined(&Set::new(), &second), &first);
    assert_eq!(late, origin, "the dot cloud remembers the gap");

    let mut origin = FaultySet::default();
    let (first, second) = (origin.add(0, "x"), origin.add(0, "y"));
    let mut late = FaultySet::default();
    late.join(&second, false);
    late.join(&first, false);
    assert_ne!(late, origin, "a vector claims to have seen the first");
}

/// riak_dt's first flag: an enable and a disable with vectors only cannot tell concurrent from later.
#[test]
fn riak_dt_flag_needs_dots() {
    let mut a = State::<EnableWinsFlag>::new();
    let on = a.update(replica(0), &true).unwrap().unwrap();
    let mut b = joined(&State::new(), &on);
    b.update(replica(1), &false).unwrap();
    a.update(replica(0), &true).unwrap();
    assert!(
        joined(&a, &b).store.value() && joined(&b, &a).store.value(),
        "the concurrent enable wins"
    );

    // Broken: on iff the merged vector has more enables than the disable saw; the disable's own vector then wins or loses
    // by who is merged first.
    let merge = |(on, vector): (bool, u64), (other_on, other): (bool, u64)| {
        if vector >= other {
            (on, vector)
        } else {
            (other_on, other)
        }
    };
    let (enabled, disabled) = ((true, 2), (false, 2));
    assert_ne!(merge(enabled, disabled), merge(disabled, enabled));
}

fn counter(map: &State<Map>, name: &str) -> Option<u128> {
    match map.store.get(name, GCounter::TAG)? {
        Node::GCounter(counter) => Some(counter.value()),
        _ => None,
    }
}

fn update(name: &str, operation: Operation) -> MapOperation {
    MapOperation::Update {
        name: name.into(),
        operation: Box::new(operation),
    }
}

/// rust-crdt 33: after remove ∥ update only the update's own part may be left, and on both sides the same.
#[test]
fn rust_crdt_33_reset_remove() {
    let mut a = State::<Map>::new();
    a.update(
        replica(0),
        &update("k", Operation::OrSet(SetOperation::Add("old".into()))),
    )
    .unwrap();
    let mut b = a.clone();
    a.update(replica(0), &MapOperation::Remove { name: "k".into() })
        .unwrap();
    b.update(
        replica(1),
        &update("k", Operation::OrSet(SetOperation::Add("new".into()))),
    )
    .unwrap();
    let both = joined(&a, &b);
    assert_eq!(both, joined(&b, &a));
    let Some(Node::OrSet(set)) = both.store.get("k", OrSet::<Value>::TAG) else {
        panic!("the update survives")
    };
    assert_eq!(
        set.elements().collect::<Vec<_>>(),
        [&Value::text("new")],
        "what was removed stays removed"
    );

    // Broken: a key that is present on either side keeps its whole value.
    let broken = |a: Option<Vec<&'static str>>, b: Option<Vec<&'static str>>| b.or(a);
    assert_eq!(
        broken(None, Some(vec!["old", "new"])),
        Some(vec!["old", "new"]),
        "the removed part returns"
    );
}

/// y-crdt 407 and TopGun 54: concurrent removals and writes of one key, in every order of arrival.
#[test]
fn y_crdt_407_topgun_54_removals_and_writes_in_any_order() {
    let mut base = State::<Map>::new();
    base.update(replica(0), &update("k", Operation::GCounter(1)))
        .unwrap();
    let (mut a, mut b, mut c) = (base.clone(), base.clone(), base.clone());
    let changes = [
        a.update(replica(1), &MapOperation::Remove { name: "k".into() })
            .unwrap()
            .unwrap(),
        b.update(replica(2), &update("k", Operation::GCounter(5)))
            .unwrap()
            .unwrap(),
        c.update(replica(3), &MapOperation::Remove { name: "k".into() })
            .unwrap()
            .unwrap(),
    ];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let ends: Vec<_> = orders
        .iter()
        .map(|order| {
            order
                .iter()
                .fold(base.clone(), |end, at| joined(&end, &changes[*at]))
        })
        .collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        counter(&ends[0], "k"),
        Some(5),
        "the concurrent write is not lost"
    );

    // Broken: the last to arrive is put blindly.
    let blind = |order: &[usize; 3]| order.last().and_then(|at| [None, Some(5), None][*at]);
    let ends: BTreeSet<_> = orders.iter().map(blind).collect();
    assert!(ends.len() > 1, "arrival decides");
}

/// swift-distributed-actors 210: deltas dropped when sent, not when acknowledged.
#[test]
fn swift_distributed_actors_210_deltas_are_kept_until_acknowledged() {
    let mut a = DeltaEngine::<GCounter>::start(Settings::new(replica(0), 1), State::new());
    let mut b = DeltaEngine::<GCounter>::start(Settings::new(replica(1), 2), State::new());
    let meet = |a: &mut DeltaEngine<GCounter>, b: &mut DeltaEngine<GCounter>, lossy: bool| {
        for message in a.poll(replica(1)) {
            if lossy {
                continue;
            }
            for answer in b.receive(replica(0), &message, 0).unwrap() {
                for answer in a.receive(replica(1), &answer, 0).unwrap() {
                    for answer in b.receive(replica(0), &answer, 0).unwrap() {
                        a.receive(replica(1), &answer, 0).unwrap();
                    }
                }
            }
        }
    };
    meet(&mut a, &mut b, false);
    a.update(&1).unwrap();
    meet(&mut a, &mut b, true);
    assert_eq!(a.buffered(), 1, "sent, not acknowledged, kept");
    a.update(&2).unwrap();
    meet(&mut a, &mut b, false);
    assert_eq!((b.state().store.value(), a.buffered()), (3, 0));

    // Broken: reset on send.
    let (mut buffer, mut received) = (vec![1], 0);
    for lost in [true, false] {
        let sent: u64 = buffer.drain(..).sum();
        received += if lost { 0 } else { sent };
        buffer.extend(lost.then_some(2));
    }
    assert_ne!(received, 3);
}

/// A teaching example: an operation counter counts a repeated delivery again (10 instead of 7).
#[test]
fn operation_counter_counts_a_repeated_delivery_once() {
    let mut a = OperationEngine::<GCounter>::start(Settings::new(replica(0), 1), State::new());
    let mut b = OperationEngine::<GCounter>::start(Settings::new(replica(1), 2), State::new());
    let mut messages = a.update(&3).unwrap();
    messages.extend(a.update(&4).unwrap());
    for message in messages.iter().chain(&messages).chain(&messages[..1]) {
        b.receive(replica(0), message, 0).unwrap();
    }
    assert_eq!(b.state().store.value(), 7);

    let broken: u64 = [3, 4, 3].iter().sum();
    assert_eq!(broken, 10);
}

/// A teaching example: a PN-set counts adds and removes of an element and shows one that was removed.
#[test]
fn a_removed_element_is_not_shown() {
    let mut a = Set::new();
    let first = add(&mut a, 0, "x");
    let mut b = joined(&Set::new(), &first);
    add(&mut b, 1, "x");
    let gone = remove(&mut b, 1, "x");
    assert!(!joined(&joined(&a, &b), &gone).store.contains(&"x".into()));
    assert!(!joined(&gone, &joined(&b, &a)).store.contains(&"x".into()));

    // Broken: two adds that one user saw as one, one remove.
    let (adds, removes) = (2, 1);
    assert!(adds - removes > 0, "still shown");
}

/// A teaching example: a schema's merge that takes the other side's scalar and adds the other side's counters.
#[test]
fn a_document_merge_is_commutative_and_idempotent() {
    let mut a = State::<Map>::new();
    let mut b = State::<Map>::new();
    let title = |at, text: &str| update("title", Operation::LwwRegister((Stamp(at), text.into())));
    a.update(replica(0), &title(5, "a")).unwrap();
    a.update(replica(0), &update("likes", Operation::GCounter(2)))
        .unwrap();
    b.update(replica(1), &title(5, "b")).unwrap();
    b.update(replica(1), &update("likes", Operation::GCounter(3)))
        .unwrap();
    let both = joined(&a, &b);
    assert_eq!(both, joined(&b, &a));
    assert_eq!(both, joined(&both, &b));
    assert_eq!(counter(&both, "likes"), Some(5));
    let Some(Node::LwwRegister(register)) = both.store.get("title", LwwRegister::TAG) else {
        panic!()
    };
    assert_eq!(
        register.value().unwrap().1,
        &Value::text("b"),
        "equal stamps: the larger dot"
    );

    let broken = |mine: (&'static str, u64), other: (&'static str, u64)| (other.0, mine.1 + other.1);
    let (a, b) = (("a", 2), ("b", 3));
    assert_ne!(broken(a, b), broken(b, a), "not commutative");
    assert_ne!(broken(broken(a, b), b), broken(a, b), "not idempotent");
}

/// Dropping a register's loser in the join: with a reset that saw only the winner the order of joins decides.
#[test]
fn lww_losers_stay_until_the_next_write() {
    let (mut a, mut b) = (State::<Map>::new(), State::<Map>::new());
    let loser = a
        .update(
            replica(0),
            &update("r", Operation::LwwRegister((Stamp(1), "loser".into()))),
        )
        .unwrap()
        .unwrap();
    let winner = b
        .update(
            replica(1),
            &update("r", Operation::LwwRegister((Stamp(2), "winner".into()))),
        )
        .unwrap()
        .unwrap();
    let reset = b
        .update(replica(1), &MapOperation::Remove { name: "r".into() })
        .unwrap()
        .unwrap();
    assert_eq!(
        joined(&joined(&loser, &winner), &reset),
        joined(&loser, &joined(&winner, &reset))
    );

    // Broken: one pair; a reset removes the stamp that it saw.
    let join = |a: Option<u64>, b: Option<u64>| a.max(b);
    let reset = |state: Option<u64>| state.filter(|stamp| *stamp != 2);
    assert_ne!(reset(join(Some(1), Some(2))), join(Some(1), reset(Some(2))));
}

/// A kill switch: a concurrent enable cannot undo a disable, whatever the clocks say.
#[test]
fn kill_wins_every_merge() {
    let mut a = State::<DisableWinsFlag>::new();
    assert!(a.store.value(), "on at first");
    let mut b = a.clone();
    a.update(replica(0), &false).unwrap();
    b.update(replica(1), &true).unwrap();
    assert!(!joined(&a, &b).store.value() && !joined(&b, &a).store.value());
    let mut seen = joined(&a, &b);
    seen.update(replica(1), &true).unwrap();
    assert!(
        joined(&seen, &a).store.value(),
        "re-arm removes the kills that it saw"
    );
    a.update(replica(0), &false).unwrap();
    assert!(!joined(&seen, &a).store.value(), "and no other");
}

/// An element of a 2P-set never returns; a dangling edge is masked, and returns with its vertex in an OR-graph only.
#[test]
fn two_phase_and_dangling_edges() {
    use pointsman_crdt::{Edge, GraphOperation, OperationError, OrGraph};
    let mut set = State::<TwoPhaseSet>::new();
    set.update(replica(0), &SetOperation::Add(1.into())).unwrap();
    let mut other = set.clone();
    set.update(replica(0), &SetOperation::Remove(1.into())).unwrap();
    let error = set.update(replica(0), &SetOperation::Add(1.into())).unwrap_err();
    assert!(matches!(error, OperationError::RemovedForEver { .. }));
    other.update(replica(1), &SetOperation::Add(2.into())).unwrap();
    assert!(!joined(&other, &set).store.contains(&1.into()));

    let vertex = |n: i64| GraphOperation::Vertex(SetOperation::Add(n.into()));
    let edge = GraphOperation::Edge(SetOperation::Add(Edge {
        from: 1.into(),
        to: 2.into(),
    }));
    let mut a = State::<OrGraph>::new();
    a.update(replica(0), &vertex(1)).unwrap();
    a.update(replica(0), &vertex(2)).unwrap();
    let mut b = a.clone();
    a.update(replica(0), &edge).unwrap();
    b.update(
        replica(1),
        &GraphOperation::Vertex(SetOperation::Remove(2.into())),
    )
    .unwrap();
    let mut both = joined(&a, &b);
    assert_eq!(both.store.edges().count(), 0, "masked");
    both.update(replica(1), &vertex(2)).unwrap();
    assert_eq!(both.store.edges().count(), 1, "returns with its vertex");
    let error = both
        .update(
            replica(1),
            &GraphOperation::Vertex(SetOperation::Remove(2.into())),
        )
        .unwrap_err();
    assert_eq!(error, OperationError::VertexHasEdges);
}
