//! Bytes of delta messages; `docs/CRDT.md` §9.

use std::sync::Arc;

use super::DeltaMessage;
use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::error::DecodeError;
use crate::state::{Digest, State};
use crate::store::Store;

const INTERVAL: u64 = 0;
const ACKNOWLEDGE: u64 = 1;
const ASK: u64 = 2;
const FILL: u64 = 3;
const FIELD: &str = "message";

impl<S: Store> DeltaMessage<S> {
    /// The one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        match self {
            Self::Interval {
                epoch,
                from,
                to: end,
                delta,
            } => {
                [INTERVAL, *epoch, *from, *end]
                    .into_iter()
                    .for_each(|number| to.varint(number));
                to.raw(&delta.encode());
            }
            Self::Acknowledge { epoch, to: end } => {
                [ACKNOWLEDGE, *epoch, *end]
                    .into_iter()
                    .for_each(|number| to.varint(number));
            }
            Self::Ask { digest } => {
                to.varint(ASK);
                digest.context.encode(&mut to);
                digest.live.encode(&mut to);
            }
            Self::Fill {
                epoch,
                to: end,
                delta,
            } => {
                [FILL, *epoch, *end]
                    .into_iter()
                    .for_each(|number| to.varint(number));
                to.raw(&delta.encode());
            }
        }
        to.into_bytes()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a message for this type.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let message = match from.varint(FIELD)? {
            INTERVAL => {
                let (epoch, start, to) = (from.varint(FIELD)?, from.varint(FIELD)?, from.varint(FIELD)?);
                let delta = Arc::new(State::decode(from.rest())?);
                Self::Interval {
                    epoch,
                    from: start,
                    to,
                    delta,
                }
            }
            ACKNOWLEDGE => Self::Acknowledge {
                epoch: from.varint(FIELD)?,
                to: from.varint(FIELD)?,
            },
            ASK => {
                let context = Context::decode(&mut from)?;
                Self::Ask {
                    digest: Digest {
                        context,
                        live: Context::decode(&mut from)?,
                    },
                }
            }
            FILL => {
                let (epoch, to) = (from.varint(FIELD)?, from.varint(FIELD)?);
                Self::Fill {
                    epoch,
                    to,
                    delta: Arc::new(State::decode(from.rest())?),
                }
            }
            _ => return Err(DecodeError::NotCanonical { field: FIELD }),
        };
        if from.is_empty() {
            Ok(message)
        } else {
            Err(DecodeError::Trailing { left: from.left() })
        }
    }
}
