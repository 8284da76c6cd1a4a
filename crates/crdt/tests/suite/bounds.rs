//! Bounds: what is too large or too deep is refused, by whoever meets it first, as a whole.

use pointsman_crdt::{
    Clock, DecodeError, Document, Edge, GraphOperation, Map, MapOperation, Operation, Schema,
    SequenceOperation, SetOperation, Stamp, State, Value,
};

use crate::laws::replica;

fn update(name: &str, operation: Operation) -> MapOperation {
    MapOperation::Update {
        name: name.into(),
        operation: Box::new(operation),
    }
}

/// What an operation takes, every reader of the state takes.
#[test]
fn operations_are_refused_where_their_bytes_would_be() {
    let by = replica(0);
    let mut value = Value::Null;
    for _ in 0..32 {
        value = Value::List([value].into());
    }
    let deeper = Value::List([value.clone()].into());
    let unsorted = Value::Record([("b".into(), 1.into()), ("a".into(), 1.into())].into());
    let known = Value::Unknown {
        tag: 3,
        bytes: [0].into(),
    };
    let edge = |value: &Value| {
        GraphOperation::Edge(SetOperation::Add(Edge {
            from: 1.into(),
            to: value.clone(),
        }))
    };
    let ways = |value: &Value| {
        [
            Operation::GSet(value.clone()),
            Operation::OrSet(SetOperation::Add(value.clone())),
            Operation::TwoPhaseSet(SetOperation::Add(value.clone())),
            Operation::MvRegister(value.clone()),
            Operation::LwwRegister((Stamp(1), value.clone())),
            Operation::OrGraph(GraphOperation::Vertex(SetOperation::Add(value.clone()))),
            Operation::OrGraph(edge(value)),
            Operation::List(SequenceOperation::Insert {
                index: 0,
                values: vec![value.clone()],
            }),
        ]
    };
    for operation in ways(&value).into_iter().filter(|way| {
        // Its ends are not there.
        !matches!(way, Operation::OrGraph(GraphOperation::Edge(_)))
    }) {
        let mut state = State::<Map>::new();
        state.update(by, &update("x", operation)).unwrap();
        assert_eq!(State::decode(&state.encode()).unwrap(), state);
    }
    for bad in [&deeper, &unsorted, &known] {
        for operation in ways(bad) {
            let mut state = State::<Map>::new();
            assert!(
                state.update(by, &update("x", operation.clone())).is_err(),
                "{operation:?}"
            );
        }
    }
    let nested = |depth: u32| {
        (0..depth).fold(update("x", Operation::GCounter(1)), |inner, _| {
            update("m", Operation::Map(inner))
        })
    };
    let mut state = State::<Map>::new();
    state.update(by, &nested(16)).unwrap();
    assert_eq!(State::decode(&state.encode()).unwrap(), state);
    assert!(State::<Map>::new().update(by, &nested(17)).is_err());
}

/// Two replicas fill a text concurrently: their join would be beyond what readers take, so it is refused as a whole.
#[test]
fn a_join_never_makes_what_no_reader_takes() {
    let fill = |slot: u16| {
        let mut state = State::<Map>::new();
        let values = vec!['x'; 600_000];
        let insert = SequenceOperation::Insert { index: 0, values };
        state
            .update(replica(slot), &update("flag", Operation::EnableWinsFlag(true)))
            .unwrap();
        state
            .update(replica(slot), &update("text", Operation::Text(insert)))
            .unwrap();
        state
    };
    let (mut a, b) = (fill(0), fill(1));
    let before = a.clone();
    assert_eq!(a.join(&b).unwrap_err().limit, 1 << 20);
    assert_eq!(a, before, "unchanged");
    a.join(&before).unwrap();
    // With what was deleted and collected there is room again.
    let mut emptied = b.clone();
    let delete = SequenceOperation::Delete {
        index: 0,
        count: 600_000,
    };
    emptied
        .update(replica(1), &update("text", Operation::Text(delete)))
        .unwrap();
    emptied.collect(&emptied.context.clone());
    a.join(&emptied).unwrap();
    assert_eq!(State::decode(&a.encode()).unwrap(), a);
}

/// A few bytes may claim a million deleted nodes, in many fields: nobody walks along them one by one.
#[test]
fn claims_of_deleted_nodes_cost_nothing() {
    let mut context = pointsman_crdt::Context::new();
    context.retire(replica(0));
    let mut to = pointsman_crdt::Writer::new();
    to.varint(1 << 5 | 10);
    context.encode(&mut to);
    for field in 0..2_000_u64 {
        let mut body = pointsman_crdt::Writer::new();
        // First dot (incarnation 0 is the first of the interval), length with `deleted`, collected as stable.
        body.varint(0);
        body.varint(0);
        body.varint(1 + field * (1 << 20));
        body.varint((1 << 20) << 6 | 1);
        (0..3).for_each(|_| body.varint(0));
        to.block(format!("f{field:04}").as_bytes());
        to.varint((body.len() as u64) << 5 | 14);
        to.raw(&body.into_bytes());
    }
    let bytes = to.into_bytes();
    let state = State::<Map>::decode(&bytes).unwrap();
    let mut other = State::<Map>::new();
    other.update(replica(1), &update("g", typed("x"))).unwrap();
    other.join(&state).unwrap();
    other.join(&state).unwrap();
    assert!(state.difference(&other).is_bottom());
    assert!(!other.missing(&Default::default()).is_bottom());
    assert_eq!(State::decode(&other.encode()).unwrap(), other);
}

fn typed(text: &str) -> Operation {
    Operation::Text(SequenceOperation::Insert {
        index: 0,
        values: text.chars().collect(),
    })
}

/// Bytes where one dot is in two fields: no history makes them, and joins with them could differ between replicas.
#[test]
fn one_dot_in_two_places_is_refused() {
    let mut state = State::<Map>::new();
    state
        .update(replica(0), &update("a", Operation::EnableWinsFlag(true)))
        .unwrap();
    let mut bytes = state.encode();
    let entry = bytes[bytes.len() - 4..].to_vec();
    assert_eq!(entry[..2], [1, b'a']);
    bytes.extend_from_slice(&entry);
    let at = bytes.len() - 3;
    bytes[at] = b'b';
    assert!(matches!(
        State::<Map>::decode(&bytes),
        Err(DecodeError::Dot { .. })
    ));
}

/// Fragments of an unknown type see no more than the state that has them, and are bounded although each is empty.
#[test]
fn fragments_are_within_their_state_and_bounded() {
    let foreign = |tag: u64, inner: &[u8]| {
        let mut to = pointsman_crdt::Writer::new();
        to.varint(1 << 5 | 10);
        pointsman_crdt::Context::from_iter([replica(0).dot(1).unwrap()]).encode(&mut to);
        to.block(b"x");
        to.varint((inner.len() as u64) << 5 | 31);
        to.varint((1 << 32) + tag);
        to.raw(inner);
        to.into_bytes()
    };
    let mut body = pointsman_crdt::Writer::new();
    pointsman_crdt::Context::new().encode(&mut body);
    body.varint(1);
    pointsman_crdt::Context::from_iter([replica(5).dot(1).unwrap()]).encode(&mut body);
    body.block(&[0, 1]);
    let body = body.into_bytes();
    for tag in [1, 15] {
        assert!(matches!(
            State::<Map>::decode(&foreign(tag, &body)),
            Err(DecodeError::UnknownDot { .. })
        ));
    }

    let mut state = State::<Map>::new();
    let mut refused = None;
    for sequence in 1..100_000 {
        let mut to = pointsman_crdt::Writer::new();
        to.varint(1 << 5 | 10);
        pointsman_crdt::Context::from_iter([replica(0).dot(sequence).unwrap()]).encode(&mut to);
        to.raw(&[1, b'x', 15]);
        if let Err(error) = state.join(&State::decode(&to.into_bytes()).unwrap()) {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused.unwrap().what, "content of an unknown type");
}

/// A delta may bring dots of its writer alone, and cover what is known.
#[test]
fn foreign_dots_are_told() {
    let schema = Schema::new([("open", "disable-wins-flag")]).unwrap();
    let mut server = Document::new(schema);
    let flag = Operation::DisableWinsFlag(false);
    server.update(replica(1), "open", flag.clone()).unwrap();
    let mut client = server.clone();
    let delta = client.update(replica(2), "open", flag).unwrap().unwrap();
    assert!(server.foreign(&delta, replica(2)).is_empty());
    assert_eq!(server.foreign(&delta, replica(3)).count(), 1);
    let mut ending = delta;
    ending.context.retire(replica(1));
    assert!(!server.foreign(&ending, replica(2)).is_empty());
    server.join(&ending).unwrap();
    assert!(
        server
            .update(replica(1), "open", Operation::DisableWinsFlag(true))
            .is_err(),
        "what happens to who does not look"
    );
}

/// A stamp that is far ahead does not get in, and costs the clock nothing.
#[test]
fn documents_refuse_stamps_that_are_ahead() {
    let schema = Schema::new([("title", "lww-register")]).unwrap();
    let (mut document, mut other) = (Document::new(schema.clone()), Document::new(schema));
    let write = Operation::LwwRegister((Stamp::at(301_000), 1.into()));
    let delta = other.update(replica(1), "title", write).unwrap().unwrap();
    let mut clock = Clock::new(500);
    assert!(document.receive(&delta, &mut clock, 1_000).is_err());
    assert!(document.state().is_bottom() && clock.tick(1_000) < Stamp::at(1_001));
    document.receive(&delta, &mut clock, 300_600).unwrap();
    assert!(clock.tick(300_600) > Stamp::at(301_000));
}
