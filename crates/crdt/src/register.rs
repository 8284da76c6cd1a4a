//! Registers. A write covers every entry that the writer saw; concurrent writes stay side by side until the next one.

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::dot_fun::{DotFun, Payload, Write, dot_fun_effects, dot_fun_store};
use crate::error::{DecodeError, OperationError};
use crate::store::{Crdt, Mint};
use crate::value::Value;

impl Payload for Value {
    fn encode(&self, to: &mut Writer) {
        Value::encode(self, to);
    }

    fn decode(_bit: bool, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(from)
    }
}

impl Payload for (Stamp, Value) {
    fn encode(&self, to: &mut Writer) {
        to.varint(self.0.0);
        self.1.encode(to);
    }

    fn decode(_bit: bool, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((Stamp(from.varint("stamp")?), Value::decode(from)?))
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(self.0)
    }
}

/// The entry with the largest stamp counts. Losers stay until the next write: dropping them in the join would break
/// associativity with a removal that has seen only the winner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LwwRegister(DotFun<(Stamp, Value)>);

/// All concurrent values count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MvRegister(DotFun<Value>);

dot_fun_store!(LwwRegister, (Stamp, Value), 6, "lww-register");
dot_fun_store!(MvRegister, Value, 7, "mv-register");

impl LwwRegister {
    /// The value that counts, and when it was written.
    #[must_use]
    pub fn value(&self) -> Option<(Stamp, &Value)> {
        let newest = self
            .entries()
            .iter()
            .max_by_key(|(dot, (stamp, _))| (*stamp, *dot));
        newest.map(|(_, (stamp, value))| (*stamp, value))
    }
}

impl MvRegister {
    /// All concurrent values, by dot.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries().iter().map(|(_, value)| value)
    }
}

impl Crdt for LwwRegister {
    /// Stamp from a clock that observed the register's, and the value.
    type Operation = (Stamp, Value);
    dot_fun_effects!((Stamp, Value));

    fn prepare(
        &self,
        assign: &(Stamp, Value),
        mint: &mut Mint<'_>,
    ) -> Result<Option<Write<(Stamp, Value)>>, OperationError> {
        if self.value().is_some_and(|(stamp, _)| stamp >= assign.0) {
            return Err(OperationError::StaleStamp);
        }
        assign.1.check()?;
        Ok(Some(Write {
            observed: self.0.observed(),
            dot: mint.dot()?,
            payload: assign.clone(),
        }))
    }
}

impl Crdt for MvRegister {
    /// The value.
    type Operation = Value;
    dot_fun_effects!(Value);

    fn prepare(&self, assign: &Value, mint: &mut Mint<'_>) -> Result<Option<Write<Value>>, OperationError> {
        assign.check()?;
        Ok(Some(Write {
            observed: self.0.observed(),
            dot: mint.dot()?,
            payload: assign.clone(),
        }))
    }
}
