//! Which numbers of slots were used, written down: a service that starts again from its disks must make no replica twice,
//! or new dots would be taken for old ones, and the writes behind them be lost.
//!
//! Every member writes down what it knows of all, so it is enough that one disk of those that met is left.

use std::sync::Arc;
use std::time::Duration;

use pointsman_crdt::Replica;

use super::hub::Hub;
use crate::store::Store;

/// Where.
const NUMBERS: &str = "numbers";
/// Looks again by itself: a change in the very moment of writing is not told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was written down.
pub(super) fn load(store: &dyn Store) -> Vec<Replica> {
    let bytes = store.get(NUMBERS).ok().flatten().unwrap_or_default();
    let (each, _) = bytes.as_chunks::<6>();
    each.iter()
        .filter_map(|[a, b, rest @ ..]| Replica::new(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*rest)))
        .collect()
}

/// Writes down whatever becomes known.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut last = load(hub.documents.store.as_ref());
    loop {
        let _ = tokio::time::timeout(LOOK_EVERY, hub.peers.wait_for_change()).await;
        let known = hub.peers.known();
        if known != last && store(hub.documents.store.as_ref(), &known) {
            last = known;
        }
    }
}

fn store(store: &dyn Store, known: &[Replica]) -> bool {
    let bytes: Vec<u8> = known
        .iter()
        .flat_map(|replica| {
            let (slot, number) = (replica.slot().to_be_bytes(), replica.incarnation().to_be_bytes());
            slot.into_iter().chain(number)
        })
        .collect();
    let stored = store.set(NUMBERS, &bytes);
    if let Err(error) = &stored {
        tracing::error!(%error, "used numbers are not written down");
    }
    stored.is_ok()
}
