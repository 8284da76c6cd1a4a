//! Random operations and readings of every type.

use std::fmt::Debug;

use pointsman_crdt::{
    Crdt, DisableWinsFlag, Edge, EnableWinsFlag, GCounter, GSet, Graph, GraphOperation, List, LwwRegister,
    Map, MapOperation, MvRegister, Node, Operation, OrSet, PnCounter, SequenceOperation, SetOperation, Stamp,
    State, Text, TwoPhaseSet, Value, VisibleSet,
};

use crate::random::Random;

pub trait Sample: Crdt {
    type Reading: PartialEq + Debug;
    fn operation(&self, random: &mut Random) -> Self::Operation;
    fn read(&self) -> Self::Reading;
}

fn value(random: &mut Random) -> Value {
    Value::Integer(random.below(4) as i64)
}

fn set_operation<K>(key: K, random: &mut Random) -> SetOperation<K> {
    if random.below(5) < 3 {
        SetOperation::Add(key)
    } else {
        SetOperation::Remove(key)
    }
}

impl Sample for GCounter {
    type Reading = u128;
    fn operation(&self, random: &mut Random) -> u64 {
        random.below(4)
    }
    fn read(&self) -> u128 {
        self.value()
    }
}

impl Sample for PnCounter {
    type Reading = i128;
    fn operation(&self, random: &mut Random) -> i64 {
        random.below(9) as i64 - 4
    }
    fn read(&self) -> i128 {
        self.value()
    }
}

impl Sample for GSet {
    type Reading = Vec<Value>;
    fn operation(&self, random: &mut Random) -> Value {
        value(random)
    }
    fn read(&self) -> Vec<Value> {
        self.elements().cloned().collect()
    }
}

impl Sample for TwoPhaseSet {
    type Reading = Vec<Value>;
    fn operation(&self, random: &mut Random) -> SetOperation {
        set_operation(Value::Integer(random.below(8) as i64), random)
    }
    fn read(&self) -> Vec<Value> {
        self.elements().cloned().collect()
    }
}

impl Sample for OrSet {
    type Reading = Vec<Value>;
    fn operation(&self, random: &mut Random) -> SetOperation {
        set_operation(value(random), random)
    }
    fn read(&self) -> Vec<Value> {
        self.elements().cloned().collect()
    }
}

impl Sample for LwwRegister {
    type Reading = Option<(Stamp, Value)>;
    fn operation(&self, random: &mut Random) -> (Stamp, Value) {
        let seen = self.value().map_or(0, |(stamp, _)| stamp.0);
        (Stamp(seen + 1 + random.below(2)), value(random))
    }
    fn read(&self) -> Option<(Stamp, Value)> {
        self.value().map(|(stamp, value)| (stamp, value.clone()))
    }
}

impl Sample for MvRegister {
    type Reading = Vec<Value>;
    fn operation(&self, random: &mut Random) -> Value {
        value(random)
    }
    fn read(&self) -> Vec<Value> {
        self.values().cloned().collect()
    }
}

impl Sample for EnableWinsFlag {
    type Reading = bool;
    fn operation(&self, random: &mut Random) -> bool {
        random.below(2) == 0
    }
    fn read(&self) -> bool {
        self.value()
    }
}

impl Sample for DisableWinsFlag {
    type Reading = bool;
    fn operation(&self, random: &mut Random) -> bool {
        random.below(2) == 0
    }
    fn read(&self) -> bool {
        self.value()
    }
}

impl<V: VisibleSet<Value>, E: VisibleSet<Edge>> Sample for Graph<V, E> {
    type Reading = (Vec<Value>, Vec<Edge>);
    fn operation(&self, random: &mut Random) -> GraphOperation {
        let (from, to) = (value(random), value(random));
        match random.below(2) {
            0 => GraphOperation::Vertex(set_operation(from, random)),
            _ => GraphOperation::Edge(set_operation(Edge { from, to }, random)),
        }
    }
    fn read(&self) -> Self::Reading {
        (
            self.vertices().cloned().collect(),
            self.edges().cloned().collect(),
        )
    }
}

fn sequence_operation<T>(length: u64, random: &mut Random, make: impl Fn(u64) -> T) -> SequenceOperation<T> {
    if length > 0 && random.below(5) < 2 {
        let index = random.below(length);
        let count = 1 + random.below((length - index).min(3));
        return SequenceOperation::Delete { index, count };
    }
    let count = 1 + random.below(3);
    let values = (0..count).map(|_| make(random.below(26))).collect();
    SequenceOperation::Insert {
        index: random.below(length + 1),
        values,
    }
}

impl Sample for List {
    type Reading = Vec<Value>;
    fn operation(&self, random: &mut Random) -> SequenceOperation<Value> {
        sequence_operation(self.len(), random, |n| Value::Integer(n as i64))
    }
    fn read(&self) -> Vec<Value> {
        self.values().cloned().collect()
    }
}

impl Sample for Text {
    type Reading = String;
    fn operation(&self, random: &mut Random) -> SequenceOperation<char> {
        sequence_operation(self.len(), random, |n| char::from(b'a' + n as u8))
    }
    fn read(&self) -> String {
        self.values().collect()
    }
}

impl Sample for Map {
    type Reading = Vec<String>;
    fn operation(&self, random: &mut Random) -> MapOperation {
        let name: std::sync::Arc<str> = ["a", "b"][random.below(2) as usize].into();
        if random.below(5) == 0 {
            return MapOperation::Remove { name };
        }
        macro_rules! on {
            ($variant:ident, $type:ty) => {{
                let store = match self.get(&name, <$type as pointsman_crdt::Store>::TAG) {
                    Some(Node::$variant(store)) => store.clone(),
                    _ => <$type>::default(),
                };
                Operation::$variant(store.operation(random))
            }};
        }
        let operation = match random.below(9) {
            0 => on!(GCounter, GCounter),
            1 => on!(PnCounter, PnCounter),
            2 => on!(OrSet, OrSet),
            3 => on!(EnableWinsFlag, EnableWinsFlag),
            4 => on!(LwwRegister, LwwRegister),
            5 => on!(TwoPhaseSet, TwoPhaseSet),
            6 => on!(Text, Text),
            7 => on!(DisableWinsFlag, DisableWinsFlag),
            _ => on!(Map, Map),
        };
        MapOperation::Update {
            name,
            operation: Box::new(operation),
        }
    }
    fn read(&self) -> Vec<String> {
        self.entries()
            .map(|(key, node)| {
                let read = match node {
                    Node::GCounter(store) => format!("{:?}", store.read()),
                    Node::PnCounter(store) => format!("{:?}", store.read()),
                    Node::OrSet(store) => format!("{:?}", store.read()),
                    Node::EnableWinsFlag(store) => format!("{:?}", store.read()),
                    Node::DisableWinsFlag(store) => format!("{:?}", store.read()),
                    Node::LwwRegister(store) => format!("{:?}", store.read()),
                    Node::TwoPhaseSet(store) => format!("{:?}", store.read()),
                    Node::Text(store) => format!("{:?}", store.read()),
                    Node::List(store) => format!("{:?}", store.read()),
                    Node::Map(store) => format!("{:?}", store.read()),
                    other => other.type_name().to_string(),
                };
                format!("{}:{} {read}", key.name, key.tag)
            })
            .collect()
    }
}

pub fn joined<S: Crdt>(a: &State<S>, b: &State<S>) -> State<S> {
    let mut joined = a.clone();
    joined.join(b).unwrap();
    joined
}
