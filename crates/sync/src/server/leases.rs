//! Writers of sessions: the replicas whose dots clients make, and the tokens that carry them from pod to pod.
//!
//! A member has one slot for the writers of the sessions that begin at it. Their numbers are reserved in blocks, which the
//! others and the storage hear of first, so that whoever has the slot later goes on after them. A token names its writer
//! and is signed with the key that all members share: so a session that moves keeps its writer, what it sends again
//! counts once, and nobody writes as somebody else.

use std::sync::Mutex;

use pointsman_crdt::Replica;
use ring::hmac;

use super::hub::{Hub, lock};
use crate::hex;

/// Slots from here on are of writers.
const SLOT_FIRST: u16 = 0x8000;
const BLOCK: u32 = 1_024;
const NUMBER_MAX: u32 = (1 << 24) - 1;
/// Where the last reserved number is written down.
const WRITERS: &str = "writers";
const NONCE_BYTES: usize = 12;
const NAMED_BYTES: usize = NONCE_BYTES + 5;
const SIGNATURE_BYTES: usize = 15;

/// Numbers that are reserved and not given out.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Option<Block>>);

#[derive(Debug)]
struct Block {
    slot: u16,
    next: u32,
    last: u32,
}

impl Hub {
    /// A writer that nobody else has; `None` until this replica is a member.
    pub(super) fn lease_writer(&self) -> Option<Replica> {
        let me = self.peers.me()?;
        let slot = SLOT_FIRST.checked_add(me.slot())?;
        let mut lease = lock(&self.leases.0);
        let block = match &mut *lease {
            Some(block) if block.next <= block.last => block,
            other => other.insert(self.reserve(slot)?),
        };
        let number = block.next;
        block.next = block.next.saturating_add(1);
        Replica::new(block.slot, number)
    }

    /// Reserves the next block. A crash wastes what is left of it.
    fn reserve(&self, slot: u16) -> Option<Block> {
        let store = &self.documents.store;
        let stored = store.get(WRITERS).ok().flatten();
        let stored = stored
            .and_then(|bytes| <[u8; 6]>::try_from(bytes.as_ref()).ok())
            .map(|[a, b, rest @ ..]| (u16::from_be_bytes([a, b]), u32::from_be_bytes(rest)));
        let mine = stored
            .filter(|(of, _)| *of == slot)
            .map_or(0, |(_, number)| number);
        let known = self.peers.highest(slot).max(mine);
        // Nothing is known of a slot that nobody had, or that all who knew have forgotten.
        let before = if known == 0 {
            rand::random_range(0..=0xffff)
        } else {
            known
        };
        let last = before.saturating_add(BLOCK);
        if last > NUMBER_MAX {
            tracing::error!(
                slot,
                "the numbers of writers are used up; start this replica again"
            );
            return None;
        }
        let bytes = [&slot.to_be_bytes()[..], &last.to_be_bytes()[..]].concat();
        if let Err(error) = store.set(WRITERS, &bytes) {
            tracing::error!(%error, "writers are not reserved");
            return None;
        }
        self.peers.reserve(Replica::new(slot, last)?);
        Some(Block {
            slot,
            next: before.saturating_add(1),
            last,
        })
    }

    /// The token of a new session.
    pub(super) fn new_token(&self) -> String {
        match self.peers.key().zip(self.lease_writer()) {
            Some((key, writer)) => sign(&key, &rand::random(), writer),
            None => hex::encode(&rand::random::<[u8; 16]>()),
        }
    }

    /// The writer that a token names, when a member has signed it.
    pub(super) fn writer_of(&self, token: &str) -> Option<Replica> {
        named(&self.peers.key()?, token)
    }
}

fn sign(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], writer: Replica) -> String {
    let [_, number @ ..] = writer.incarnation().to_be_bytes();
    let named = [&nonce[..], &writer.slot().to_be_bytes()[..], &number[..]].concat();
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &named);
    let signature: Vec<u8> = signature.as_ref().iter().copied().take(SIGNATURE_BYTES).collect();
    hex::encode(&named) + &hex::encode(&signature)
}

fn named(key: &[u8; 32], token: &str) -> Option<Replica> {
    let bytes = hex::decode(token)?;
    let (named, shown) = bytes.split_at_checked(NAMED_BYTES)?;
    if shown.len() != SIGNATURE_BYTES {
        return None;
    }
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), named);
    // In a time that does not depend on where the two differ.
    let differ = signature
        .as_ref()
        .iter()
        .zip(shown)
        .fold(0, |all, (a, b)| all | (a ^ b));
    if differ != 0 {
        return None;
    }
    let (slot, number) = named.get(NONCE_BYTES..)?.split_at_checked(2)?;
    let slot = u16::from_be_bytes(slot.try_into().ok()?);
    let number: [u8; 3] = number.try_into().ok()?;
    let number = number
        .iter()
        .fold(0, |number: u32, byte| number << 8 | u32::from(*byte));
    Replica::new(slot, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_writer_to_whoever_has_the_key() {
        let writer = Replica::new(0x8007, 0x0a_0b0c).unwrap();
        let token = sign(&[7; 32], &[9; NONCE_BYTES], writer);
        assert_eq!(token.len(), 64);
        assert_eq!(named(&[7; 32], &token), Some(writer));
        assert_eq!(named(&[8; 32], &token), None);
        for at in 0..64 {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(
                named(&[7; 32], std::str::from_utf8(&changed).unwrap()),
                None,
                "{at}"
            );
        }
        for other in ["", "a", "0123456789abcdef0123456789abcdef", "zz"] {
            assert_eq!(named(&[7; 32], other), None);
        }
    }
}
