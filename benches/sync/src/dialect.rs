//! What a client says to each server and hears from it. No I/O: messages in, messages out.
//!
//! A writer sets one register of one document to 1, 2, 3 and so on. A message tells up to which of these changes its
//! reader has the document then, so that servers that merge changes and servers that pass each on are counted alike.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use pointsman_crdt::{Clock, Document, Map, Node, Operation, Replica, Schema, State, Value};
use pointsman_wire::Packet;
use yrs::block::ClientID;
use yrs::sync::{Message as YMessage, SyncMessage};
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, Map as _, StateVector, Transact as _, Update};

use crate::server::Subject;

/// What a message means.
#[derive(Debug, Default)]
pub struct Heard {
    pub replies: Vec<Bytes>,
    /// The document is here, and its changes will follow.
    pub joined: bool,
    /// All changes up to this one are here.
    pub reached: Option<u64>,
    /// The server says that it has taken another change.
    pub acknowledged: bool,
}

pub trait Dialect: Send {
    /// What opens the document; nothing when the socket alone does.
    fn join(&mut self) -> Result<Vec<Bytes>>;
    fn hear(&mut self, message: &Bytes) -> Result<Heard>;
    /// The writer's next change.
    fn change(&mut self) -> Result<Bytes>;
    /// Whether each change is answered.
    fn acknowledges(&self) -> bool;
}

pub fn dialect(subject: Subject) -> Box<dyn Dialect> {
    match subject {
        Subject::Pointsman => Box::new(Pointsman::default()),
        Subject::Ws => Box::new(Relayed::default()),
        Subject::YWebsocket => Box::new(Yjs::new("")),
        Subject::Hocuspocus => Box::new(Yjs::new(ROOM)),
    }
}

/// Name of the document where a name goes into the URL or the messages.
pub const ROOM: &str = "bench";

// === the binary dialect ===

#[derive(Default)]
struct Pointsman {
    document: u64,
    writer: Option<Writer>,
    last: i64,
}

struct Writer {
    replica: Replica,
    document: Document,
    clock: Clock,
    changes: i64,
}

const FIELD: &str = "title";
const OPEN: i64 = 1;
const FILL: i64 = 2;

impl Dialect for Pointsman {
    fn join(&mut self) -> Result<Vec<Bytes>> {
        self.last = FILL;
        let call = Packet::Call {
            id: OPEN,
            method: "document/open".to_owned(),
            payload: Bytes::from_static(br#"{"name":"rooms/bench"}"#),
        };
        Ok(vec![call.encode()?])
    }

    fn hear(&mut self, message: &Bytes) -> Result<Heard> {
        let mut heard = Heard::default();
        match Packet::decode(message)? {
            Packet::Delta { payload, .. } => {
                let delta = State::<Map>::decode(&payload)?;
                heard.reached = delta.store.entries().find_map(|(_, node)| match node {
                    Node::LwwRegister(register) => match register.value() {
                        Some((_, Value::Integer(number))) => u64::try_from(*number).ok(),
                        _ => None,
                    },
                    _ => None,
                });
            }
            Packet::Callback { id, status, payload } => {
                ensure!(status == 0, "{id} is answered {status} {payload:?}");
                match id {
                    OPEN => heard.replies.push(self.opened(&payload)?),
                    FILL => heard.joined = true,
                    _ => heard.acknowledged = true,
                }
            }
            Packet::Ping { seen } => heard.replies.push(Packet::Pong { seen }.encode()?),
            _ => {}
        }
        Ok(heard)
    }

    fn change(&mut self) -> Result<Bytes> {
        let writer = self.writer.as_mut().context("the document is open")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let stamp = writer.clock.tick(u64::try_from(now)?);
        writer.changes += 1;
        let operation = Operation::LwwRegister((stamp, Value::Integer(writer.changes)));
        let delta = writer.document.update(writer.replica, FIELD, operation)?;
        self.last += 1;
        let packet = Packet::Delta {
            id: self.last,
            document: self.document,
            payload: delta.context("a change")?.encode().into(),
        };
        Ok(packet.encode()?)
    }

    fn acknowledges(&self) -> bool {
        true
    }
}

impl Pointsman {
    fn opened(&mut self, payload: &Bytes) -> Result<Bytes> {
        let opened: serde_json::Value = serde_json::from_slice(payload)?;
        let number = |pointer: &str| {
            let number = opened.pointer(pointer).and_then(serde_json::Value::as_u64);
            number.with_context(|| format!("{pointer} of document/open"))
        };
        self.document = number("/document")?;
        let slot = u16::try_from(number("/writer/slot")?)?;
        let incarnation = u32::try_from(number("/writer/incarnation")?)?;
        self.writer = Some(Writer {
            replica: Replica::new(slot, incarnation).context("a writer")?,
            document: Document::new(Schema::new([(FIELD, "lww-register")])?),
            clock: Clock::new(0),
            changes: 0,
        });
        let digest = Packet::Digest {
            id: FILL,
            document: self.document,
            payload: Bytes::new(),
        };
        Ok(digest.encode()?)
    }
}

// === a bare relay ===

/// As long as the update of a register in the other dialects.
const RELAYED_BYTES: usize = 40;

#[derive(Default)]
struct Relayed {
    changes: u64,
}

impl Dialect for Relayed {
    fn join(&mut self) -> Result<Vec<Bytes>> {
        Ok(Vec::new())
    }

    fn hear(&mut self, message: &Bytes) -> Result<Heard> {
        let number = message.first_chunk().context("a number")?;
        Ok(Heard {
            reached: Some(u64::from_be_bytes(*number)),
            ..Heard::default()
        })
    }

    fn change(&mut self) -> Result<Bytes> {
        self.changes += 1;
        let mut message = self.changes.to_be_bytes().to_vec();
        message.resize(RELAYED_BYTES, 7);
        Ok(message.into())
    }

    fn acknowledges(&self) -> bool {
        false
    }
}

// === y-protocols, bare or with the name of the document before each message ===

const WRITER: u64 = 1;
const SYNC: u64 = 0;
const AUTHENTICATION: u64 = 2;
const SYNC_REPLY: u64 = 4;
const SYNC_STATUS: u64 = 8;

struct Yjs {
    /// `length ‖ name`; empty when the URL names the document.
    address: Vec<u8>,
    doc: Doc,
    changes: u64,
}

impl Yjs {
    fn new(name: &str) -> Self {
        let mut address = Vec::new();
        if !name.is_empty() {
            address.push(u8::try_from(name.len()).unwrap_or(0));
            address.extend_from_slice(name.as_bytes());
        }
        Self {
            address,
            doc: Doc::with_client_id(WRITER),
            changes: 0,
        }
    }

    fn sync(&self, message: SyncMessage) -> Bytes {
        let mut bytes = self.address.clone();
        bytes.extend(YMessage::Sync(message).encode_v1());
        bytes.into()
    }
}

impl Dialect for Yjs {
    fn join(&mut self) -> Result<Vec<Bytes>> {
        let mut messages = Vec::new();
        if !self.address.is_empty() {
            // A token, which is empty.
            let token = [self.address.as_slice(), &[AUTHENTICATION as u8, 0, 0]].concat();
            messages.push(token.into());
        }
        messages.push(self.sync(SyncMessage::SyncStep1(StateVector::default())));
        Ok(messages)
    }

    fn hear(&mut self, message: &Bytes) -> Result<Heard> {
        let mut heard = Heard::default();
        let rest = message
            .strip_prefix(self.address.as_slice())
            .context("a message of the document")?;
        let (kind, content) = rest.split_first().context("a kind")?;
        match u64::from(*kind) {
            SYNC | SYNC_REPLY => {}
            SYNC_STATUS => {
                ensure!(content == [1], "a change is refused");
                heard.acknowledged = true;
                return Ok(heard);
            }
            AUTHENTICATION if content.first() != Some(&2) => bail!("not let in"),
            _ => return Ok(heard),
        }
        let as_sync = [&[0], content].concat();
        match YMessage::decode_v1(&as_sync)? {
            YMessage::Sync(SyncMessage::SyncStep1(_)) => {
                let nothing = Update::new().encode_v1();
                heard.replies.push(self.sync(SyncMessage::SyncStep2(nothing)));
            }
            YMessage::Sync(SyncMessage::SyncStep2(_)) => heard.joined = true,
            YMessage::Sync(SyncMessage::Update(update)) => {
                let changes = Update::decode_v1(&update)?.insertions(true);
                let ends = changes
                    .get(&ClientID::new(WRITER))
                    .into_iter()
                    .flat_map(|range| range.iter());
                heard.reached = ends.map(|range| u64::from(range.0.end)).max();
            }
            _ => {}
        }
        Ok(heard)
    }

    fn change(&mut self) -> Result<Bytes> {
        self.changes += 1;
        let map = self.doc.get_or_insert_map("m");
        let mut transaction = self.doc.transact_mut();
        map.insert(&mut transaction, FIELD, self.changes as f64);
        let update = transaction.encode_update_v1();
        drop(transaction);
        Ok(self.sync(SyncMessage::Update(update)))
    }

    fn acknowledges(&self) -> bool {
        !self.address.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a change: the message without its kinds and its length, which are short here.
    fn update(message: &Bytes) -> Vec<u8> {
        message[3..].to_vec()
    }

    #[test]
    fn changes_that_a_server_merged_are_all_counted() {
        let mut writer = Yjs::new("");
        let changes: Vec<Vec<u8>> = (0..3).map(|_| update(&writer.change().unwrap())).collect();
        let merged = yrs::merge_updates_v1(&changes[1..]).unwrap();
        let message = writer.sync(SyncMessage::Update(merged));
        assert_eq!(Yjs::new("").hear(&message).unwrap().reached, Some(3));
        let first = writer.sync(SyncMessage::Update(changes[0].clone()));
        assert_eq!(Yjs::new("").hear(&first).unwrap().reached, Some(1));
    }

    #[test]
    fn a_joined_delta_tells_of_the_last_change() {
        let mut writer = Pointsman::default();
        let opened = br#"{"document": 1, "writer": {"slot": 300, "incarnation": 1}}"#;
        writer.opened(&Bytes::from_static(opened)).unwrap();
        let mut joined = State::<Map>::new();
        for _ in 0..3 {
            let Packet::Delta { payload, .. } = Packet::decode(&writer.change().unwrap()).unwrap() else {
                panic!("a change is a delta");
            };
            joined.join(&State::decode(&payload).unwrap()).unwrap();
        }
        let delta = Packet::Delta {
            id: -1,
            document: 1,
            payload: joined.encode().into(),
        };
        let heard = Pointsman::default().hear(&delta.encode().unwrap()).unwrap();
        assert_eq!(heard.reached, Some(3));
    }

    #[test]
    fn a_change_that_is_refused_is_an_error() {
        let refused = Packet::Callback {
            id: 9,
            status: 503,
            payload: Bytes::new(),
        };
        assert!(Pointsman::default().hear(&refused.encode().unwrap()).is_err());
    }
}
