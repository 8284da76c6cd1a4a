//! Laws of the lattice, of decompositions, deltas, operations, digests and bytes, for every type.

use pointsman_crdt::{Context, Interval, Replica, State};

use crate::random::Random;
use crate::sample::{Sample, joined};

pub fn replica(slot: u16) -> Replica {
    Replica::new(slot, 1).unwrap()
}

/// States and deltas of a random history with joins of whatever arrived, in any order.
fn history<S: Sample>(random: &mut Random) -> Vec<State<S>> {
    let mut replicas: Vec<State<S>> = vec![State::new(); 3];
    let mut seen: Vec<State<S>> = vec![State::new()];
    for _ in 0..14 {
        let at = random.below(3) as usize;
        if random.below(3) < 2 {
            let before = replicas[at].clone();
            let operation = before.store.operation(random);
            let prepared = before.prepare(replica(at as u16 * 3), &operation);
            let Ok(Some(effect)) = prepared else { continue };
            let delta = State::delta_of(&effect);
            replicas[at].effect(&effect);
            assert_eq!(
                replicas[at],
                joined(&before, &delta),
                "effect = delta, {operation:?} on {before:?}"
            );
            assert!(before.is_below(&replicas[at]), "monotone");
            assert!(!delta.is_below(&before), "news");
            seen.push(delta);
        } else {
            // A delta that may be ahead of a gap, or a state.
            let other = random.pick(&seen).clone();
            replicas[at].join(&other).unwrap();
        }
        seen.push(replicas[at].clone());
    }
    for _ in 0..6 {
        let pair = joined(random.pick(&seen), random.pick(&seen));
        seen.push(pair);
    }
    seen
}

fn check<S: Sample>(a: &State<S>, b: &State<S>, c: &State<S>) {
    let ab = joined(a, b);
    assert_eq!(ab, joined(b, a), "commutative\n{a:?}\n{b:?}");
    assert_eq!(ab.store.read(), joined(b, a).store.read());
    assert_eq!(
        joined(&ab, c),
        joined(a, &joined(b, c)),
        "associative\n{a:?}\n{b:?}\n{c:?}"
    );
    assert_eq!(
        joined(&ab, c).store.read(),
        joined(a, &joined(b, c)).store.read(),
        "associative reading"
    );
    assert_eq!(&joined(a, a), a, "idempotent");
    assert_eq!(joined(&ab, b), ab, "absorbs");
    assert!(a.is_below(&ab) && b.is_below(&ab), "upper bound");
    assert_eq!(a.is_below(b), ab == *b, "order\n{a:?}\n{b:?}");
    let difference = a.difference(b);
    assert_eq!(
        joined(&difference, b),
        ab,
        "difference\n{a:?}\n{b:?}\n{difference:?}"
    );
    assert_eq!(
        difference.is_bottom(),
        ab == *b,
        "nothing redundant is kept\n{difference:?}"
    );
    let missing = b.missing(&a.digest());
    assert_eq!(joined(a, &missing), ab, "digest\n{a:?}\n{b:?}\n{missing:?}");
    if a.digest() == b.digest() && a.digest().context == a.context {
        assert!(missing.is_bottom());
    }
    let bytes = ab.encode();
    let again = State::<S>::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {ab:?} {bytes:?}"));
    assert_eq!(again, ab, "bytes");
    assert_eq!(again.store.read(), ab.store.read(), "bytes");
    assert_eq!(again.encode(), bytes, "one encoding");
}

fn check_atoms<S: Sample>(a: &State<S>, b: &State<S>) {
    let atoms = a.decompose();
    let join = |skip: Option<usize>| {
        let mut all = State::new();
        for (_, atom) in atoms.iter().enumerate().filter(|(index, _)| Some(*index) != skip) {
            all.join(atom).unwrap();
        }
        all
    };
    assert_eq!(&join(None), a, "decomposition");
    for (index, atom) in atoms.iter().enumerate() {
        assert_ne!(&join(Some(index)), a, "irredundant {atom:?}");
    }
    let mut expected = State::new();
    for atom in atoms.iter().filter(|atom| joined(atom, b) != *b) {
        expected.join(atom).unwrap();
    }
    assert_eq!(joined(&expected, b), joined(a, b));
    assert!(
        a.difference(b).is_below(&expected),
        "no more than the atoms that are news"
    );
}

/// `POINTSMAN_SEEDS=n` runs more of them than the usual number.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("POINTSMAN_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    0..asked.unwrap_or(usual)
}

pub fn laws<S: Sample>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let seen = history::<S>(&mut random);
        for _ in 0..24 {
            let (a, b, c) = (
                random.pick(&seen).clone(),
                random.pick(&seen).clone(),
                random.pick(&seen).clone(),
            );
            check(&a, &b, &c);
            check_atoms(&a, &b);
        }
    }
}

macro_rules! for_every_type {
    ($function:ident, $argument:expr) => {
        #[test]
        fn g_counter() {
            $function::<pointsman_crdt::GCounter>($argument);
        }
        #[test]
        fn pn_counter() {
            $function::<pointsman_crdt::PnCounter>($argument);
        }
        #[test]
        fn g_set() {
            $function::<pointsman_crdt::GSet>($argument);
        }
        #[test]
        fn two_phase_set() {
            $function::<pointsman_crdt::TwoPhaseSet>($argument);
        }
        #[test]
        fn or_set() {
            $function::<pointsman_crdt::OrSet>($argument);
        }
        #[test]
        fn lww_register() {
            $function::<pointsman_crdt::LwwRegister>($argument);
        }
        #[test]
        fn mv_register() {
            $function::<pointsman_crdt::MvRegister>($argument);
        }
        #[test]
        fn enable_wins_flag() {
            $function::<pointsman_crdt::EnableWinsFlag>($argument);
        }
        #[test]
        fn disable_wins_flag() {
            $function::<pointsman_crdt::DisableWinsFlag>($argument);
        }
        #[test]
        fn two_phase_graph() {
            $function::<pointsman_crdt::TwoPhaseGraph>($argument);
        }
        #[test]
        fn or_graph() {
            $function::<pointsman_crdt::OrGraph>($argument);
        }
        #[test]
        fn list() {
            $function::<pointsman_crdt::List>($argument);
        }
        #[test]
        fn text() {
            $function::<pointsman_crdt::Text>($argument);
        }
        #[test]
        fn map() {
            $function::<pointsman_crdt::Map>($argument);
        }
    };
}
pub(crate) use for_every_type;

mod of {
    use super::laws;
    super::for_every_type!(laws, super::seeds(60));
}

/// Contexts against plain sets of dots.
#[test]
fn contexts_are_sets() {
    use std::collections::BTreeSet;
    let mut random = Random::new(7);
    for _ in 0..3_000 {
        let make = |random: &mut Random| -> (Context, BTreeSet<(u16, u64)>) {
            let (mut context, mut set) = (Context::new(), BTreeSet::new());
            for _ in 0..random.below(8) {
                let (slot, first) = (random.below(2) as u16, random.below(14));
                let last = first + random.below(3);
                context.insert_interval(Interval { slot, first, last });
                set.extend((first..=last).map(|counter| (slot, counter)));
            }
            (context, set)
        };
        let ((a, sa), (b, sb)) = (make(&mut random), make(&mut random));
        let expand = |context: &Context| -> BTreeSet<(u16, u64)> {
            context
                .intervals()
                .iter()
                .flat_map(|i| (i.first..=i.last).map(|c| (i.slot, c)))
                .collect()
        };
        let mut ab = a.clone();
        ab.join(&b);
        assert_eq!(expand(&a), sa);
        assert_eq!(expand(&ab), sa.union(&sb).copied().collect());
        assert_eq!(
            expand(&a.intersection(&b)),
            sa.intersection(&sb).copied().collect()
        );
        assert_eq!(expand(&a.difference(&b)), sa.difference(&sb).copied().collect());
        assert_eq!(a.is_subset(&b), sa.is_subset(&sb));
        assert_eq!(a.count(), sa.len() as u128);
        let rebuilt: Context = sa
            .iter()
            .map(|(slot, counter)| pointsman_crdt::Dot {
                slot: *slot,
                counter: *counter,
            })
            .collect();
        assert_eq!(rebuilt, a, "one form");
    }
}
