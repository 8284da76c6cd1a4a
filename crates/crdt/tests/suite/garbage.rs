//! Garbage collection is exact: what is read never changes, and sizes return to where they were.

use pointsman_crdt::{
    Context, GCounter, Map, MapOperation, Node, Operation, Replica, SequenceOperation, SetOperation,
    Stability, Stamp, State, Store, Text,
};

use crate::laws::{replica, seeds};
use crate::random::Random;
use crate::sample::{Sample, joined};

/// Two groups of replicas do the same; one collects, at different times at each replica. All readings are equal.
fn collecting_changes_nothing(seed: u64) {
    let mut random = Random::new(seed);
    let members: Vec<Replica> = (0..3).map(replica).collect();
    let mut kept: Vec<State<Text>> = vec![State::new(); 3];
    let mut collected = kept.clone();
    let mut stability = Stability::new();
    stability.set_members(members.clone());
    for _ in 0..150 {
        let (at, from) = (random.below(3) as usize, random.below(3) as usize);
        match random.below(8) {
            0..4 => {
                let operation = kept[at].store.operation(&mut random);
                kept[at].update(members[at], &operation).unwrap();
                collected[at].update(members[at], &operation).unwrap();
            }
            4 => {
                let other = kept[from].clone();
                kept[at].join(&other).unwrap();
                let other = collected[from].clone();
                collected[at].join(&other).unwrap();
            }
            5 => {
                let (a, b) = (
                    kept[from].missing(&kept[at].digest()),
                    collected[from].missing(&collected[at].digest()),
                );
                kept[at].join(&a).unwrap();
                collected[at].join(&b).unwrap();
            }
            6 => stability.report(members[at], collected[at].context.clone()),
            _ => collected[at].collect(stability.stable()),
        }
        for (kept, collected) in kept.iter().zip(&collected) {
            assert_eq!(kept.store.read(), collected.store.read(), "seed {seed}");
            assert_eq!(kept.context, collected.context);
            let again = State::<Text>::decode(&collected.encode()).unwrap();
            assert_eq!((&again, again.store.read()), (collected, collected.store.read()));
        }
    }
    // All meet; two rounds of reports make everything stable.
    let all = collected
        .iter()
        .skip(1)
        .fold(collected[0].clone(), |all, next| joined(&all, next));
    for _ in 0..3 {
        members
            .iter()
            .for_each(|member| stability.report(*member, all.context.clone()));
    }
    let mut ends = [all.clone(), all];
    for (end, state) in ends.iter_mut().zip(&collected) {
        end.join(state).unwrap();
        end.collect(stability.stable());
    }
    assert_eq!(ends[0], ends[1]);
    let (nodes, visible) = (ends[0].store.nodes(), ends[0].store.len());
    assert!(
        nodes <= 3 * visible + 1,
        "seed {seed}: {nodes} nodes for {visible} elements"
    );
}

#[test]
fn collecting_tombstones_never_changes_what_is_read() {
    seeds(60).for_each(collecting_changes_nothing);
}

/// Collected at different cuts, replicas still agree once they have the same cut.
#[test]
fn a_queue_stays_small() {
    let mut state = State::<Text>::new();
    for step in 0..600_u64 {
        let by = replica((step % 3) as u16);
        let end = state.store.len();
        state
            .update(
                by,
                &SequenceOperation::Insert {
                    index: end,
                    values: vec!['x'],
                },
            )
            .unwrap();
        if end >= 10 {
            state
                .update(by, &SequenceOperation::Delete { index: 0, count: 1 })
                .unwrap();
        }
        if step % 20 == 19 {
            let stable = state.context.clone();
            state.collect(&stable);
            assert!(state.store.nodes() <= 12, "{} nodes", state.store.nodes());
        }
    }
    let stable = state.context.clone();
    state
        .update(
            replica(0),
            &SequenceOperation::Delete {
                index: 0,
                count: state.store.len(),
            },
        )
        .unwrap();
    state.collect(&state.context.clone());
    assert_eq!(state.store.nodes(), 0, "an empty queue is empty");
    assert!(stable.is_subset(&state.context));
}

fn edit(state: &mut State<Map>, by: Replica, generation: u64) {
    let update = |name: &str, operation| MapOperation::Update {
        name: name.into(),
        operation: Box::new(operation),
    };
    let n = generation as i64;
    let text = match state.store.get("text", Text::TAG) {
        Some(Node::Text(text)) => text.len(),
        _ => 0,
    };
    let mut operations = vec![
        update("likes", Operation::GCounter(2)),
        update(
            "stock",
            Operation::PnCounter(if generation.is_multiple_of(2) { 5 } else { -5 }),
        ),
        update("tags", Operation::OrSet(SetOperation::Add((n % 3).into()))),
        update("kill", Operation::DisableWinsFlag(generation.is_multiple_of(2))),
        update(
            "title",
            Operation::LwwRegister((
                Stamp(1_000_000 + generation * 10 + u64::from(by.slot())),
                "t".into(),
            )),
        ),
        update(
            "text",
            Operation::Text(SequenceOperation::Insert {
                index: text / 2,
                values: vec!['a', 'b'],
            }),
        ),
    ];
    if text >= 20 {
        operations.push(update(
            "text",
            Operation::Text(SequenceOperation::Delete {
                index: 0,
                count: text - 18,
            }),
        ));
    }
    for operation in operations {
        state.update(by, &operation).unwrap();
    }
}

/// 100 releases: every slot gets a new incarnation each time; the state is as large as after the third.
#[test]
fn state_is_flat_over_a_hundred_generations() {
    let slots = 4_u16;
    let mut replicas: Vec<State<Map>> = vec![State::new(); usize::from(slots)];
    let mut sizes = Vec::new();
    for generation in 1..=100_u64 {
        let by = |slot: u16| Replica::new(slot, generation as u32).unwrap();
        for slot in 0..slots {
            edit(&mut replicas[usize::from(slot)], by(slot), generation);
        }
        // The old pods drain: everybody gets everything, then the controller retires them one by one.
        let all = replicas.iter().fold(State::new(), |all, next| joined(&all, next));
        let mut stability = Stability::new();
        stability.set_members((0..slots).map(by));
        for _ in 0..2 {
            (0..slots).for_each(|slot| stability.report(by(slot), all.context.clone()));
        }
        assert!(stability.all_have(&all.context));
        for (index, state) in replicas.iter_mut().enumerate() {
            state.join(&all).unwrap();
            state.collect(stability.stable());
            // Not all replicas learn of it at once; states with and without it mix.
            if index % 2 == 0 || generation % 3 == 0 {
                (0..slots).for_each(|slot| state.retire(by(slot)));
            }
        }
        let mut all = joined(&all, &replicas[0]);
        all.collect(stability.stable());
        sizes.push((all.encode().len(), all.context.intervals().len()));
        let Some(Node::GCounter(likes)) = all.store.get("likes", GCounter::TAG) else {
            panic!()
        };
        assert_eq!(
            likes.value(),
            u128::from(generation * u64::from(slots) * 2),
            "nothing is counted twice or lost"
        );
    }
    let baseline = sizes[4].0;
    assert!(
        sizes
            .iter()
            .all(|(_, intervals)| *intervals <= usize::from(slots)),
        "{sizes:?}"
    );
    assert!(
        sizes
            .iter()
            .skip(5)
            .all(|(bytes, _)| *bytes <= baseline + baseline / 3),
        "{sizes:?}"
    );
}

/// A successor carries a share on only when the predecessor can add nothing to it any more.
#[test]
fn a_share_is_adopted_after_retirement_only() {
    let by = |incarnation| Replica::new(0, incarnation).unwrap();
    let mut old = State::<GCounter>::new();
    let early = old.update(by(1), &5).unwrap().unwrap();
    let late = old.update(by(1), &2).unwrap().unwrap();
    let mut new = joined(&State::new(), &early);
    new.update(by(2), &1).unwrap();
    assert_eq!(joined(&new, &late).store.value(), 8);
    assert_eq!(joined(&joined(&State::new(), &late), &new).store.value(), 8);
    let mut all = joined(&new, &late);
    all.retire(by(1));
    all.update(by(2), &1).unwrap();
    assert_eq!(
        (all.store.value(), all.store.entries().len()),
        (9, 1),
        "one entry a slot"
    );
    assert_eq!(
        joined(&all, &old),
        all,
        "states from before the retirement add nothing"
    );
}

#[test]
fn flips_leave_nothing_behind() {
    let mut state = State::<Map>::new();
    let mut other = state.clone();
    let (mut delta_bytes, mut flips) = (0, 0_u64);
    for flip in 0..20_000_u64 {
        let name = format!("f{:03}", flip * 7 % 1_000);
        let operation = Operation::EnableWinsFlag(flip % 3 == 0);
        let operation = MapOperation::Update {
            name: name.as_str().into(),
            operation: Box::new(operation),
        };
        let delta = state.update(replica(1), &operation).unwrap().unwrap();
        delta_bytes += delta.encode().len();
        flips += 1;
        other.join(&delta).unwrap();
    }
    assert_eq!(state, other);
    assert_eq!(state.context.intervals().len(), 1);
    assert!(
        state.encode().len() < 11_500,
        "{} bytes for 1,000 flags",
        state.encode().len()
    );
    assert!(
        delta_bytes as u64 <= 16 * flips,
        "{delta_bytes} bytes for {flips} flips"
    );
}

#[test]
fn stability_waits_for_everybody_twice() {
    let mut stability = Stability::new();
    stability.set_members([replica(0), replica(1)]);
    let dots =
        |slot: u16, count: u64| -> Context { (1..=count).filter_map(|n| replica(slot).dot(n)).collect() };
    let mut both = dots(0, 3);
    both.join(&dots(1, 2));
    stability.report(replica(0), both.clone());
    assert!(stability.stable().is_empty(), "one has not reported");
    stability.report(replica(1), dots(0, 2));
    assert!(
        stability.stable().is_empty(),
        "its report may be older than what it sent"
    );
    stability.report(replica(1), both.clone());
    assert_eq!(
        stability.stable(),
        &dots(0, 2),
        "all that was known then is everywhere"
    );
    stability.report(replica(7), dots(1, 9));
    assert!(!stability.all_have(&dots(1, 9)), "not a member");
    stability.set_members([replica(0), replica(1), replica(2)]);
    assert!(
        !stability.all_have(&dots(0, 1)),
        "the new member has not reported"
    );
}

/// A process whose slot was leased again meanwhile may not carry on what its successor counts, nor may two
/// incarnations carry on the same.
#[test]
fn nobody_carries_on_what_another_still_counts() {
    let by = |incarnation| Replica::new(0, incarnation).unwrap();
    let mut old = State::<GCounter>::new();
    old.update(by(1), &5).unwrap();
    let mut new = old.clone();
    new.update(by(2), &1).unwrap();
    old.join(&new).unwrap();
    old.update(by(1), &1).unwrap();
    new.update(by(2), &1).unwrap();
    assert_eq!(joined(&old, &new).store.value(), 8, "old and new write at once");

    let mut first = State::<GCounter>::new();
    first.update(by(1), &5).unwrap();
    first.retire(by(1));
    let (mut second, mut third) = (first.clone(), first);
    second.update(by(2), &1).unwrap();
    third.update(by(3), &1).unwrap();
    assert_eq!(
        joined(&second, &third).store.value(),
        7,
        "the second is not retired"
    );
}

fn flip(state: &mut State<Map>, by: Replica, register: u64, flip: u64) {
    let name = format!("r{register:03}");
    let operation = if register.is_multiple_of(2) {
        Operation::DisableWinsFlag(flip.is_multiple_of(3))
    } else {
        Operation::LwwRegister((Stamp::at(1_700_000_000_000 + flip), flip.is_multiple_of(3).into()))
    };
    let operation = MapOperation::Update {
        name: name.as_str().into(),
        operation: Box::new(operation),
    };
    state.update(by, &operation).unwrap();
}

fn assert_flat(sizes: &[usize]) {
    let (least, most) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
    println!("{sizes:?}");
    assert!(most * 100 <= least * 105, "not within 5 %: {sizes:?}");
}

/// 1,000 registers. The bench of the whole engine goes on to a million flips.
#[test]
fn size_is_flat_over_flips() {
    let mut state = State::<Map>::new();
    let mut sizes = Vec::new();
    for step in 0..60_000_u64 {
        flip(&mut state, replica(1), step * 7 % 1_000, step);
        if step >= 20_000 && step % 10_000 == 0 {
            sizes.push(state.encode().len());
        }
    }
    assert_flat(&sizes);
}

/// A hundred releases of three replicas under writes: each is retired once its successors have all that it did.
#[test]
fn size_is_flat_over_generations() {
    let mut state = State::<Map>::new();
    let mut sizes = Vec::new();
    let mut step = 0;
    for generation in 1..=100 {
        for _ in 0..600 {
            step += 1;
            let by = Replica::new((step % 3) as u16, generation).unwrap();
            flip(&mut state, by, step * 7 % 200, step);
        }
        (0..3).for_each(|slot| state.retire(Replica::new(slot, generation).unwrap()));
        sizes.push(state.encode().len());
    }
    assert_flat(&sizes[10..]);
}
