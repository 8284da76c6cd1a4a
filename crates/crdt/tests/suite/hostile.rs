//! Bytes that nobody wrote, and builds that do not know everything.

use pointsman_crdt::{
    Clock, DecodeError, Document, GCounter, Map, MapOperation, Node, Operation, OrSet, Replica, Schema,
    SequenceOperation, SetOperation, Stamp, State, Text, Value, VisibleSet,
};

use crate::laws::{for_every_type, replica, seeds};
use crate::random::Random;
use crate::sample::{Sample, joined};

/// Random and mutated bytes: an error or a state with exactly these bytes, never a panic; and what is accepted can be used.
fn mutated<S: Sample>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut state = State::<S>::new();
        for step in 0..10 {
            let operation = state.store.operation(&mut random);
            let _ = state.update(
                Replica::new(step % 3, 1 + u32::from(step) / 4).unwrap(),
                &operation,
            );
        }
        let good = state.encode();
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(5) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes.truncate(at.max(1)),
                    3 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][random.below(5) as usize]),
                    _ => {
                        let from = random.below(bytes.len() as u64) as usize;
                        bytes[at] = bytes[from];
                    }
                }
            }
            let Ok(decoded) = State::<S>::decode(&bytes) else {
                continue;
            };
            // An unknown type is kept as fragments, so only that form is its own encoding.
            let expected = if decoded.store.has_unknown() {
                decoded.encode()
            } else {
                bytes
            };
            assert_eq!(
                State::<S>::decode(&expected).unwrap().encode(),
                expected,
                "one encoding"
            );
            let mut both = state.clone();
            if both.join(&decoded).is_ok() {
                let _ = (both.store.read(), both.difference(&state), both.encode());
                let operation = both.store.operation(&mut random);
                let _ = both.update(replica(5), &operation);
                both.collect(&state.context);
            }
        }
    }
}

for_every_type!(mutated, seeds(12));

#[test]
fn random_bytes_are_refused_or_read() {
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..random.below(40))
            .map(|_| random.next() as u8 & 0x1f)
            .collect();
        bytes.insert(0, 0x20 | random.below(16) as u8);
        let _ = State::<Map>::decode(&bytes);
        let _ = State::<Text>::decode(&bytes);
        let _ = State::<OrSet>::decode(&bytes);
    }
}

#[test]
fn claims_of_size_allocate_nothing() {
    // A context with 2⁴⁰ dots and a deletion of 2⁵⁷ nodes.
    let mut context = pointsman_crdt::Context::new();
    context.retire(replica(0));
    let mut to = pointsman_crdt::Writer::new();
    to.varint(1 << 5 | 14);
    context.encode(&mut to);
    for number in [0, 0, 1, (1 << 63) | 1, 0, 0, 0] {
        to.varint(number);
    }
    assert!(matches!(
        State::<Text>::decode(&to.into_bytes()),
        Err(DecodeError::NotCanonical { .. })
    ));
    let deep: Vec<u8> = std::iter::repeat_n([1, b'a'], 40).flatten().collect();
    assert!(State::<Map>::decode(&[&[0x2a, 0][..], &deep].concat()).is_err());
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(
        State::<GCounter>::decode(&[]),
        Err(DecodeError::Short { field: "tag" })
    );
    assert_eq!(
        State::<GCounter>::decode(&[0x41]),
        Err(DecodeError::Version { found: 2 })
    );
    assert_eq!(
        State::<GCounter>::decode(&[0x25, 0]),
        Err(DecodeError::Type {
            found: 5,
            expected: 1
        })
    );
    assert_eq!(
        State::<GCounter>::decode(&[0x21, 0x80, 0]),
        Err(DecodeError::Number { field: "context" })
    );
}

fn update(name: &str, operation: Operation) -> MapOperation {
    MapOperation::Update {
        name: name.into(),
        operation: Box::new(operation),
    }
}

/// Rewrites the type tag of the entry `x`: 5 is an OR-set; 15 is a type of the future.
fn retag(mut bytes: Vec<u8>, to: u8) -> Vec<u8> {
    if let Some(at) = bytes.windows(2).position(|pair| pair == [1, b'x']) {
        let head = bytes[at + 2];
        if head & 0x1f == 31 {
            // Fragments: 2³² + tag follows.
            let tag = bytes
                .iter()
                .skip(at + 3)
                .position(|byte| byte & 0x80 == 0x80 && (byte & 0x7f == 5 || byte & 0x7f == 15));
            let tag = at + 3 + tag.unwrap();
            bytes[tag] = 0x80 | to;
        } else {
            bytes[at + 2] = (head & 0xe0) | to;
        }
    }
    bytes
}

/// Two builds share state: the old one does not know the type of `x`, keeps it, relays it, and nothing is lost.
#[test]
fn an_old_build_relays_types_that_it_does_not_know() {
    for seed in seeds(60) {
        let mut random = Random::new(seed);
        let mut new = State::<Map>::new();
        let mut old = State::<Map>::new();
        for step in 0..14 {
            let value = Value::Integer(random.below(3) as i64);
            let operation = match random.below(4) {
                0 => update("x", Operation::OrSet(SetOperation::Add(value))),
                1 => update("x", Operation::OrSet(SetOperation::Remove(value))),
                2 if step % 5 == 4 => MapOperation::Remove { name: "x".into() },
                _ => update("y", Operation::GCounter(1)),
            };
            let Ok(Some(delta)) = new.update(replica(0), &operation) else {
                continue;
            };
            let relayed = State::<Map>::decode(&retag(delta.encode(), 15)).unwrap();
            if random.below(4) > 0 {
                old.join(&relayed).unwrap();
                old.join(&relayed).unwrap();
            }
            if random.below(3) == 0 {
                old.update(replica(1), &update("y", Operation::GCounter(1)))
                    .unwrap();
            }
        }
        // The old build brings a third replica, of the new build, up to date; snapshots of the old build read back.
        let snapshot = old.encode();
        assert_eq!(State::<Map>::decode(&snapshot).unwrap(), old, "seed {seed}");
        let third =
            State::<Map>::decode(&retag(old.missing(&State::<Map>::new().digest()).encode(), 5)).unwrap();
        let expected = joined(&new, &third);
        assert_eq!(expected, joined(&third, &new), "seed {seed}");
        let Some(Node::GCounter(y)) = expected.store.get("y", 1) else {
            continue;
        };
        assert!(y.value() > 0);
        // What only went through the old build is what the new build has, as far as it was told.
        let told = joined(&third, &new);
        assert_eq!(
            told.store.get("x", 5),
            new.store.get("x", 5),
            "seed {seed}: nothing returns, nothing is lost"
        );
    }
}

#[test]
fn the_old_build_holds_all_that_it_was_told() {
    let mut new = State::<Map>::new();
    let mut old = State::<Map>::new();
    for value in 0..4_i64 {
        let delta = new
            .update(
                replica(0),
                &update("x", Operation::OrSet(SetOperation::Add(value.into()))),
            )
            .unwrap()
            .unwrap();
        old.join(&State::decode(&retag(delta.encode(), 15)).unwrap())
            .unwrap();
    }
    let gone = new
        .update(
            replica(0),
            &update("x", Operation::OrSet(SetOperation::Remove(2.into()))),
        )
        .unwrap()
        .unwrap();
    old.join(&State::decode(&retag(gone.encode(), 15)).unwrap())
        .unwrap();
    assert!(matches!(
        old.store.get("x", 15),
        Some(Node::Unknown { tag: 15, .. })
    ));
    let upgraded = State::<Map>::decode(&retag(old.encode(), 5)).unwrap();
    assert_eq!(upgraded, new, "the upgraded build has exactly the state");
}

#[test]
fn unknown_values_are_kept() {
    let mut state = State::<pointsman_crdt::MvRegister>::new();
    let value = Value::Unknown {
        tag: 99,
        bytes: vec![1, 2, 3].into(),
    };
    state.update(replica(0), &value).unwrap();
    assert_eq!(State::decode(&state.encode()).unwrap(), state);
}

#[test]
fn documents_follow_their_schema_and_keep_the_rest() {
    let schema = Schema::new([
        ("likes", "g-counter"),
        ("tags", "2p-set"),
        ("inventory", "pn-counter"),
    ])
    .unwrap();
    let wide = Schema::new([("likes", "g-counter"), ("extra", "or-set")]).unwrap();
    assert!(
        Schema::new([("a", "nonsense")])
            .unwrap_err()
            .to_string()
            .contains('a')
    );
    let mut narrow = Document::new(schema);
    let mut newer = Document::new(wide);
    narrow
        .update(replica(0), "likes", Operation::GCounter(1))
        .unwrap();
    assert!(
        narrow
            .update(replica(0), "extra", Operation::GCounter(1))
            .is_err(),
        "not in the schema"
    );
    let error = narrow
        .update(replica(0), "likes", Operation::PnCounter(1))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "field `likes`: this operation is for pn-counter, the field is g-counter"
    );
    newer
        .update(
            replica(1),
            "extra",
            Operation::OrSet(SetOperation::Add("kept".into())),
        )
        .unwrap();
    narrow.join(newer.state()).unwrap();
    assert!(narrow.field("extra").is_err());
    newer.join(narrow.state()).unwrap();
    assert_eq!(newer.state(), narrow.state());
    let Some(Node::OrSet(extra)) = newer.field("extra").unwrap() else {
        panic!()
    };
    assert!(extra.contains(&"kept".into()));
}

#[test]
fn clocks_that_are_ahead_are_refused() {
    let mut clock = Clock::new(500);
    let first = clock.tick(1_000);
    assert!(clock.tick(900) > first, "a clock that went back");
    let far = Stamp::at(301_000);
    assert_eq!(clock.observe(far, 1_000).unwrap_err().ahead_ms, 300_000);
    assert!(clock.tick(1_000) < far);
    clock.observe(Stamp::at(1_400), 1_000).unwrap();
    assert!(clock.tick(1_000) > Stamp::at(1_400));

    use pointsman_crdt::engine::{DeltaEngine, DeltaMessage, Engine, ReceiveError, Settings};
    let mut engine =
        DeltaEngine::<pointsman_crdt::LwwRegister>::start(Settings::new(replica(0), 1), State::new());
    let mut other = State::new();
    let delta = other.update(replica(1), &(far, "ahead".into())).unwrap().unwrap();
    let message = DeltaMessage::Fill {
        epoch: 1,
        to: 1,
        delta: delta.into(),
    };
    let error = engine.receive(replica(1), &message, 1_000).unwrap_err();
    assert!(matches!(error, ReceiveError::Skew(_)));
    assert!(engine.state().is_bottom(), "not joined, not acknowledged");
    engine.receive(replica(1), &message, 300_600).unwrap();
    assert!(!engine.state().is_bottom(), "later it is taken");
}

#[test]
fn bounds_are_errors() {
    let mut text = State::<Text>::new();
    let values = vec!['x'; (1 << 20) + 1];
    assert!(
        text.update(replica(0), &SequenceOperation::Insert { index: 0, values })
            .is_err()
    );
    let mut counter = State::<GCounter>::new();
    counter.update(replica(0), &u64::MAX).unwrap();
    assert!(counter.update(replica(0), &1).is_err());
    counter.retire(replica(0));
    assert!(counter.update(replica(0), &1).is_err(), "retired");
    assert!(
        counter.update(Replica::new(0, 2).unwrap(), &1).is_err(),
        "the successor carries the share on"
    );
}
