//! Bytes of operation messages; `docs/CRDT.md` §9.

use super::OperationMessage;
use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::dot::{Dot, Replica, split_counter};
use crate::error::DecodeError;
use crate::state::State;
use crate::store::Crdt;

const OPERATION: u64 = 0;
const ASK: u64 = 1;
const STATE: u64 = 2;
const FIELD: &str = "message";
const BAD: DecodeError = DecodeError::NotCanonical { field: FIELD };

impl<S: Crdt> OperationMessage<S> {
    /// The one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        match self {
            Self::Operation { dots, after, effect } => {
                to.varint(OPERATION);
                after.encode(&mut to);
                // The new dots follow the origin's last one; how many there are is in the effect.
                let first = dots.intervals().first().map_or(Dot::STABLE, |dots| Dot {
                    slot: dots.slot,
                    counter: dots.first,
                });
                to.varint(u64::from(first.slot));
                to.varint(first.incarnation());
                S::encode_effect(effect, after, &mut to);
            }
            Self::Ask { context } => {
                to.varint(ASK);
                context.encode(&mut to);
            }
            Self::State(state) => {
                to.varint(STATE);
                to.raw(&state.encode());
            }
        }
        to.into_bytes()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a message for this type, or an operation is on a type that is not known:
    /// then ask the sender for its state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let message = match from.varint(FIELD)? {
            OPERATION => {
                let after = Context::decode(&mut from)?;
                let slot = u16::try_from(from.varint(FIELD)?).map_err(|_| BAD)?;
                let incarnation = u32::try_from(from.varint(FIELD)?).map_err(|_| BAD)?;
                let origin = Replica::new(slot, incarnation).ok_or(BAD)?;
                let next = split_counter(after.last_of(origin)).1 + 1;
                let dot = origin.dot(next).ok_or(BAD)?;
                let effect = S::decode_effect(&mut from, &after, dot, 0)?;
                let mut dots = Context::new();
                S::covers(&effect, &mut dots);
                let dots = dots.difference(&after);
                Self::Operation { dots, after, effect }
            }
            ASK => Self::Ask {
                context: Context::decode(&mut from)?,
            },
            STATE => Self::State(State::decode(from.rest())?),
            _ => return Err(BAD),
        };
        if from.is_empty() {
            Ok(message)
        } else {
            Err(DecodeError::Trailing { left: from.left() })
        }
    }
}
