//! Bytes of operation messages; `docs/CRDT.md` §9.

use super::OperationMessage;
use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::dot::Dot;
use crate::error::DecodeError;
use crate::state::State;
use crate::store::Crdt;

const OPERATION: u64 = 0;
const ASK: u64 = 1;
const STATE: u64 = 2;
const FIELD: &str = "message";

impl<S: Crdt> OperationMessage<S> {
    /// The one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        match self {
            Self::Operation { dots, after, effect } => {
                to.varint(OPERATION);
                after.encode(&mut to);
                // The other new dots follow this one; how many there are is in the effect.
                let first = dots.intervals().first().map_or(Dot::STABLE, |dots| Dot {
                    slot: dots.slot,
                    counter: dots.first,
                });
                to.plain_dot(first);
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
                let dot = from.plain_dot(FIELD)?;
                if dot.sequence() == 0 || dot.incarnation() == 0 || after.contains(dot) {
                    return Err(DecodeError::NotCanonical { field: FIELD });
                }
                let effect = S::decode_effect(&mut from, &after, dot, 0)?;
                let mut dots = Context::new();
                S::covers(&effect, &mut dots);
                let dots = dots.difference(&after);
                // What is new is one interval that begins with the dot; more of it may not have been seen before.
                let whole =
                    matches!(dots.intervals(), [only] if only.first == dot.counter && only.slot == dot.slot);
                if !whole {
                    return Err(DecodeError::NotCanonical { field: FIELD });
                }
                Self::Operation { dots, after, effect }
            }
            ASK => Self::Ask {
                context: Context::decode(&mut from)?,
            },
            STATE => Self::State(State::decode(from.rest())?),
            _ => return Err(DecodeError::NotCanonical { field: FIELD }),
        };
        if from.is_empty() {
            Ok(message)
        } else {
            Err(DecodeError::Trailing { left: from.left() })
        }
    }
}
