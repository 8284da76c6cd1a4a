//! Order of lists and text.

use pointsman_crdt::{Replica, SequenceOperation, State, Text};

use crate::laws::replica;
use crate::random::Random;
use crate::sample::{Sample, joined};

fn read(state: &State<Text>) -> String {
    state.store.values().collect()
}

fn insert(state: &mut State<Text>, by: Replica, index: u64, text: &str) {
    let values = text.chars().collect();
    state
        .update(by, &SequenceOperation::Insert { index, values })
        .unwrap();
}

/// Each replica types a word at the same place, letter by letter, forwards or backwards; the words stay whole.
#[test]
fn runs_do_not_interleave() {
    let words = ["aaaa", "bbbb", "cccc"];
    for base in ["", "()"] {
        for backwards in 0..8_u32 {
            let mut start = State::<Text>::new();
            insert(&mut start, replica(9), 0, base);
            let at = base.len() as u64 / 2;
            let mut all = start.clone();
            let mut reversed = start.clone();
            let mut parts = Vec::new();
            for (slot, word) in words.iter().enumerate() {
                let mut own = start.clone();
                for index in 0..word.len() as u64 {
                    let at = if backwards >> slot & 1 == 1 {
                        at
                    } else {
                        at + index
                    };
                    insert(&mut own, replica(slot as u16), at, &word[..1]);
                }
                parts.push(own);
            }
            parts.iter().for_each(|part| all.join(part).unwrap());
            parts.iter().rev().for_each(|part| reversed.join(part).unwrap());
            let text = read(&all);
            assert_eq!(text, read(&reversed));
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
            assert_eq!(
                (text.starts_with('('), text.ends_with(')')),
                (base.len() == 2, base.len() == 2),
                "{text}"
            );
        }
    }
}

/// The case that tells FugueMax from Fugue: right siblings with different right origins keep to their right neighbours.
#[test]
fn right_siblings_follow_their_right_origins() {
    let mut base = State::<Text>::new();
    insert(&mut base, replica(9), 0, "d");
    let (mut with_a, mut with_c) = (base.clone(), base);
    insert(&mut with_a, replica(0), 0, "a");
    insert(&mut with_c, replica(3), 0, "c");
    let (mut near, mut far) = (joined(&with_a, &with_c), with_a);
    assert_eq!(read(&near), "acd");
    // Both type after a: one in front of c, one in front of d, and the names of the replicas say otherwise.
    insert(&mut near, replica(1), 1, "b");
    insert(&mut far, replica(5), 1, "x");
    assert_eq!((read(&near), read(&far)), ("abcd".into(), "axd".into()));
    assert_eq!(read(&joined(&near, &far)), "axbcd", "b stays next to c");
    assert_eq!(read(&joined(&far, &near)), "axbcd");
}

/// A local editor's view: an index means what the editor saw, whatever tombstones are there.
#[test]
fn edits_do_what_an_array_does() {
    for seed in crate::laws::seeds(60) {
        let mut random = Random::new(seed);
        let mut state = State::<Text>::new();
        let mut plain: Vec<char> = Vec::new();
        for step in 0..60 {
            let operation = state.store.operation(&mut random);
            state.update(replica(step % 4), &operation).unwrap();
            match operation {
                SequenceOperation::Insert { index, values } => {
                    plain.splice(index as usize..index as usize, values);
                }
                SequenceOperation::Delete { index, count } => {
                    plain.drain(index as usize..(index + count) as usize);
                }
            }
            assert_eq!(read(&state), plain.iter().collect::<String>(), "seed {seed}");
            assert_eq!(state.store.len(), plain.len() as u64);
        }
        for index in 0..state.store.len() {
            assert_eq!(
                state.store.index_of(state.store.anchor(index).unwrap()),
                Some(index)
            );
        }
    }
}

#[test]
fn typing_is_one_run() {
    let mut state = State::<Text>::new();
    for index in 0..1_000 {
        insert(&mut state, replica(0), index, "x");
    }
    assert!(
        state.encode().len() < 1_040,
        "{} bytes for 1,000 letters",
        state.encode().len()
    );
}

/// Long enough that the order has many chunks: in place, remote, and built anew give one reading.
#[test]
fn long_sequences_are_as_plain_text() {
    let mut random = Random::new(11);
    let mut states: Vec<State<Text>> = vec![State::new(); 2];
    let mut plain: Vec<Vec<char>> = vec![Vec::new(); 2];
    for round in 0..40 {
        let mut deltas = [Vec::new(), Vec::new()];
        for at in 0..2 {
            for _ in 0..60 {
                let length = plain[at].len() as u64;
                let operation = if random.below(4) == 0 && length > 4 {
                    let index = random.below(length - 3);
                    let count = 1 + random.below(3);
                    plain[at].drain(index as usize..(index + count) as usize);
                    SequenceOperation::Delete { index, count }
                } else {
                    // Sometimes from the front, sometimes always behind the first element: typing backwards.
                    let index =
                        [0, 1.min(length), length, random.below(length + 1)][random.below(4) as usize];
                    let values: Vec<char> = (0..=random.below(2))
                        .map(|_| char::from(b'a' + random.below(26) as u8))
                        .collect();
                    plain[at].splice(index as usize..index as usize, values.clone());
                    SequenceOperation::Insert { index, values }
                };
                deltas[at].extend(states[at].update(replica(at as u16), &operation).unwrap());
            }
            let read: Vec<char> = states[at].store.values().copied().collect();
            assert_eq!(read, plain[at], "round {round}");
        }
        // One in place, delta by delta; the other at once.
        for delta in &deltas[1] {
            states[0].join(delta).unwrap();
        }
        let other = deltas[0]
            .iter()
            .fold(State::new(), |all, next| joined(&all, next));
        states[1].join(&other).unwrap();
        assert_eq!(states[0], states[1], "round {round}");
        let again = State::<Text>::decode(&states[0].encode()).unwrap();
        assert_eq!(again, states[0]);
        for (at, plain) in plain.iter_mut().enumerate() {
            *plain = states[at].store.values().copied().collect();
        }
        assert_eq!(plain[0], plain[1]);
        assert_eq!(again.store.values().copied().collect::<Vec<_>>(), plain[0]);
        for index in [0, plain[0].len() as u64 / 2, plain[0].len() as u64 - 1] {
            let anchor = again.store.anchor(index).unwrap();
            assert_eq!(again.store.index_of(anchor), Some(index));
        }
    }
    assert!(states[0].encode().len() > 5_000 && plain[0].len() > 3_000);
}

/// Twenty thousand insertions before all others, and as many behind the first: no walk along what was typed before.
#[test]
fn typing_backwards_is_not_quadratic() {
    for index in [0, 1] {
        let mut state = State::<Text>::new();
        let mut insert = |index, letter| {
            let values = vec![letter];
            state
                .update(replica(0), &SequenceOperation::Insert { index, values })
                .unwrap();
        };
        insert(0, 'a');
        for step in 0..20_000_u32 {
            insert(index, if step % 2 == 0 { 'b' } else { 'c' });
        }
        let text: String = state.store.values().take(3).collect();
        assert_eq!(text, ["cbc", "acb"][index as usize]);
        assert_eq!(State::decode(&state.encode()).unwrap(), state);
    }
}
