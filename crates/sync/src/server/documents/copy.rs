//! Between a copy and the storage, its users and its subscribers.

use std::sync::Arc;

use bytes::Bytes;
use pointsman_actor::{Failure, WeakRef};
use pointsman_crdt::{Digest, Map, State};
use pointsman_replication::{DocumentCopy, Effect, Settings, View, WriteError, split};
use tokio::sync::mpsc::error::TrySendError;

use super::owner::Ask;
use super::{DocumentError, DocumentEvent, Documents, Filled, Subscriber};
use crate::store::Write;

/// Parts fit into packets.
const PART_BYTES_MAX: usize = 192 * 1024;
/// Clocks of replicas and clients may be ahead by so much.
const SKEW_MAX_MS: u64 = 600_000;

/// Opens a copy with what is stored.
pub(super) async fn open(
    documents: &Documents,
    name: &Arc<str>,
    view: View,
) -> Result<DocumentCopy, Failure> {
    let space = documents.spaces.find(name)?;
    let me = documents
        .peers
        .me()
        .ok_or_else(|| Failure::new("this replica is no member yet"))?;
    let parts = documents
        .store
        .load(name)
        .await
        .map_err(|_| Failure::new("the storage has ended"))??;
    let mut stored: Option<State<Map>> = None;
    for part in parts {
        let part = State::decode(&part)?;
        stored.get_or_insert_default().join(&part)?;
    }
    let settings = Settings {
        name: Arc::clone(name),
        me,
        schema: space.schema.clone(),
        copies: space.copies,
        part_bytes_max: PART_BYTES_MAX,
        skew_max_ms: SKEW_MAX_MS,
        last_sequence: documents.last_sequence(name),
    };
    // Whoever uses it says so; a member that asks for it does not.
    Ok(DocumentCopy::open(settings, stored, view, false))
}

/// Gives a write to the storage; its owner hears of the end.
pub(super) fn store_write(documents: &Documents, name: &str, effect: Effect, owner: WeakRef<Ask>) {
    let (write, version) = match effect {
        Effect::Append { version, deltas } => (Write::Append(deltas), Some(version)),
        Effect::Snapshot { version, state } => (Write::Snapshot(state), Some(version)),
        _ => (Write::Erase, None),
    };
    let written = documents.store.write(name, write);
    let name = name.to_owned();
    tokio::spawn(async move {
        let stored = match written.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(name, %error, "a document is not stored");
                false
            }
            Err(_) => false,
        };
        if let (Some(owner), Some(version)) = (owner.upgrade(), version) {
            let _ = owner.send(Ask::Stored { version, stored }).await;
        }
    });
}

pub(super) fn fill(copy: &DocumentCopy, digest: &Digest) -> Filled {
    let missing = copy.state().missing(digest);
    let parts = if missing.is_bottom() {
        Vec::new()
    } else {
        split(missing, PART_BYTES_MAX)
            .iter()
            .map(|part| Bytes::from(part.encode()))
            .collect()
    };
    Filled {
        parts,
        digest: copy.state().digest(),
    }
}

/// Tells every subscriber of changes, in parts that fit into packets; whoever has no room gets the whole state later.
pub(super) fn tell(subscribers: &mut Vec<(Subscriber, bool)>, changes: &State<Map>) {
    let whole = Bytes::from(changes.encode());
    let payloads = if whole.len() <= PART_BYTES_MAX {
        vec![whole]
    } else {
        let parts = split(changes.clone(), PART_BYTES_MAX);
        parts.iter().map(|part| Bytes::from(part.encode())).collect()
    };
    subscribers.retain_mut(|(subscriber, behind)| {
        if *behind {
            return true;
        }
        for payload in &payloads {
            let event = DocumentEvent {
                document: subscriber.document,
                payload: payload.clone(),
            };
            match subscriber.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    *behind = true;
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    });
}

/// Sends the whole state to a subscriber that missed something; `false` when there is still no room.
pub(super) fn tell_all(copy: &DocumentCopy, subscriber: &Subscriber) -> bool {
    let parts = split(copy.state().clone(), PART_BYTES_MAX);
    if subscriber.events.capacity() < parts.len() {
        return false;
    }
    parts.iter().all(|part| {
        let event = DocumentEvent {
            document: subscriber.document,
            payload: Bytes::from(part.encode()),
        };
        subscriber.events.try_send(event).is_ok()
    })
}

pub(super) fn refusal(error: &WriteError, index: usize) -> DocumentError {
    match error {
        WriteError::Full | WriteError::NotBack => DocumentError::Busy,
        WriteError::Foreign => DocumentError::Foreign(error.to_string()),
        WriteError::Retired => DocumentError::Retired(error.to_string()),
        _ if index > 0 => {
            DocumentError::Refused(format!("operations[{index}]: {error}; those before it are done"))
        }
        _ => DocumentError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use pointsman_crdt::{MapOperation, Operation, Replica, Stamp, Value};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn many_changes_are_told_in_parts_that_fit_into_packets() {
        let replica = Replica::new(1, 1).unwrap();
        let mut changes = State::<Map>::new();
        let mut change = |index: u64| {
            let value = Value::Text("a".repeat(1_000).into());
            let operation = MapOperation::Update {
                name: index.to_string().as_str().into(),
                operation: Box::new(Operation::LwwRegister((Stamp::at(index), value))),
            };
            changes.update(replica, &operation).unwrap();
        };
        (1..=500).for_each(&mut change);
        let (events, mut told) = mpsc::channel(8);
        let subscriber = Subscriber {
            id: 1,
            document: 7,
            events,
        };
        let mut subscribers = vec![(subscriber, false)];
        tell(&mut subscribers, &changes);
        let mut joined = State::<Map>::new();
        let mut parts = 0;
        while let Ok(event) = told.try_recv() {
            assert!(event.payload.len() <= PART_BYTES_MAX, "{}", event.payload.len());
            joined.join(&State::decode(&event.payload).unwrap()).unwrap();
            parts += 1;
        }
        assert!(parts > 1);
        assert!(joined == changes);
        assert!(!subscribers[0].1, "nobody is behind");
    }
}
