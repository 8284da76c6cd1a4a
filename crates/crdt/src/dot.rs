//! Replicas and dots.

use std::fmt;

/// Bits of a counter that hold the sequence; the rest hold the incarnation.
const SEQUENCE_BITS: u32 = 40;
const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;
const INCARNATION_MAX: u32 = (1 << 24) - 1;

/// One lease of one slot. Two processes with the same one would break every type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    slot: u16,
    incarnation: u32,
}

impl Replica {
    /// Slot, and how often it has been leased: 1 to 2²⁴ − 1. `None` outside that range.
    #[must_use]
    pub fn new(slot: u16, incarnation: u32) -> Option<Self> {
        (1..=INCARNATION_MAX)
            .contains(&incarnation)
            .then_some(Self { slot, incarnation })
    }

    /// Slot.
    #[must_use]
    pub fn slot(self) -> u16 {
        self.slot
    }

    /// Incarnation.
    #[must_use]
    pub fn incarnation(self) -> u32 {
        self.incarnation
    }

    /// Dot number `sequence` of this replica; sequences count from 1.
    #[must_use]
    pub fn dot(self, sequence: u64) -> Option<Dot> {
        (1..=SEQUENCE_MAX).contains(&sequence).then(|| Dot {
            slot: self.slot,
            counter: (u64::from(self.incarnation) << SEQUENCE_BITS) | sequence,
        })
    }

    /// The counter just before the first dot.
    pub(crate) fn base(self) -> u64 {
        u64::from(self.incarnation) << SEQUENCE_BITS
    }

    /// The last dot that the incarnation before this one could ever use.
    pub(crate) fn before(self) -> Dot {
        Dot {
            slot: self.slot,
            counter: self.base() - 1,
        }
    }

    /// The last counter that this incarnation could ever use.
    pub(crate) fn end(self) -> u64 {
        self.base() | SEQUENCE_MAX
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.slot, self.incarnation)
    }
}

/// Names one mutation. `counter = incarnation · 2⁴⁰ + sequence`, so a slot's dots are ordered over all its leases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Slot of the replica.
    pub slot: u16,
    /// Incarnation and sequence.
    pub counter: u64,
}

impl Dot {
    /// Smaller than every real dot; marks a deletion that is known to everybody.
    pub(crate) const STABLE: Self = Self { slot: 0, counter: 0 };

    /// Incarnation.
    #[must_use]
    pub fn incarnation(self) -> u64 {
        self.counter >> SEQUENCE_BITS
    }

    /// Sequence within the incarnation.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.counter & SEQUENCE_MAX
    }

    pub(crate) fn from_parts(slot: u16, incarnation: u64, sequence: u64) -> Option<Self> {
        let counter = counter_of(incarnation, sequence)?;
        Some(Self { slot, counter })
    }

    pub(crate) fn next(self) -> Self {
        Self {
            slot: self.slot,
            counter: self.counter.saturating_add(1),
        }
    }

    /// The dot `steps` further.
    pub(crate) fn after(self, steps: u64) -> Self {
        Self {
            slot: self.slot,
            counter: self.counter.saturating_add(steps),
        }
    }
}

pub(crate) fn counter_of(incarnation: u64, sequence: u64) -> Option<u64> {
    (incarnation <= u64::from(INCARNATION_MAX) && sequence <= SEQUENCE_MAX)
        .then_some((incarnation << SEQUENCE_BITS) | sequence)
}

pub(crate) fn split_counter(counter: u64) -> (u64, u64) {
    (counter >> SEQUENCE_BITS, counter & SEQUENCE_MAX)
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.slot, self.incarnation(), self.sequence())
    }
}
