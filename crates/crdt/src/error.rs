//! Errors are values: each says what to do about it.

use crate::dot::{Dot, Replica};

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails for ever; change it.
    Never,
    /// Read the state again; another replica changed it.
    AfterRead,
    /// Wait, then send the same again.
    Later,
}

/// Why an operation could not be prepared. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The operation is for another type.
    #[error("field `{field}`: this operation is for {operation}, the field is {found}")]
    WrongType {
        /// Field or key.
        field: String,
        /// Type that the operation is for.
        operation: &'static str,
        /// Type of the field.
        found: String,
    },
    /// The schema has no such field.
    #[error("field `{field}` is not in the schema; declare it first")]
    UnknownField {
        /// Field.
        field: String,
    },
    /// A total would leave its range.
    #[error("counter total would leave the range of 64 bits; use a smaller step")]
    Overflow,
    /// Nothing to remove, or it was removed meanwhile.
    #[error("{what} is not present; read the state again")]
    Absent {
        /// What.
        what: &'static str,
    },
    /// A 2P-set or 2P2P-graph never takes an element back.
    #[error("{what} was removed for ever; use an `or-set` or `or-graph` where elements return")]
    RemovedForEver {
        /// What.
        what: &'static str,
    },
    /// Vertices with edges stay.
    #[error("the vertex still has edges; remove its edges first")]
    VertexHasEdges,
    /// A value that no reader would take.
    #[error("the value cannot be written: {reason}")]
    Value {
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Beyond the end.
    #[error("index {index} is beyond the length {length}")]
    OutOfRange {
        /// Asked.
        index: u64,
        /// Elements.
        length: u64,
    },
    /// The stamp is not newer than what the register has.
    #[error("the stamp is not newer than the register's; observe the register's stamp and tick the clock")]
    StaleStamp,
    /// The replica was retired, or its numbers are used up.
    #[error("replica {replica:?} may not write any more; lease a new incarnation")]
    Retired {
        /// Who.
        replica: Replica,
    },
    /// A bound was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl OperationError {
    /// What to do about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Absent { .. } | Self::OutOfRange { .. } | Self::VertexHasEdges | Self::StaleStamp => {
                Retry::AfterRead
            }
            _ => Retry::Never,
        }
    }
}

/// A bound of this crate was reached; the state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} would exceed its bound of {limit}")]
pub struct LimitError {
    /// What is bounded.
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
}

/// A stamp is further ahead than clocks may differ. The state is unchanged; the same may be received later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stamp is {ahead_ms} ms ahead, {skew_max_ms} ms are allowed; correct the clock of the replica that sent it"
)]
pub struct SkewError {
    /// How far ahead, in milliseconds.
    pub ahead_ms: u64,
    /// The bound, in milliseconds.
    pub skew_max_ms: u64,
}

/// Why bytes are not a state. Never retry; the sender is at fault or newer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("{field}: the bytes end too early")]
    Short {
        /// Field.
        field: &'static str,
    },
    /// A number is too large or not in its shortest form.
    #[error("{field}: the number is too large or not in its shortest form")]
    Number {
        /// Field.
        field: &'static str,
    },
    /// Not the one encoding of what it says.
    #[error("{field}: not in canonical form")]
    NotCanonical {
        /// Field.
        field: &'static str,
    },
    /// A dot that the context lacks.
    #[error("{field}: refers to a dot that the context lacks")]
    UnknownDot {
        /// Field.
        field: &'static str,
    },
    /// Text is not UTF-8.
    #[error("{field}: not UTF-8")]
    NotText {
        /// Field.
        field: &'static str,
    },
    /// Another format.
    #[error("version {found} is not supported")]
    Version {
        /// Version of the bytes.
        found: u64,
    },
    /// Another type.
    #[error("type tag {found} where {expected} was expected")]
    Type {
        /// Tag of the bytes.
        found: u64,
        /// Tag of the reader.
        expected: u64,
    },
    /// A type that this build does not know, where it has to. Ask for the state instead.
    #[error("type tag {found} is not known; ask for the state instead")]
    UnknownType {
        /// Tag of the bytes.
        found: u64,
    },
    /// Beyond a bound.
    #[error("{field}: beyond the bound of {limit}")]
    Limit {
        /// Field.
        field: &'static str,
        /// The bound.
        limit: u64,
    },
    /// More bytes than content.
    #[error("{left} bytes after the end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A dot is in two places.
    #[error("dot {dot:?} is in two places")]
    Dot {
        /// Which.
        dot: Dot,
    },
}
