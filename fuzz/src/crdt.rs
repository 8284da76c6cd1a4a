//! Decoders of `pointsman-crdt`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_crdt::engine::{
    DeltaEngine, DeltaMessage, Engine, OperationEngine, OperationMessage, Settings,
};
use pointsman_crdt::{
    ApplyError, Clock, Context, Crdt, DecodeError, Digest, DisableWinsFlag, Document, EnableWinsFlag,
    FieldType, GCounter, GSet, JsonError, List, LwwRegister, Map, MvRegister, OrGraph, OrSet, PnCounter,
    Reader, Replica, Schema, State, Store, Text, TwoPhaseGraph, TwoPhaseSet, Value, Writer,
};

use crate::{Target, lines, unhex};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "crdt-state",
        corpus: states,
        run: fuzz_state,
    },
    Target {
        name: "crdt-join",
        corpus: pairs,
        run: fuzz_join,
    },
    Target {
        name: "crdt-reading",
        corpus: map_pairs,
        run: fuzz_reading,
    },
    Target {
        name: "crdt-delta-message",
        corpus: delta_messages,
        run: fuzz_delta_message,
    },
    Target {
        name: "crdt-operation-message",
        corpus: operation_messages,
        run: fuzz_operation_message,
    },
    Target {
        name: "crdt-value",
        corpus: values,
        run: fuzz_value,
    },
    Target {
        name: "crdt-context",
        corpus: contexts,
        run: fuzz_context,
    },
    Target {
        name: "crdt-json-operation",
        corpus: json_operations,
        run: fuzz_json_operation,
    },
    Target {
        name: "crdt-json-value",
        corpus: json_values,
        run: fuzz_json_value,
    },
    Target {
        name: "crdt-json-schema",
        corpus: json_schemas,
        run: fuzz_json_schema,
    },
];

const NOW_MS: u64 = 1_700_000_000_000;

fn replica() -> Replica {
    Replica::new(3, 1).expect("in range")
}

/// Calls a generic function with the type of a tag.
macro_rules! of_type {
    ($tag:expr, $function:ident($($argument:expr),*)) => {
        match $tag {
            1 => $function::<GCounter>($($argument),*),
            2 => $function::<PnCounter>($($argument),*),
            3 => $function::<GSet>($($argument),*),
            4 => $function::<TwoPhaseSet>($($argument),*),
            5 => $function::<OrSet>($($argument),*),
            6 => $function::<LwwRegister>($($argument),*),
            7 => $function::<MvRegister>($($argument),*),
            8 => $function::<EnableWinsFlag>($($argument),*),
            9 => $function::<DisableWinsFlag>($($argument),*),
            10 => $function::<Map>($($argument),*),
            11 => $function::<TwoPhaseGraph>($($argument),*),
            12 => $function::<OrGraph>($($argument),*),
            13 => $function::<List>($($argument),*),
            14 => $function::<Text>($($argument),*),
            _ => "no type".into(),
        }
    };
}

fn refused(error: &DecodeError) -> String {
    // The numbers in errors are not places.
    error
        .to_string()
        .chars()
        .filter(|letter| !letter.is_ascii_digit())
        .collect()
}

/// How a state looks, roughly: so that inputs with more in them are kept.
fn shape<S: Store>(state: &State<S>) -> String {
    let rough = |count: usize| usize::BITS - count.leading_zeros();
    let live = state.live();
    format!(
        "{} {} {} {}",
        S::NAME,
        rough(state.context.intervals().len()),
        rough(live.intervals().len()),
        rough(state.encode().len())
    )
}

/// State: the first byte has the type.
fn fuzz_state(bytes: &[u8]) -> String {
    let tag = bytes.first().map_or(0, |byte| byte & 31);
    of_type!(tag, state(bytes))
}

fn state<S: Crdt>(bytes: &[u8]) -> String {
    let state = match State::<S>::decode(bytes) {
        Ok(state) => state,
        Err(error) => return refused(&error),
    };
    let again = state.encode();
    if !state.store.has_unknown() {
        assert_eq!(again, bytes, "one encoding");
    }
    let read = State::<S>::decode(&again).expect("what was written is read");
    assert_eq!(read, state);
    assert_eq!(read.encode(), again, "one encoding");
    check_joins(&state);
    shape(&state)
}

/// Two states of one type: the length of the first in one byte, then both.
fn fuzz_join(bytes: &[u8]) -> String {
    let Some((length, rest)) = bytes.split_first() else {
        return "empty".into();
    };
    let Some((a, b)) = rest.split_at_checked(usize::from(*length)) else {
        return "short".into();
    };
    let tag = a.first().map_or(0, |byte| byte & 31);
    of_type!(tag, join(a, b))
}

/// Whether a dot that lives in both has one meaning. A writer that gives it two breaks what everything rests on; nobody
/// promises anything then. Nodes of sequences may differ: one side deleted or raised them.
fn agree<S: Crdt>(a: &State<S>, b: &State<S>) -> bool {
    let mut atoms = BTreeMap::new();
    a.store.atoms(&mut |atom, dots| {
        atoms.extend(dots.first().map(|dot| (*dot, atom)));
    });
    let mut agree = true;
    b.store.atoms(&mut |atom, dots| {
        let other = dots.first().and_then(|dot| atoms.get(dot));
        agree &= matches!(S::TAG, 13 | 14) || other.is_none_or(|other| *other == atom);
    });
    for (a, b) in [(a, b), (b, a)] {
        let live = a.live();
        b.store.deletions(&mut |by| {
            if live.contains(by) {
                agree = false;
            }
        });
    }
    agree
}

fn join<S: Crdt>(a: &[u8], b: &[u8]) -> String {
    let (a, b) = match (State::<S>::decode(a), State::<S>::decode(b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(error), _) => return format!("first: {}", refused(&error)),
        (_, Err(error)) => return format!("second: {}", refused(&error)),
    };
    if !agree(&a, &b) {
        return "two meanings".into();
    }
    let ab = joined(&a, &b);
    assert_eq!(ab, joined(&b, &a), "commutative");
    let Some(ab) = ab else {
        return "beyond a bound".into();
    };
    assert_eq!(joined(&ab, &a).as_ref(), Some(&ab), "absorbs");
    assert_eq!(joined(&ab, &b).as_ref(), Some(&ab), "absorbs");
    assert_eq!(State::decode(&ab.encode()).as_ref(), Ok(&ab));
    assert_eq!(joined(&b, &a.difference(&b)).as_ref(), Some(&ab), "difference");
    shape(&ab)
}

/// Documents: what readers see does not depend on who joined what, or on reading bytes again.
fn fuzz_reading(bytes: &[u8]) -> String {
    let Some((length, rest)) = bytes.split_first() else {
        return "empty".into();
    };
    let Some((a, b)) = rest.split_at_checked(usize::from(*length)) else {
        return "short".into();
    };
    let (Ok(a), Ok(b)) = (State::<Map>::decode(a), State::<Map>::decode(b)) else {
        return "refused".into();
    };
    if !agree(&a, &b) {
        return "two meanings".into();
    }
    let (Some(ab), Some(ba)) = (joined(&a, &b), joined(&b, &a)) else {
        return "beyond a bound".into();
    };
    let again = State::decode(&ab.encode()).expect("what was written is read");
    let [ab, ba, again] = [ab, ba, again].map(|state| {
        let entries = state.store.entries();
        entries
            .map(|(key, node)| format!("{key:?} {}", node.to_json()))
            .collect::<Vec<_>>()
    });
    assert_eq!(ab, ba, "commutative reading");
    assert_eq!(ab, again, "one reading of one state");
    format!("{} fields", ab.len())
}

fn pairs() -> Vec<Vec<u8>> {
    let short: Vec<Vec<u8>> = states().into_iter().filter(|state| state.len() < 128).collect();
    let pair = |(a, b): (&Vec<u8>, &Vec<u8>)| {
        let alike = a.first() == b.first();
        alike.then(|| [&[a.len() as u8][..], a, b].concat())
    };
    let further = short.iter().skip(7);
    short.iter().zip(further).filter_map(pair).collect()
}

fn map_pairs() -> Vec<Vec<u8>> {
    pairs()
        .into_iter()
        .filter(|pair| pair.get(1) == Some(&0x2a))
        .collect()
}

fn joined<S: Crdt>(a: &State<S>, b: &State<S>) -> Option<State<S>> {
    let mut joined = a.clone();
    joined.join(b).ok()?;
    Some(joined)
}

fn check_joins<S: Crdt>(state: &State<S>) {
    assert_eq!(joined(state, state).as_ref(), Some(state), "idempotent");
    let bottom = State::new();
    assert_eq!(
        joined(state, &bottom).as_ref(),
        Some(state),
        "nothing changes nothing"
    );
    assert!(state.difference(state).is_bottom());
    if !state.store.has_unknown() {
        assert_eq!(joined(&bottom, state).as_ref(), Some(state));
        let missing = state.missing(&Digest::default());
        assert_eq!(
            joined(&bottom, &missing).as_ref(),
            Some(state),
            "a digest of nothing"
        );
    }
    // One that saw the same and removed all of it.
    let removed = State {
        store: S::default(),
        context: state.context.clone(),
    };
    let both = joined(state, &removed);
    assert_eq!(both, joined(&removed, state), "commutative");
    if let Some(both) = both {
        assert_eq!(State::decode(&both.encode()).as_ref(), Ok(&both));
    }
    let mut collected = state.clone();
    collected.collect(&state.context);
    assert_eq!(State::decode(&collected.encode()).as_ref(), Ok(&collected));
}

/// Delta message: the type, then the message.
fn fuzz_delta_message(bytes: &[u8]) -> String {
    let Some((tag, bytes)) = bytes.split_first() else {
        return "empty".into();
    };
    of_type!(tag, delta_message(bytes))
}

fn delta_message<S: Crdt>(bytes: &[u8]) -> String {
    let message = match DeltaMessage::<S>::decode(bytes) {
        Ok(message) => message,
        Err(error) => return refused(&error),
    };
    let again = message.encode();
    assert_eq!(DeltaMessage::decode(&again).as_ref(), Ok(&message));
    let mut engine = DeltaEngine::<S>::start(Settings::new(replica(), 1), State::new());
    let neighbour = Replica::new(4, 1).expect("in range");
    for _ in 0..2 {
        for answer in engine.receive(neighbour, &message, NOW_MS).unwrap_or_default() {
            assert_eq!(DeltaMessage::decode(&answer.encode()).as_ref(), Ok(&answer));
        }
        engine.poll(neighbour);
    }
    let state = engine.state();
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    format!("{} {}", bytes.first().map_or(0, |kind| *kind), shape(state))
}

/// Operation message: the type, then the message. Delivered to whoever has seen what goes before, as far as contexts say.
fn fuzz_operation_message(bytes: &[u8]) -> String {
    let Some((tag, bytes)) = bytes.split_first() else {
        return "empty".into();
    };
    of_type!(tag, operation_message(bytes))
}

fn operation_message<S: Crdt>(bytes: &[u8]) -> String {
    let message = match OperationMessage::<S>::decode(bytes) {
        Ok(message) => Arc::new(message),
        Err(error) => return refused(&error),
    };
    let again = message.encode();
    let unknown = matches!(message.as_ref(), OperationMessage::State(state) if state.store.has_unknown());
    assert!(again == bytes || unknown, "one encoding");
    let mut seen = State::<S>::new();
    if let OperationMessage::Operation { after, effect, .. } = message.as_ref() {
        let mut covered = Context::new();
        S::covers(effect, &mut covered);
        seen.context = after.clone();
        let mut by_effect = seen.clone();
        by_effect.effect(effect);
        let by_delta = joined(&seen, &State::delta_of(effect));
        assert_eq!(by_delta, Some(by_effect), "an effect is its delta");
    }
    let mut engine = OperationEngine::<S>::start(Settings::new(replica(), 1), seen);
    let neighbour = Replica::new(4, 1).expect("in range");
    for _ in 0..2 {
        for answer in engine.receive(neighbour, &message, NOW_MS).unwrap_or_default() {
            let bytes = answer.encode();
            assert_eq!(
                OperationMessage::<S>::decode(&bytes).map(|read| read.encode()),
                Ok(bytes)
            );
        }
    }
    let state = engine.state();
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    format!("{} {}", bytes.first().map_or(0, |kind| *kind), shape(state))
}

fn value_shape(value: &Value) -> String {
    match value {
        Value::List(items) => format!("list of {}", items.len().min(9)),
        Value::Record(fields) => format!("record of {}", fields.len().min(9)),
        Value::Text(text) => format!("text of {}", text.len().min(9)),
        other => format!("{other:?}").chars().take(5).collect(),
    }
}

fn fuzz_value(bytes: &[u8]) -> String {
    let mut from = Reader::new(bytes);
    let value = match Value::decode(&mut from) {
        Ok(value) => value,
        Err(error) => return refused(&error),
    };
    let read = &bytes[..bytes.len() - from.left()];
    let mut to = Writer::new();
    value.encode(&mut to);
    assert_eq!(to.into_bytes(), read, "one encoding");
    assert_eq!(value.check(), Ok(()), "what is read may be written");
    assert_eq!(
        Value::from_json(&value.to_json(), "value").as_ref(),
        Ok(&value),
        "JSON form"
    );
    value_shape(&value)
}

fn fuzz_context(bytes: &[u8]) -> String {
    let context = match Context::from_bytes(bytes) {
        Ok(context) => context,
        Err(error) => return refused(&error),
    };
    assert_eq!(context.to_bytes(), bytes, "one encoding");
    let rebuilt: Context = context.intervals().iter().rev().copied().collect();
    assert_eq!(rebuilt, context, "ascending, disjoint and apart");
    assert!(context.is_subset(&context) && context.difference(&context).is_empty());
    assert_eq!(context.intersection(&context), context);
    let digest = Digest::of_context(context.clone());
    assert_eq!(Digest::decode(&digest.encode()).as_ref(), Ok(&digest));
    format!("{}", context.intervals().len().min(40))
}

fn schema() -> Schema {
    let names: Vec<&str> = FieldType::names().collect();
    Schema::new(names.iter().map(|name| (*name, *name))).expect("all types")
}

/// Field names of the vectors' operations.
const FIELDS: &[(&str, &str)] = &[
    ("acl", "2p2p-graph"),
    ("banned", "2p-set"),
    ("body", "text"),
    ("draft", "enable-wins-flag"),
    ("items", "list"),
    ("likes", "g-counter"),
    ("links", "or-graph"),
    ("open", "disable-wins-flag"),
    ("profile", "map"),
    ("seen", "g-set"),
    ("stock", "pn-counter"),
    ("tags", "or-set"),
    ("title", "lww-register"),
    ("votes", "mv-register"),
];

fn fuzz_json_operation(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return "not text".into();
    };
    let mut document = Document::new(Schema::new(FIELDS.iter().copied()).expect("known types"));
    let result = document.apply_json(replica(), text, &mut Clock::new(500), NOW_MS);
    let bytes = document.state().encode();
    assert_eq!(State::decode(&bytes).as_ref(), Ok(document.state()));
    serde_json::to_string(&document.to_json()).expect("a reading is JSON");
    match result {
        Ok(None) => "nothing".into(),
        Ok(Some(delta)) => {
            let mut other = Document::new(document.schema().clone());
            let joined = other
                .join(&State::decode(&delta.encode()).expect("a delta is read"))
                .expect("fits");
            assert_eq!(other.state(), document.state());
            assert!(joined.changed.len() == 1);
            shape(&delta)
        }
        Err(error) => match &error {
            ApplyError::Json(error) => json_error(error),
            ApplyError::Operation { error, .. } => format!("{:.16}", format!("{error:?}")),
        },
    }
}

/// The kind of an error: paths and what was found are not places.
fn json_error(error: &JsonError) -> String {
    match error {
        JsonError::Syntax { reason } => reason.split(" at ").next().unwrap_or_default().into(),
        JsonError::Wrong { expected, .. } => expected.clone(),
        JsonError::Unexpected { allowed, .. } => allowed.clone(),
        other => format!("{:.12}", format!("{other:?}")),
    }
}

fn fuzz_json_value(bytes: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice(bytes) else {
        return "not JSON".into();
    };
    let value = match Value::from_json(&json, "value") {
        Ok(value) => value,
        Err(error) => return json_error(&error),
    };
    assert_eq!(value.check(), Ok(()), "what is read may be written");
    assert_eq!(Value::from_json(&value.to_json(), "value").as_ref(), Ok(&value));
    let mut to = Writer::new();
    value.encode(&mut to);
    assert_eq!(
        Value::decode(&mut Reader::new(&to.into_bytes())).as_ref(),
        Ok(&value)
    );
    value_shape(&value)
}

fn fuzz_json_schema(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return "not text".into();
    };
    match Schema::parse_json(text) {
        Ok(schema) => {
            assert_eq!(Schema::from_json(&schema.to_json()).as_ref(), Ok(&schema));
            format!("{} fields", schema.fields().count())
        }
        Err(error) => json_error(&error),
    }
}

/// States and deltas of every type.
fn states() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in FieldType::names() {
        for line in lines("crdt", name) {
            let found = ["state", "delta"]
                .iter()
                .filter_map(|field| line.get(field)?.as_str());
            all.extend(found.map(unhex));
        }
    }
    all
}

fn delta_messages() -> Vec<Vec<u8>> {
    let mut all = vec![vec![5, 1, 7, 1], vec![5, 2, 1, 0, 1, 0, 1, 0, 1, 0]];
    for state in states().into_iter().step_by(5) {
        let tag = state.first().map_or(0, |byte| byte & 31);
        all.push([&[tag, 0, 1, 0, 1][..], &state].concat());
        all.push([&[tag, 3, 1, 1][..], &state].concat());
    }
    all
}

fn operation_messages() -> Vec<Vec<u8>> {
    let mut all = vec![vec![5, 1, 1, 0, 1, 0]];
    let mut tag = 0;
    for line in lines("crdt", "operations") {
        let kind = line.get("type").and_then(serde_json::Value::as_str);
        if let Some(kind) = kind.and_then(FieldType::named) {
            tag = kind.tag() as u8;
        }
        if let Some(message) = line.get("message").and_then(serde_json::Value::as_str) {
            all.push([&[tag][..], &unhex(message)].concat());
        }
    }
    all.extend(states().into_iter().step_by(40).map(|state| {
        let tag = state.first().map_or(0, |byte| byte & 31);
        [&[tag, 2][..], &state].concat()
    }));
    all
}

fn hex_fields(name: &str, field: &str) -> Vec<Vec<u8>> {
    let lines = lines("crdt", name);
    let found = lines.iter().filter_map(|line| line.get(field)?.as_str());
    found.map(unhex).collect()
}

fn values() -> Vec<Vec<u8>> {
    let mut all = hex_fields("values", "bytes");
    all.extend(hex_fields("json-values", "bytes"));
    all
}

fn contexts() -> Vec<Vec<u8>> {
    let states = states().into_iter();
    let mut all: Vec<Vec<u8>> = states
        .filter_map(|state| {
            let mut from = Reader::new(state.get(1..)?);
            Context::decode(&mut from).ok().map(|context| context.to_bytes())
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn json_fields(name: &str, field: &str) -> Vec<Vec<u8>> {
    let lines = lines("crdt", name);
    let found = lines.iter().filter_map(|line| line.get(field));
    found.map(|json| json.to_string().into_bytes()).collect()
}

fn json_operations() -> Vec<Vec<u8>> {
    json_fields("json", "operation")
}

fn json_values() -> Vec<Vec<u8>> {
    json_fields("json-values", "json")
}

fn json_schemas() -> Vec<Vec<u8>> {
    let mut all = json_fields("json", "schema");
    all.push(schema().to_json().to_string().into_bytes());
    all
}
