//! Counters: every replica writes its own absolute total, so a repeated delta counts once.

use std::collections::BTreeMap;

use crate::codec::{Reader, Writer};
use crate::dot::Dot;
use crate::dot_fun::{DotFun, Payload, Write, dot_fun_effects, dot_fun_store};
use crate::error::{DecodeError, OperationError};
use crate::store::{Crdt, Mint};

/// A replica's total.
pub type Total = u64;

/// A replica's totals up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PnTotals {
    /// Sum of what was added.
    pub up: u64,
    /// Sum of what was taken away.
    pub down: u64,
}

impl Payload for Total {
    fn encode(&self, to: &mut Writer) {
        to.varint(*self);
    }

    fn decode(_bit: bool, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.varint("total")
    }
}

impl Payload for PnTotals {
    fn encode(&self, to: &mut Writer) {
        to.varint(self.up);
        to.varint(self.down);
    }

    fn decode(_bit: bool, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            up: from.varint("up")?,
            down: from.varint("down")?,
        })
    }
}

/// Only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GCounter(DotFun<Total>);

/// Grows and shrinks; may go below zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter(DotFun<PnTotals>);

dot_fun_store!(GCounter, Total, 1, "g-counter");
dot_fun_store!(PnCounter, PnTotals, 2, "pn-counter");

/// One entry a replica: with gaps in what arrived, several totals of one replica may be there; the largest has the others.
fn per_replica<T: Copy>(entries: &[(Dot, T)], larger: impl Fn(T, T) -> T) -> BTreeMap<(u16, u64), T> {
    let mut totals = BTreeMap::new();
    for (dot, payload) in entries {
        totals
            .entry((dot.slot, dot.incarnation()))
            .and_modify(|total| *total = larger(*total, *payload))
            .or_insert(*payload);
    }
    totals
}

fn larger_pn(a: PnTotals, b: PnTotals) -> PnTotals {
    PnTotals {
        up: a.up.max(b.up),
        down: a.down.max(b.down),
    }
}

impl GCounter {
    /// The sum over all replicas.
    #[must_use]
    pub fn value(&self) -> u128 {
        per_replica(self.entries(), Ord::max)
            .values()
            .map(|total| u128::from(*total))
            .sum()
    }
}

impl PnCounter {
    /// The sum over all replicas.
    #[must_use]
    pub fn value(&self) -> i128 {
        let totals = per_replica(self.entries(), larger_pn);
        totals
            .values()
            .map(|total| i128::from(total.up) - i128::from(total.down))
            .sum()
    }
}

/// The entries that the writer carries on: its own, and those of retired earlier leases of its slot.
fn own<T: Payload + Copy>(store: &DotFun<T>, mint: &Mint<'_>) -> Vec<(Dot, T)> {
    store
        .entries()
        .iter()
        .filter(|(dot, _)| mint.owns(*dot))
        .copied()
        .collect()
}

impl Crdt for GCounter {
    /// How much to add.
    type Operation = u64;
    dot_fun_effects!(Total);

    fn prepare(&self, add: &u64, mint: &mut Mint<'_>) -> Result<Option<Write<Total>>, OperationError> {
        if *add == 0 {
            return Ok(None);
        }
        let own = own(&self.0, mint);
        let mut total = *add;
        for share in per_replica(&own, Ord::max).into_values() {
            total = total.checked_add(share).ok_or(OperationError::Overflow)?;
        }
        let observed = own.iter().map(|(dot, _)| *dot).collect();
        Ok(Some(Write {
            observed,
            dot: mint.dot()?,
            payload: total,
        }))
    }
}

impl Crdt for PnCounter {
    /// How much to add; may be negative.
    type Operation = i64;
    dot_fun_effects!(PnTotals);

    fn prepare(&self, add: &i64, mint: &mut Mint<'_>) -> Result<Option<Write<PnTotals>>, OperationError> {
        if *add == 0 {
            return Ok(None);
        }
        let own = own(&self.0, mint);
        let mut total = PnTotals::default();
        let step = if *add > 0 {
            (add.unsigned_abs(), 0)
        } else {
            (0, add.unsigned_abs())
        };
        let shares = per_replica(&own, larger_pn)
            .into_values()
            .map(|share| (share.up, share.down));
        for (up, down) in shares.chain([step]) {
            total.up = total.up.checked_add(up).ok_or(OperationError::Overflow)?;
            total.down = total.down.checked_add(down).ok_or(OperationError::Overflow)?;
        }
        let observed = own.iter().map(|(dot, _)| *dot).collect();
        Ok(Some(Write {
            observed,
            dot: mint.dot()?,
            payload: total,
        }))
    }
}
