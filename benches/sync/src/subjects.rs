//! One way to ask every library for the same.

use std::collections::BTreeMap;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ReadDoc};
use crdts::{CmRDT, CvRDT};
use loro::{ExportMode, LoroDoc, VersionVector};
use pointsman_crdt::{Document, Map, Operation, Replica, Schema, SequenceOperation, State, Text};
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Map as _, ReadTxn, StateVector, Text as _, Transact, Update};

/// A document of boolean registers.
pub trait Registers {
    const NAME: &'static str;
    fn new(replica: u8) -> Self;
    /// Sets a register; gives what goes to other replicas.
    fn set(&mut self, key: &str, on: bool) -> Vec<u8>;
    fn receive(&mut self, bytes: &[u8]);
    fn state(&mut self) -> Vec<u8>;
    /// Joins all that another replica has.
    fn join(&mut self, other: &mut Self) {
        let state = other.state();
        self.receive(&state);
    }
    fn read(&self) -> BTreeMap<String, bool>;
}

/// One text.
pub trait Editor {
    const NAME: &'static str;
    fn new() -> Self;
    fn edit(&mut self, position: usize, deleted: usize, inserted: &str);
    fn state(&mut self) -> Vec<u8>;
    fn load(bytes: &[u8]) -> Self;
    fn read(&self) -> String;
    /// The state once everybody is known to have everything, for those that make use of it.
    fn collected(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// `Document` of flags.
pub struct Pointsman {
    replica: Replica,
    document: Document,
}

impl Registers for Pointsman {
    const NAME: &'static str = "pointsman";

    fn new(replica: u8) -> Self {
        let names: Vec<String> = (0..crate::flips::REGISTERS).map(crate::flips::key).collect();
        let schema = Schema::new(names.iter().map(|name| (name.as_str(), "enable-wins-flag")));
        Self {
            replica: Replica::new(u16::from(replica), 1).expect("in range"),
            document: Document::new(schema.expect("known types")),
        }
    }

    fn set(&mut self, key: &str, on: bool) -> Vec<u8> {
        let operation = Operation::EnableWinsFlag(on);
        let delta = self
            .document
            .update(self.replica, key, operation)
            .expect("in the schema");
        delta.expect("a change").encode()
    }

    fn receive(&mut self, bytes: &[u8]) {
        let delta = State::<Map>::decode(bytes).expect("readable");
        self.document.join(&delta).expect("fits");
    }

    fn state(&mut self) -> Vec<u8> {
        self.document.state().encode()
    }

    fn read(&self) -> BTreeMap<String, bool> {
        let entries = self.document.state().store.entries();
        let flag = |node: &pointsman_crdt::Node| match node {
            pointsman_crdt::Node::EnableWinsFlag(flag) => flag.value(),
            _ => false,
        };
        entries
            .map(|(key, node)| (key.name.to_string(), flag(node)))
            .collect()
    }
}

/// Merges of operations that were decoded before, in a second.
pub fn merges_decoded(deltas: &[(&'static str, Vec<Vec<u8>>)]) -> Vec<(&'static str, f64)> {
    let mut rates = Vec::new();
    for (name, deltas) in deltas {
        let (start, count) = match *name {
            Pointsman::NAME => {
                let all: Vec<State<Map>> = deltas.iter().flat_map(|delta| State::decode(delta)).collect();
                let mut state = State::new();
                let start = std::time::Instant::now();
                all.iter().for_each(|delta| state.join(delta).expect("fits"));
                (start.elapsed(), all.len())
            }
            _ => {
                let read = |delta: &Vec<u8>| postcard::from_bytes(delta).expect("readable");
                let all: Vec<<Registered as CmRDT>::Op> = deltas.iter().map(read).collect();
                let (mut map, count) = (Registered::new(), all.len());
                let start = std::time::Instant::now();
                all.into_iter().for_each(|operation| map.apply(operation));
                (start.elapsed(), count)
            }
        };
        rates.push((*name, count as f64 / start.as_secs_f64()));
    }
    rates
}

type Registered = crdts::Map<String, crdts::MVReg<bool, u8>, u8>;

/// `Map` of `MVReg`, in the encoding of postcard: the library has none of its own.
pub struct Crdts {
    actor: u8,
    map: Registered,
}

impl Registers for Crdts {
    const NAME: &'static str = "crdts";

    fn new(replica: u8) -> Self {
        Self {
            actor: replica,
            map: Registered::new(),
        }
    }

    fn set(&mut self, key: &str, on: bool) -> Vec<u8> {
        let context = self.map.read_ctx().derive_add_ctx(self.actor);
        let operation = self
            .map
            .update(key.to_string(), context, |register, add| register.write(on, add));
        let bytes = postcard::to_allocvec(&operation).expect("encodable");
        self.map.apply(operation);
        bytes
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.map.apply(postcard::from_bytes(bytes).expect("readable"));
    }

    fn state(&mut self) -> Vec<u8> {
        postcard::to_allocvec(&self.map).expect("encodable")
    }

    fn join(&mut self, other: &mut Self) {
        let state = other.state();
        self.map.merge(postcard::from_bytes(&state).expect("readable"));
    }

    fn read(&self) -> BTreeMap<String, bool> {
        let entries = self.map.iter();
        entries
            .map(|entry| {
                let (key, register) = entry.val;
                (key.clone(), register.read().val.into_iter().any(|on| on))
            })
            .collect()
    }
}

/// `Y.Map`, update format 1.
pub struct Yrs {
    doc: Doc,
}

impl Registers for Yrs {
    const NAME: &'static str = "yrs";

    fn new(replica: u8) -> Self {
        Self {
            doc: Doc::with_client_id(u64::from(replica) + 1),
        }
    }

    fn set(&mut self, key: &str, on: bool) -> Vec<u8> {
        let map = self.doc.get_or_insert_map("m");
        let mut transaction = self.doc.transact_mut();
        map.insert(&mut transaction, key, on);
        transaction.encode_update_v1()
    }

    fn receive(&mut self, bytes: &[u8]) {
        let update = Update::decode_v1(bytes).expect("readable");
        self.doc.transact_mut().apply_update(update).expect("applicable");
    }

    fn state(&mut self) -> Vec<u8> {
        self.doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default())
    }

    fn read(&self) -> BTreeMap<String, bool> {
        let map = self.doc.get_or_insert_map("m");
        let transaction = self.doc.transact();
        let on = |value: yrs::Out| matches!(value, yrs::Out::Any(yrs::Any::Bool(true)));
        map.iter(&transaction)
            .map(|(key, value)| (key.to_string(), on(value)))
            .collect()
    }
}

impl Editor for Yrs {
    const NAME: &'static str = "yrs";

    fn new() -> Self {
        <Self as Registers>::new(0)
    }

    fn edit(&mut self, position: usize, deleted: usize, inserted: &str) {
        let text = self.doc.get_or_insert_text("t");
        let mut transaction = self.doc.transact_mut();
        if deleted > 0 {
            text.remove_range(&mut transaction, position as u32, deleted as u32);
        }
        if !inserted.is_empty() {
            text.insert(&mut transaction, position as u32, inserted);
        }
    }

    fn state(&mut self) -> Vec<u8> {
        Registers::state(self)
    }

    fn load(bytes: &[u8]) -> Self {
        let mut loaded = <Self as Registers>::new(1);
        loaded.receive(bytes);
        loaded
    }

    fn read(&self) -> String {
        let text = self.doc.get_or_insert_text("t");
        text.get_string(&self.doc.transact())
    }
}

/// `LoroMap` and `LoroText`.
pub struct Loro {
    doc: LoroDoc,
    sent: VersionVector,
}

impl Registers for Loro {
    const NAME: &'static str = "loro";

    fn new(replica: u8) -> Self {
        let doc = LoroDoc::new();
        doc.set_peer_id(u64::from(replica) + 1).expect("a peer");
        Self {
            sent: doc.oplog_vv(),
            doc,
        }
    }

    fn set(&mut self, key: &str, on: bool) -> Vec<u8> {
        self.doc.get_map("m").insert(key, on).expect("inserted");
        self.doc.commit();
        let bytes = self
            .doc
            .export(ExportMode::updates(&self.sent))
            .expect("exported");
        self.sent = self.doc.oplog_vv();
        bytes
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.doc.import(bytes).expect("readable");
    }

    fn state(&mut self) -> Vec<u8> {
        self.doc.export(ExportMode::Snapshot).expect("exported")
    }

    fn read(&self) -> BTreeMap<String, bool> {
        let mut all = BTreeMap::new();
        self.doc.get_map("m").for_each(|key, value| {
            let on = matches!(value.get_deep_value(), loro::LoroValue::Bool(true));
            all.insert(key.to_string(), on);
        });
        all
    }
}

impl Editor for Loro {
    const NAME: &'static str = "loro";

    fn new() -> Self {
        <Self as Registers>::new(0)
    }

    fn edit(&mut self, position: usize, deleted: usize, inserted: &str) {
        let text = self.doc.get_text("t");
        if deleted > 0 {
            text.delete(position, deleted).expect("deleted");
        }
        if !inserted.is_empty() {
            text.insert(position, inserted).expect("inserted");
        }
    }

    fn state(&mut self) -> Vec<u8> {
        self.doc.commit();
        Registers::state(self)
    }

    fn load(bytes: &[u8]) -> Self {
        let mut loaded = <Self as Registers>::new(1);
        loaded.receive(bytes);
        loaded
    }

    fn read(&self) -> String {
        self.doc.get_text("t").to_string()
    }
}

/// `AutoCommit`.
pub struct Automerge {
    doc: AutoCommit,
    text: Option<automerge::ObjId>,
}

impl Registers for Automerge {
    const NAME: &'static str = "automerge";

    fn new(replica: u8) -> Self {
        let actor = automerge::ActorId::from([replica, 1].as_slice());
        Self {
            doc: AutoCommit::new().with_actor(actor),
            text: None,
        }
    }

    fn set(&mut self, key: &str, on: bool) -> Vec<u8> {
        self.doc.put(automerge::ROOT, key, on).expect("put");
        self.doc.commit();
        self.doc.save_incremental()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.doc.load_incremental(bytes).expect("readable");
    }

    fn state(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    fn read(&self) -> BTreeMap<String, bool> {
        let items = self.doc.map_range(automerge::ROOT, ..);
        let on = automerge::ValueRef::Scalar(automerge::ScalarValueRef::Boolean(true));
        items
            .map(|item| (item.key.to_string(), item.value == on))
            .collect()
    }
}

impl Editor for Automerge {
    const NAME: &'static str = "automerge";

    fn new() -> Self {
        let mut new = <Self as Registers>::new(0);
        let text = new.doc.put_object(automerge::ROOT, "t", automerge::ObjType::Text);
        new.text = Some(text.expect("made"));
        new
    }

    fn edit(&mut self, position: usize, deleted: usize, inserted: &str) {
        let text = self.text.as_ref().expect("made");
        self.doc
            .splice_text(text, position, deleted as isize, inserted)
            .expect("spliced");
    }

    fn state(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    fn load(bytes: &[u8]) -> Self {
        let doc = AutoCommit::load(bytes).expect("readable");
        let (_, text) = doc.get(automerge::ROOT, "t").expect("readable").expect("there");
        Self {
            doc,
            text: Some(text),
        }
    }

    fn read(&self) -> String {
        self.doc
            .text(self.text.as_ref().expect("made"))
            .expect("readable")
    }
}

/// `Text`.
pub struct PointsmanText {
    state: State<Text>,
}

impl Editor for PointsmanText {
    const NAME: &'static str = "pointsman";

    fn new() -> Self {
        Self { state: State::new() }
    }

    fn edit(&mut self, position: usize, deleted: usize, inserted: &str) {
        let replica = Replica::new(0, 1).expect("in range");
        let index = position as u64;
        let delete = (deleted > 0).then_some(SequenceOperation::Delete {
            index,
            count: deleted as u64,
        });
        let insert = (!inserted.is_empty()).then(|| SequenceOperation::Insert {
            index,
            values: inserted.chars().collect(),
        });
        for operation in delete.into_iter().chain(insert) {
            self.state.update(replica, &operation).expect("in range");
        }
    }

    fn state(&mut self) -> Vec<u8> {
        self.state.encode()
    }

    fn load(bytes: &[u8]) -> Self {
        Self {
            state: State::decode(bytes).expect("readable"),
        }
    }

    fn read(&self) -> String {
        self.state.store.values().collect()
    }

    fn collected(&mut self) -> Option<Vec<u8>> {
        let all = self.state.context.clone();
        self.state.collect(&all);
        Some(self.state.encode())
    }
}
