//! How an actor is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::SpawnError;

/// Messages that a mailbox may hold at most.
pub const MAILBOX_MAX: usize = 1 << 20;
const NAME_BYTES_MAX: usize = 256;
const TIMERS_MAX: usize = 1 << 16;
const CHILDREN_MAX: usize = 1 << 16;
const RESTARTS_MAX: u32 = 1_000;

/// How one actor is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// For logs and errors; 1 to 256 bytes. Need not be unique.
    pub name: String,
    /// Messages that wait at most, 1 to [`MAILBOX_MAX`]; the one being handled does not count.
    pub mailbox: usize,
    /// What happens after a failure.
    pub supervision: Supervision,
    /// Messages to itself that may be due later at once.
    pub timers: usize,
    /// Actors that it may keep through its context at once.
    pub children: usize,
    /// How long a child has, when its parent ends, before it is aborted.
    pub children_deadline: Duration,
}

impl Settings {
    /// A mailbox of so many messages, no restart, 64 timers and 1,024 children at most.
    pub fn new(name: impl Into<String>, mailbox: usize) -> Self {
        Self {
            name: name.into(),
            mailbox,
            supervision: Supervision::default(),
            timers: 64,
            children: 1_024,
            children_deadline: Duration::from_secs(5),
        }
    }

    /// With this supervision.
    #[must_use]
    pub fn supervision(mut self, supervision: Supervision) -> Self {
        self.supervision = supervision;
        self
    }

    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        between("name (bytes)", self.name.len(), 1, NAME_BYTES_MAX)?;
        between("mailbox", self.mailbox, 1, MAILBOX_MAX)?;
        between("timers", self.timers, 0, TIMERS_MAX)?;
        between("children", self.children, 0, CHILDREN_MAX)?;
        self.supervision.check()
    }
}

fn between(field: &'static str, value: usize, least: usize, most: usize) -> Result<(), SpawnError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SpawnError::Invalid {
        field,
        fix: format!("{value} is not between {least} and {most}"),
    })
}

/// When an actor is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// A failure ends it.
    Never,
    /// A failure restarts it.
    OnFailure,
}

/// What happens after a failure of an actor, or of a worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Supervision {
    /// When it is made again.
    pub restart: Restart,
    /// Waits before a restart.
    pub backoff: Backoff,
    /// One failure more than this within the window ends it; at most 1,000.
    pub restarts_max: u32,
    /// The window; older restarts are forgotten, by the limit and by the backoff.
    pub window: Duration,
}

impl Supervision {
    /// Restarts after failures, at most 10 times a minute, with the default backoff.
    pub fn restart() -> Self {
        Self {
            restart: Restart::OnFailure,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let restarts = usize::try_from(self.restarts_max).unwrap_or(usize::MAX);
        between("supervision.restarts_max", restarts, 0, RESTARTS_MAX as usize)?;
        between(
            "supervision.backoff.jitter_percent",
            self.backoff.jitter_percent.into(),
            0,
            100,
        )?;
        if self.backoff.first > self.backoff.max {
            return Err(SpawnError::Invalid {
                field: "supervision.backoff.first",
                fix: "it is longer than supervision.backoff.max".to_owned(),
            });
        }
        Ok(())
    }
}

impl Default for Supervision {
    /// Never restarts.
    fn default() -> Self {
        Self {
            restart: Restart::Never,
            backoff: Backoff::default(),
            restarts_max: 10,
            window: Duration::from_secs(60),
        }
    }
}

/// Waits that grow with each restart within the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// What each wait is multiplied with for the next.
    pub factor: u32,
    /// So much of each wait may be cut off at random, 0 to 100.
    pub jitter_percent: u8,
    /// Makes the jitter repeatable; without it the system's randomness seeds it.
    pub seed: Option<u64>,
}

impl Backoff {
    /// From the first wait to the longest, doubling, without jitter.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            factor: 2,
            jitter_percent: 0,
            seed: None,
        }
    }
}

impl Default for Backoff {
    /// 100 ms to 10 s, doubling, half of it random.
    fn default() -> Self {
        Self {
            jitter_percent: 50,
            ..Self::new(Duration::from_millis(100), Duration::from_secs(10))
        }
    }
}
