//! Scripts that other languages play too: each line says what a replica does, and the bytes and the reading afterwards.
//! `POINTSMAN_BLESS=1` writes the files anew.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use pointsman_crdt::engine::{Engine, OperationEngine, OperationMessage, Settings};
use pointsman_crdt::{
    Crdt, DisableWinsFlag, Edge, EnableWinsFlag, GCounter, GSet, GraphOperation, List, LwwRegister, Map,
    MapOperation, MvRegister, Node, Operation, OrGraph, OrSet, PnCounter, Reader, Replica, SequenceOperation,
    SetOperation, Stamp, State, Store, Text, TwoPhaseGraph, TwoPhaseSet, Value, VisibleSet, Writer,
};

use crate::random::Random;
use crate::sample::Sample;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/crdt")
        .join(format!("{name}.jsonl"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn text(text: &str) -> String {
    assert!(
        !text.contains(['"', '\\']) && !text.contains(char::is_control),
        "vectors need no escapes"
    );
    format!("\"{text}\"")
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(on) => on.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{{\"float\":\"{:016x}\"}}", number.to_bits()),
        Value::Text(content) => text(content),
        Value::Bytes(bytes) => format!("{{\"bytes\":\"{}\"}}", hex(bytes)),
        Value::List(items) => list(items.iter().map(self::value)),
        Value::Record(fields) => {
            let fields = fields
                .iter()
                .map(|(name, content)| format!("{}:{}", text(name), self::value(content)));
            format!("{{\"record\":{{{}}}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Unknown { tag, bytes } => format!("{{\"unknown\":{tag},\"bytes\":\"{}\"}}", hex(bytes)),
    }
}

/// How operations and readings look in the files.
trait Written: Crdt {
    fn write(operation: &Self::Operation) -> String;
    fn reading(&self) -> String;
}

macro_rules! written {
    ($type:ty, |$operation:ident| $write:expr, |$store:ident| $reading:expr) => {
        impl Written for $type {
            fn write($operation: &Self::Operation) -> String {
                $write
            }
            fn reading(&self) -> String {
                let $store = self;
                $reading
            }
        }
    };
}

fn set<K>(operation: &SetOperation<K>, key: impl Fn(&K) -> String) -> String {
    match operation {
        SetOperation::Add(element) => format!("{{\"add\":{}}}", key(element)),
        SetOperation::Remove(element) => format!("{{\"remove\":{}}}", key(element)),
    }
}

fn edge(edge: &Edge) -> String {
    format!("{{\"from\":{},\"to\":{}}}", value(&edge.from), value(&edge.to))
}

fn graph(operation: &GraphOperation) -> String {
    match operation {
        GraphOperation::Vertex(operation) => format!("{{\"vertex\":{}}}", set(operation, value)),
        GraphOperation::Edge(operation) => format!("{{\"edge\":{}}}", set(operation, edge)),
    }
}

fn sequence<T>(operation: &SequenceOperation<T>, values: impl Fn(&[T]) -> String) -> String {
    match operation {
        SequenceOperation::Insert { index, values: items } => {
            format!("{{\"index\":{index},\"insert\":{}}}", values(items))
        }
        SequenceOperation::Delete { index, count } => format!("{{\"index\":{index},\"delete\":{count}}}"),
    }
}

fn chars(values: &[char]) -> String {
    text(&values.iter().collect::<String>())
}

written!(GCounter, |add| add.to_string(), |s| s.value().to_string());
written!(PnCounter, |add| add.to_string(), |s| s.value().to_string());
written!(GSet, |add| value(add), |s| list(s.elements().map(value)));
written!(TwoPhaseSet, |operation| set(operation, value), |s| list(
    s.elements().map(value)
));
written!(OrSet, |operation| set(operation, value), |s| list(
    s.elements().map(value)
));
written!(
    LwwRegister,
    |assign| format!("{{\"stamp\":\"{}\",\"value\":{}}}", assign.0.0, value(&assign.1)),
    |s| s.value().map_or("null".into(), |(at, v)| format!(
        "{{\"stamp\":\"{}\",\"value\":{}}}",
        at.0,
        value(v)
    ))
);
written!(MvRegister, |assign| value(assign), |s| list(
    s.values().map(value)
));
written!(EnableWinsFlag, |on| on.to_string(), |s| s.value().to_string());
written!(DisableWinsFlag, |on| on.to_string(), |s| s.value().to_string());
written!(TwoPhaseGraph, |operation| graph(operation), |s| format!(
    "{{\"vertices\":{},\"edges\":{}}}",
    list(s.vertices().map(value)),
    list(s.edges().map(edge))
));
written!(OrGraph, |operation| graph(operation), |s| format!(
    "{{\"vertices\":{},\"edges\":{}}}",
    list(s.vertices().map(value)),
    list(s.edges().map(edge))
));
written!(
    List,
    |operation| sequence(operation, |items| list(items.iter().map(value))),
    |s| list(s.values().map(value))
);
written!(Text, |operation| sequence(operation, chars), |s| chars(
    &s.values().copied().collect::<Vec<_>>()
));

macro_rules! each_node {
    ($on:expr, $enum:ident, |$name:ident: $type:ident| $then:expr, $else:expr) => {
        match $on {
            $enum::GCounter($name) => {
                type $type = GCounter;
                $then
            }
            $enum::PnCounter($name) => {
                type $type = PnCounter;
                $then
            }
            $enum::GSet($name) => {
                type $type = GSet;
                $then
            }
            $enum::TwoPhaseSet($name) => {
                type $type = TwoPhaseSet;
                $then
            }
            $enum::OrSet($name) => {
                type $type = OrSet;
                $then
            }
            $enum::LwwRegister($name) => {
                type $type = LwwRegister;
                $then
            }
            $enum::MvRegister($name) => {
                type $type = MvRegister;
                $then
            }
            $enum::EnableWinsFlag($name) => {
                type $type = EnableWinsFlag;
                $then
            }
            $enum::DisableWinsFlag($name) => {
                type $type = DisableWinsFlag;
                $then
            }
            $enum::Map($name) => {
                type $type = Map;
                $then
            }
            $enum::TwoPhaseGraph($name) => {
                type $type = TwoPhaseGraph;
                $then
            }
            $enum::OrGraph($name) => {
                type $type = OrGraph;
                $then
            }
            $enum::List($name) => {
                type $type = List;
                $then
            }
            $enum::Text($name) => {
                type $type = Text;
                $then
            }
            #[allow(unreachable_patterns)]
            _ => $else,
        }
    };
}

impl Written for Map {
    fn write(operation: &MapOperation) -> String {
        match operation {
            MapOperation::Remove { name } => format!("{{\"remove\":{}}}", text(name)),
            MapOperation::Update { name, operation } => {
                let inner = each_node!(
                    &**operation,
                    Operation,
                    |inner: Kind| Kind::write(inner),
                    unreachable!()
                );
                let kind = operation.type_name();
                format!(
                    "{{\"update\":{},\"type\":{},\"operation\":{inner}}}",
                    text(name),
                    text(kind)
                )
            }
        }
    }

    fn reading(&self) -> String {
        let entries = self.entries().map(|(key, node)| {
            let inner = each_node!(
                node,
                Node,
                |store: Kind| <Kind as Written>::reading(store),
                "null".into()
            );
            format!(
                "{{\"name\":{},\"type\":{},\"value\":{inner}}}",
                text(&key.name),
                text(node.type_name())
            )
        });
        list(entries)
    }
}

/// Three replicas act at random, join deltas in any order, are retired and succeeded, and collect.
fn script<S: Sample + Written>(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut lines = String::new();
    let mut states: Vec<State<S>> = vec![State::new(); 3];
    let mut incarnations = [1_u32; 3];
    let mut deltas: Vec<State<S>> = Vec::new();
    for step in 0..60 {
        let at = random.below(3) as usize;
        let by = Replica::new(at as u16 * 7, incarnations[at]).unwrap();
        let who = format!("\"replica\":\"{}/{}\"", by.slot(), by.incarnation());
        let line = if step % 20 == 19 {
            // Everybody gets everything; then a retirement and a collection are safe.
            for delta in &deltas {
                states.iter_mut().for_each(|state| state.join(delta).unwrap());
            }
            let stable = states[at].context.clone();
            for state in &mut states {
                state.collect(&stable);
                state.retire(by);
            }
            incarnations[at] += 1;
            format!(
                "\"do\":\"retire\",{who},\"comment\":\"all states: join every delta so far, collect the common context, retire\""
            )
        } else if random.below(3) < 2 || deltas.is_empty() {
            let operation = states[at].store.operation(&mut random);
            let Ok(Some(delta)) = states[at].update(by, &operation) else {
                continue;
            };
            let bytes = hex(&delta.encode());
            deltas.push(delta);
            format!(
                "\"do\":\"update\",{who},\"operation\":{},\"delta\":\"{bytes}\"",
                S::write(&operation)
            )
        } else {
            let delta = random.pick(&deltas).clone();
            states[at].join(&delta).unwrap();
            format!("\"do\":\"join\",{who},\"delta\":\"{}\"", hex(&delta.encode()))
        };
        let (bytes, reading) = (states[at].encode(), states[at].store.reading());
        let again = State::<S>::decode(&bytes).unwrap();
        assert_eq!((&again, again.store.reading()), (&states[at], reading.clone()));
        writeln!(
            lines,
            "{{{line},\"state\":\"{}\",\"value\":{reading}}}",
            hex(&bytes)
        )
        .unwrap();
    }
    lines
}

pub fn compare(name: &str, expected: &str) {
    let path = path(name);
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} differs; POINTSMAN_BLESS=1 writes it, read the difference",
        path.display()
    );
}

/// The field's text in a line; the files are written by this module, so no general reader is needed.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
    let rest = &line[start..];
    &rest[..rest.find('"').unwrap()]
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn vectors<S: Sample + Written>(name: &str) {
    let expected: String = (1..=3)
        .map(script::<S>)
        .collect::<Vec<_>>()
        .join("{\"do\":\"restart\"}\n");
    compare(name, &expected);
    // Read the file on its own: every state and delta in it is the one encoding of what it says.
    for line in std::fs::read_to_string(path(name))
        .unwrap()
        .lines()
        .filter(|line| line.contains("\"state\""))
    {
        let state = unhex(field(line, "state"));
        let decoded = State::<S>::decode(&state).unwrap();
        assert_eq!(decoded.encode(), state);
        assert!(line.ends_with(&format!("\"value\":{}}}", decoded.store.reading())));
    }
}

macro_rules! vector_files {
    ($($function:ident: $type:ty),+ $(,)?) => {
        $(#[test]
        fn $function() {
            vectors::<$type>(<$type as pointsman_crdt::Store>::NAME);
        })+
    };
}

vector_files!(
    g_counter: GCounter,
    pn_counter: PnCounter,
    g_set: GSet,
    two_phase_set: TwoPhaseSet,
    or_set: OrSet,
    lww_register: LwwRegister,
    mv_register: MvRegister,
    enable_wins_flag: EnableWinsFlag,
    disable_wins_flag: DisableWinsFlag,
    map: Map,
    two_phase_graph: TwoPhaseGraph,
    or_graph: OrGraph,
    list_of_values: List,
    text_of_scalars: Text,
);

/// Three replicas over the operation engine; messages arrive late and out of order, and wait for what they follow.
fn operations<S: Sample + Written>(seed: u64) -> String {
    let mut random = Random::new(seed);
    let name = S::NAME;
    let mut lines = format!("{{\"do\":\"restart\",\"type\":\"{name}\"}}\n");
    let by = |at: usize| Replica::new(at as u16 * 7, 1).unwrap();
    let start = |at| OperationEngine::<S>::start(Settings::new(by(at), 1), State::new());
    let mut engines: Vec<_> = (0..3).map(start).collect();
    let mut flying: Vec<(usize, Vec<u8>)> = Vec::new();
    for step in 0..40 {
        let at = random.below(3) as usize;
        let line = if step < 25 && (random.below(2) == 0 || flying.is_empty()) {
            let operation = engines[at].state().store.operation(&mut random);
            let messages = engines[at].update(&operation).unwrap_or_default();
            let Some(message) = messages.first() else {
                continue;
            };
            let bytes = message.encode();
            flying.extend((0..3).filter(|to| *to != at).map(|to| (to, bytes.clone())));
            format!(
                "\"do\":\"update\",\"replica\":\"{}/1\",\"operation\":{},\"message\":\"{}\"",
                at * 7,
                S::write(&operation),
                hex(&bytes)
            )
        } else if flying.is_empty() {
            break;
        } else {
            let (to, bytes) = flying.swap_remove(random.below(flying.len() as u64) as usize);
            let message = OperationMessage::decode(&bytes).unwrap();
            engines[to].receive(by(at), &Arc::new(message), 0).unwrap();
            let state = hex(&engines[to].state().encode());
            writeln!(
                lines,
                "{{\"do\":\"receive\",\"replica\":\"{}/1\",\"message\":\"{}\",\"state\":\"{state}\"}}",
                to * 7,
                hex(&bytes)
            )
            .unwrap();
            continue;
        };
        let state = hex(&engines[at].state().encode());
        writeln!(lines, "{{{line},\"state\":\"{state}\"}}").unwrap();
    }
    lines
}

/// Whether every message of a line is the one encoding of what it says.
fn reads<S: Sample>(line: &str) {
    let bytes = unhex(field(line, "message"));
    assert_eq!(OperationMessage::<S>::decode(&bytes).unwrap().encode(), bytes);
}

#[test]
fn operation_messages() {
    macro_rules! all {
        ($($type:ty),+) => {{
            let expected = [$(operations::<$type>(5)),+].concat();
            compare("operations", &expected);
            let mut kind = String::new();
            for line in std::fs::read_to_string(path("operations")).unwrap().lines() {
                if line.contains("\"restart\"") {
                    kind = field(line, "type").into();
                }
                $(if line.contains("\"message\"") && kind == <$type as Store>::NAME {
                    reads::<$type>(line);
                })+
            }
        }};
    }
    all!(
        GCounter,
        PnCounter,
        GSet,
        TwoPhaseSet,
        OrSet,
        LwwRegister,
        MvRegister,
        EnableWinsFlag,
        DisableWinsFlag,
        Map,
        TwoPhaseGraph,
        OrGraph,
        List,
        Text
    );
}

#[test]
fn values() {
    let values = [
        Value::Null,
        false.into(),
        true.into(),
        i64::MIN.into(),
        (-1).into(),
        0.into(),
        300.into(),
        i64::MAX.into(),
        Value::Float(f64::NEG_INFINITY),
        Value::Float(-0.0),
        Value::Float(0.1),
        Value::Float(f64::NAN),
        "".into(),
        "grün 🚂".into(),
        Value::Bytes(vec![0, 255].into()),
        Value::List(vec![1.into(), Value::List(Arc::new([]))].into()),
        Value::record([("b".into(), 1.into()), ("a".into(), "x".into())]),
        Value::Unknown {
            tag: 16,
            bytes: vec![7].into(),
        },
    ];
    assert!(values.is_sorted(), "in their order");
    let mut lines = String::new();
    for one in &values {
        let mut to = Writer::new();
        one.encode(&mut to);
        let bytes = to.into_bytes();
        assert_eq!(&Value::decode(&mut Reader::new(&bytes)).unwrap(), one);
        writeln!(
            lines,
            "{{\"value\":{},\"bytes\":\"{}\"}}",
            value(one),
            hex(&bytes)
        )
        .unwrap();
    }
    compare("values", &lines);
}

/// Bytes that every reader has to refuse, with the reason.
#[test]
fn refused() {
    let mut lines = String::new();
    let mut refuse = |name: &str, error: String, bytes: &[u8]| {
        writeln!(
            lines,
            "{{\"type\":\"{name}\",\"bytes\":\"{}\",\"why\":{}}}",
            hex(bytes),
            text(&error)
        )
        .unwrap();
    };
    let mut state = State::<Map>::new();
    let stamp = Stamp::at(1_700_000_000_000);
    let registers = [
        ("a", Operation::LwwRegister((stamp, 1.into()))),
        ("b", Operation::EnableWinsFlag(true)),
    ];
    for (name, operation) in registers {
        let operation = MapOperation::Update {
            name: name.into(),
            operation: Box::new(operation),
        };
        state.update(Replica::new(3, 2).unwrap(), &operation).unwrap();
    }
    let good = state.encode();
    for length in 0..good.len() {
        if let Err(error) = State::<Map>::decode(&good[..length]) {
            refuse("map", error.to_string(), &good[..length]);
        }
    }
    for (at, flip) in (0..good.len()).flat_map(|at| [(at, 1), (at, 0x80)]) {
        let mut bytes = good.clone();
        bytes[at] ^= flip;
        if let Err(error) = State::<Map>::decode(&bytes) {
            refuse("map", error.to_string(), &bytes);
        }
    }
    assert!(lines.lines().count() > 20);
    compare("refused", &lines);
}
