//! Replicated data types over dots and causal contexts, three engines that synchronise them, exact garbage collection.
//!
//! Pure: no clock, randomness, I/O or hash-ordered maps. `docs/CRDT.md` states semantics, invariants and bytes.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod clock;
mod codec;
mod context;
mod counter;
mod document;
mod dot;
mod dot_fun;
pub mod engine;
mod error;
mod flag;
mod graph;
#[cfg(feature = "json")]
mod json;
mod keyed;
mod map;
mod node;
mod register;
mod sequence;
mod set;
mod stability;
mod state;
mod store;
mod unknown;
mod value;

pub use clock::{Clock, Stamp};
pub use codec::{Reader, Writer};
pub use context::{Context, Interval};
pub use counter::{GCounter, PnCounter, PnTotals, Total};
pub use document::{Document, FieldType, Joined, Schema};
pub use dot::{Dot, Replica};
pub use dot_fun::{DotFun, Payload, Write};
pub use error::{DecodeError, LimitError, OperationError, Retry, SkewError};
pub use flag::{DisableWinsFlag, EnableWinsFlag};
pub use graph::{Edge, Graph, GraphEffect, GraphOperation, OrGraph, TwoPhaseGraph};
#[cfg(feature = "json")]
pub use json::{ApplyError, JsonError};
pub use keyed::{Key, KeyWrite, Keyed};
pub use map::{Map, MapEffect, MapKey, MapOperation};
pub use node::{Node, NodeEffect, Operation};
pub use register::{LwwRegister, MvRegister};
pub use sequence::{Element, List, Place, Sequence, SequenceEffect, SequenceOperation, Text};
pub use set::{GSet, OrSet, SetOperation, TwoPhaseEffect, TwoPhaseSet, VisibleSet};
pub use stability::Stability;
pub use state::{Digest, State};
pub use store::{Crdt, Join, Mint, Store};
pub use unknown::Unknown;
pub use value::Value;
