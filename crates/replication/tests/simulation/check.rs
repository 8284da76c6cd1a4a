//! What must hold in the end.

use std::collections::BTreeMap;

use pointsman_crdt::{Map, Node, State, Value, VisibleSet as _};
use pointsman_replication::holders;

use super::node::Node as Replica;

/// Elements of the set that every write adds to.
pub fn elements(state: &State<Map>) -> Vec<Value> {
    let tag = pointsman_crdt::FieldType::named("or-set").unwrap().tag();
    match state.store.get("writes", tag) {
        Some(Node::OrSet(set)) => set.elements().cloned().collect(),
        _ => Vec::new(),
    }
}

pub fn counter(state: &State<Map>) -> u128 {
    let tag = pointsman_crdt::FieldType::named("g-counter").unwrap().tag();
    match state.store.get("count", tag) {
        Some(Node::GCounter(counter)) => counter.value(),
        _ => 0,
    }
}

/// Holders agree, nobody else keeps anything, and everything acknowledged is there.
pub fn settled(
    nodes: &BTreeMap<usize, Replica>,
    names: &[&'static str],
    acknowledged: &BTreeMap<&'static str, Vec<Value>>,
) {
    for name in names {
        let view = nodes.values().next().unwrap().view();
        let copies = nodes.values().next().unwrap().copies_wanted;
        let holders = holders(name, copies, &view);
        let mut whole: Option<&State<Map>> = None;
        for node in nodes.values() {
            let holds = holders.iter().any(|holder| holder.replica == node.replica);
            let Some((_, copy)) = node.copies.get(name) else {
                assert!(
                    !holds || acknowledged.get(name).is_none_or(Vec::is_empty),
                    "{name}: holder {:?} has no copy",
                    node.replica
                );
                assert!(holds || !node.disk.names().contains(name));
                continue;
            };
            assert!(copy.is_ready(), "{name}: {:?} never became ready", node.replica);
            assert_eq!(
                copy.waiting(),
                0,
                "{name}: writes wait for ever at {:?}",
                node.replica
            );
            assert_eq!(copy.holds(), holds);
            assert!(
                holds || node.used.contains(name),
                "{name}: {:?} keeps a copy",
                node.replica
            );
            match whole {
                None => whole = Some(copy.state()),
                Some(whole) => assert_eq!(
                    (&copy.state().store, copy.state().live()),
                    (&whole.store, whole.live()),
                    "{name}: {:?} differs",
                    node.replica
                ),
            }
        }
        let present = whole.map(elements).unwrap_or_default();
        for element in acknowledged.get(name).into_iter().flatten() {
            assert!(present.contains(element), "{name}: lost {element:?}");
        }
        let count = whole.map_or(0, counter);
        let least = acknowledged.get(name).map_or(0, Vec::len) as u128;
        assert!(count >= least, "{name}: {count} counted of {least}");
    }
}

/// Whoever uses a document has all that was acknowledged anywhere, though members see different ones.
pub fn alike(
    nodes: &BTreeMap<usize, Replica>,
    names: &[&'static str],
    acknowledged: &BTreeMap<&'static str, Vec<Value>>,
) {
    for name in names {
        for node in nodes.values().filter(|node| node.used.contains(name)) {
            let copy = node.copies.get(name).map(|(_, copy)| copy);
            let present = copy.map(|copy| elements(copy.state())).unwrap_or_default();
            for element in acknowledged.get(name).into_iter().flatten() {
                assert!(
                    present.contains(element),
                    "{name}: {:?} lacks {element:?}",
                    node.replica
                );
            }
            let waiting = copy.map_or(0, |copy| copy.waiting());
            assert_eq!(waiting, 0, "{name}: writes wait for ever at {:?}", node.replica);
        }
    }
}
