//! What replicas tell of themselves, in JSON: a newer build may tell more.

use bytes::Bytes;
use pointsman_crdt::Replica;
use pointsman_replication::members::Hello;
use pointsman_wire::Packet;
use serde::{Deserialize, Serialize};

use crate::hex;
use crate::points::{self, Points};

pub(super) const HELLO: &str = "peer/hello";
pub(super) const BYE: &str = "peer/bye";

/// Slot and incarnation.
type Pair = (u16, u32);

#[derive(Serialize, Deserialize)]
struct Form {
    /// Decimal, because numbers in JSON lose digits.
    process: String,
    #[serde(default)]
    replica: Option<Pair>,
    #[serde(default)]
    draining: bool,
    #[serde(default)]
    gone: Vec<Pair>,
    #[serde(default)]
    highest: Vec<Pair>,
    /// Up to where it has heard events.
    #[serde(default)]
    points: String,
}

#[derive(Serialize, Deserialize)]
struct Grant {
    replica: Pair,
    key: String,
}

fn pair(replica: Replica) -> Pair {
    (replica.slot(), replica.incarnation())
}

fn replicas(pairs: &[Pair]) -> Vec<Replica> {
    pairs
        .iter()
        .filter_map(|(slot, number)| Replica::new(*slot, *number))
        .collect()
}

pub(super) fn packet(hello: &Hello, points: &Points) -> Packet {
    let form = Form {
        process: hello.process.to_string(),
        replica: hello.replica.map(pair),
        draining: hello.draining,
        gone: hello.gone.iter().copied().map(pair).collect(),
        highest: hello.highest.iter().copied().map(pair).collect(),
        points: points::write(points),
    };
    Packet::Event {
        sequence: 1,
        name: HELLO.to_owned(),
        origin: None,
        payload: Bytes::from(serde_json::to_vec(&form).unwrap_or_default()),
    }
}

pub(super) fn parse(payload: &[u8]) -> Option<(Hello, Points)> {
    let form: Form = serde_json::from_slice(payload).ok()?;
    let points = points::parse(&form.points);
    let hello = Hello {
        process: form.process.parse().ok()?,
        replica: form.replica.and_then(|(slot, number)| Replica::new(slot, number)),
        draining: form.draining,
        gone: replicas(&form.gone),
        highest: replicas(&form.highest),
    };
    Some((hello, points))
}

/// The answer to a claim.
pub(super) fn grant(replica: Replica, key: &[u8; 32]) -> Bytes {
    let grant = Grant {
        replica: pair(replica),
        key: hex::encode(key),
    };
    Bytes::from(serde_json::to_vec(&grant).unwrap_or_default())
}

pub(super) fn granted(payload: &[u8]) -> Option<(Replica, [u8; 32])> {
    let grant: Grant = serde_json::from_slice(payload).ok()?;
    let key = hex::decode(&grant.key)?.try_into().ok()?;
    Some((Replica::new(grant.replica.0, grant.replica.1)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let replica = |slot, number| Replica::new(slot, number).unwrap();
        let hello = Hello {
            process: u64::MAX,
            replica: Some(replica(3, 70)),
            draining: true,
            gone: vec![replica(1, 2)],
            highest: vec![replica(3, 70)],
        };
        let points = Points::from([(3, 9)]);
        let Packet::Event { payload, .. } = packet(&hello, &points) else {
            panic!("an event")
        };
        assert_eq!(parse(&payload), Some((hello, points)));
        assert_eq!(parse(br#"{"process": "7", "more": 1}"#).unwrap().0.process, 7);
        assert_eq!(parse(br#"{"process": 7}"#), None);
        let key = std::array::from_fn(|index| index as u8 * 7);
        assert_eq!(granted(&grant(replica(3, 70), &key)), Some((replica(3, 70), key)));
        assert_eq!(granted(br#"{"replica": [3, 70], "key": "00"}"#), None);
    }
}
