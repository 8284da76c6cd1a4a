//! Hybrid logical clock. Time comes in as an argument.

use crate::error::SkewError;

const LOGIC_BITS: u32 = 16;

/// 48 bits of milliseconds, 16 bits of logic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The physical part, in milliseconds.
    #[must_use]
    pub fn milliseconds(self) -> u64 {
        self.0 >> LOGIC_BITS
    }

    /// The first stamp of a millisecond.
    #[must_use]
    pub fn at(milliseconds: u64) -> Self {
        Self(milliseconds.min(u64::MAX >> LOGIC_BITS) << LOGIC_BITS)
    }
}

/// Makes stamps that are larger than all it made or observed, and refuses stamps from clocks that are far ahead.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Stamp,
    skew_max_ms: u64,
}

impl Clock {
    /// `skew_max_ms`: how far another replica's clock may be ahead, in milliseconds.
    #[must_use]
    pub fn new(skew_max_ms: u64) -> Self {
        Self {
            last: Stamp(0),
            skew_max_ms,
        }
    }

    /// A clock that goes on after what is stored.
    #[must_use]
    pub(crate) fn after(skew_max_ms: u64, stored: Option<Stamp>) -> Self {
        Self {
            last: stored.unwrap_or_default(),
            skew_max_ms,
        }
    }

    /// The next stamp. After a crash, `recover` the stored stamps first; a clock that went back costs logic bits only.
    pub fn tick(&mut self, now_ms: u64) -> Stamp {
        self.last = Stamp::at(now_ms).max(Stamp(self.last.0.saturating_add(1)));
        self.last
    }

    /// Whether the stamp is within the bound, without observing it.
    ///
    /// # Errors
    /// When it is further ahead of `now_ms` than clocks may differ.
    pub fn check(&self, stamp: Stamp, now_ms: u64) -> Result<(), SkewError> {
        let ahead_ms = stamp.milliseconds().saturating_sub(now_ms);
        if ahead_ms > self.skew_max_ms {
            return Err(SkewError {
                ahead_ms,
                skew_max_ms: self.skew_max_ms,
            });
        }
        Ok(())
    }

    /// Takes note of a stamp that was accepted before, such as one in a stored state: however far ahead it is, the next
    /// stamp has to be later.
    pub fn recover(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }

    /// Takes note of another replica's stamp.
    ///
    /// # Errors
    /// As `check`; the clock is unchanged then.
    pub fn observe(&mut self, stamp: Stamp, now_ms: u64) -> Result<(), SkewError> {
        self.check(stamp, now_ms)?;
        self.last = self.last.max(stamp);
        Ok(())
    }
}
