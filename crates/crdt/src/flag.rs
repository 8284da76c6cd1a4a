//! Flags. No clock takes part. A change always leaves an entry, so it always names its place.

use crate::codec::{Reader, Writer};
use crate::dot_fun::{DotFun, Payload, Write, dot_fun_effects, dot_fun_store};
use crate::error::{DecodeError, OperationError};
use crate::store::{Crdt, Mint};

impl Payload for bool {
    fn bit(&self) -> bool {
        *self
    }

    fn encode(&self, _to: &mut Writer) {}

    fn decode(bit: bool, _from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(bit)
    }
}

/// Off at first; a concurrent enable wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnableWinsFlag(DotFun<bool>);

/// On at first; a concurrent disable wins. The flag for kill switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisableWinsFlag(DotFun<bool>);

dot_fun_store!(EnableWinsFlag, bool, 8, "enable-wins-flag");
dot_fun_store!(DisableWinsFlag, bool, 9, "disable-wins-flag");

impl EnableWinsFlag {
    /// Whether it is on.
    #[must_use]
    pub fn value(&self) -> bool {
        self.entries().iter().any(|(_, on)| *on)
    }
}

impl DisableWinsFlag {
    /// Whether it is on.
    #[must_use]
    pub fn value(&self) -> bool {
        self.entries().iter().all(|(_, on)| *on)
    }
}

impl Crdt for EnableWinsFlag {
    /// On or off.
    type Operation = bool;
    dot_fun_effects!(bool);

    fn prepare(&self, on: &bool, mint: &mut Mint<'_>) -> Result<Option<Write<bool>>, OperationError> {
        Ok(Some(Write {
            observed: self.0.observed(),
            dot: mint.dot()?,
            payload: *on,
        }))
    }
}

impl Crdt for DisableWinsFlag {
    /// On or off.
    type Operation = bool;
    dot_fun_effects!(bool);

    fn prepare(&self, on: &bool, mint: &mut Mint<'_>) -> Result<Option<Write<bool>>, OperationError> {
        Ok(Some(Write {
            observed: self.0.observed(),
            dot: mint.dot()?,
            payload: *on,
        }))
    }
}
