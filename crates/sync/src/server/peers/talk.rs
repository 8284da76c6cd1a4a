//! Messages of copies as packets, and back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pointsman_crdt::{Digest, Map, State};
use pointsman_replication::{Message, split};
use pointsman_wire::Packet;

use super::link::{Link, Waits};

const STORED: u8 = 1;
const FILL: u8 = 2;
const FOLLOW: u8 = 4;
const LEAVE: u8 = 8;
/// A delta that may be taken later, such as one with a stamp from the future.
const LATER: u64 = 409;
/// Leaves room for a name in a packet.
const STATE_BYTES_MAX: usize = 250 * 1024;

/// An answer goes back over the connection that asked, or not at all.
fn own(link: &Link, id: u64) -> Option<i64> {
    (id >> 32 == link.number & u64::from(u32::MAX)).then_some(i64::from(id as u32))
}

fn number(link: &Link, id: i64) -> Option<u64> {
    let id = u32::try_from(id).ok()?;
    Some(((link.number & u64::from(u32::MAX)) << 32) | u64::from(id))
}

fn flagged(flags: u8, digest: &Digest) -> Bytes {
    let digest = digest.encode();
    let mut payload = BytesMut::with_capacity(digest.len() + 1);
    payload.extend_from_slice(&[flags]);
    payload.extend_from_slice(&digest);
    payload.freeze()
}

pub(super) fn send(link: &Link, name: &str, message: Message) {
    let callback = |id, status, payload| own(link, id).map(|id| Packet::Callback { id, status, payload });
    let packet = match message {
        Message::Delta { id, state, hold } => {
            delta(link, name, id, &state, hold);
            return;
        }
        Message::Part { state } => Some(Packet::PeerDelta {
            id: 0,
            name: name.to_owned(),
            payload: Bytes::from(state.encode()),
        }),
        Message::Digest {
            id,
            digest,
            stored,
            fill,
            follow,
        } => {
            let flag = |set, flag| if set { flag } else { 0 };
            let flags = flag(stored, STORED) | flag(fill, FILL) | flag(follow, FOLLOW);
            let name: Arc<str> = name.into();
            Some(Packet::PeerDigest {
                id: link.wait(Waits::Digest(Arc::clone(&name), id)),
                name: name.to_string(),
                payload: flagged(flags, &digest),
            })
        }
        Message::Leave => Some(Packet::PeerDigest {
            id: 0,
            name: name.to_owned(),
            payload: Bytes::from_static(&[LEAVE]),
        }),
        Message::Held { id, stored } => callback(id, 0, Bytes::copy_from_slice(&[u8::from(stored)])),
        Message::Refused { id } => callback(id, LATER, Bytes::new()),
        Message::Filled { id, digest, stored } => callback(id, 0, flagged(u8::from(stored), &digest)),
    };
    if let Some(packet) = packet {
        link.send(&packet);
    }
}

/// A delta that does not fit into a packet goes in parts; the last of them is acknowledged for all.
fn delta(link: &Link, name: &str, id: u64, state: &State<Map>, hold: bool) {
    let bytes = state.encode();
    let mut payloads = if bytes.len() <= STATE_BYTES_MAX {
        vec![bytes]
    } else {
        split(state.clone(), STATE_BYTES_MAX)
            .iter()
            .map(State::encode)
            .collect()
    };
    let last = payloads.pop().unwrap_or_default();
    for payload in payloads {
        link.send(&Packet::PeerDelta {
            id: 0,
            name: name.to_owned(),
            payload: Bytes::from(payload),
        });
    }
    let id = link.wait(Waits::Delta(name.into(), id));
    link.send(&Packet::PeerDelta {
        // A positive one is relied on.
        id: if hold { id } else { id.saturating_neg() },
        name: name.to_owned(),
        payload: Bytes::from(last),
    });
}

/// What a packet says about a document, and which; `None` for what makes no sense.
pub(super) fn message(link: &Link, packet: Packet) -> Option<(Arc<str>, Message)> {
    match packet {
        Packet::PeerDelta { id, name, payload } => {
            let state = Arc::new(State::decode(&payload).ok()?);
            let message = match id {
                0 => Message::Part { state },
                id => Message::Delta {
                    id: number(link, id.saturating_abs())?,
                    state,
                    hold: id > 0,
                },
            };
            Some((name.into(), message))
        }
        Packet::PeerDigest { id, name, payload } => {
            let (flags, digest) = payload.split_first()?;
            if flags & LEAVE != 0 {
                return Some((name.into(), Message::Leave));
            }
            let message = Message::Digest {
                id: number(link, id)?,
                digest: Digest::decode(digest).ok()?,
                stored: flags & STORED != 0,
                fill: flags & FILL != 0,
                follow: flags & FOLLOW != 0,
            };
            Some((name.into(), message))
        }
        Packet::Callback { id, status, payload } => answer(link, id, status, &payload),
        _ => None,
    }
}

fn answer(link: &Link, id: i64, status: u64, payload: &Bytes) -> Option<(Arc<str>, Message)> {
    match link.answered(id)? {
        Waits::Delta(name, id) => {
            let message = match status {
                0 => Message::Held {
                    id,
                    stored: payload.first() == Some(&STORED),
                },
                _ => Message::Refused { id },
            };
            Some((name, message))
        }
        Waits::Digest(name, id) => {
            let (flags, digest) = payload.split_first()?;
            let message = Message::Filled {
                id,
                digest: Digest::decode(digest).ok()?,
                stored: flags & STORED != 0,
            };
            Some((name, message))
        }
        Waits::Call(answer) => {
            let _ = answer.send((status, payload.clone()));
            None
        }
    }
}
