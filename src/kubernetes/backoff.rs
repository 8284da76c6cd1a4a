//! A backoff per object, which grows with each error and is gone with the first success; and those of watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST_MS: u64 = 500;
const LAST_MS: u64 = 60_000;
/// Objects that may be failing at once; beyond that the longest wait is used without being remembered.
const OBJECTS_MAX: usize = 10_000;

/// Consecutive errors by UID.
#[derive(Debug, Default)]
pub struct Backoffs {
    errors: Mutex<BTreeMap<String, u32>>,
}

impl Backoffs {
    /// The wait after one more error. `jitter` is 0 to 100 percent of half of it.
    pub fn failed(&self, uid: &str, jitter: u8) -> Duration {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() >= OBJECTS_MAX && !errors.contains_key(uid) {
            return Duration::from_millis(LAST_MS);
        }
        let count = errors.entry(uid.to_owned()).or_insert(0);
        let wait_ms = FIRST_MS.saturating_mul(1_u64 << (*count).min(10)).min(LAST_MS);
        *count = count.saturating_add(1);
        Duration::from_millis(wait_ms / 2 + wait_ms * u64::from(jitter.min(100)) / 200)
    }

    /// Forgets the errors of an object.
    pub fn succeeded(&self, uid: &str) {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// Forgets objects that are gone.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| exists(uid));
    }
}

/// Between the tries of one watch. After an outage of the API server nobody should be blind for half a minute.
#[derive(Clone, Debug, Default)]
pub struct WatchBackoff {
    errors: u32,
}

const WATCH_FIRST_MS: u64 = 250;
const WATCH_LAST_MS: u64 = 4_000;

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait_ms = WATCH_FIRST_MS
            .saturating_mul(1_u64 << self.errors.min(10))
            .min(WATCH_LAST_MS);
        self.errors = self.errors.saturating_add(1);
        // Full jitter over the second half, so that replicas and watches do not come back together.
        Some(Duration::from_millis(rand::random_range(wait_ms / 2..=wait_ms)))
    }
}

impl kube::runtime::utils::Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.errors = 0;
    }
}

/// For streams whose parts have backoffs of their own. A controller holds up *all* its watches for each error of any of
/// them; seven watches that failed in one outage would leave it blind for minutes after.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBackoff;

impl Iterator for NoBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl kube::runtime::utils::Backoff for NoBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_again_within_seconds_however_long_the_outage() {
        let mut backoff = WatchBackoff::default();
        let waits: Vec<_> = backoff.by_ref().take(50).map(|wait| wait.as_millis()).collect();
        assert!(
            waits[0] <= 250 && waits[49] >= 2_000 && waits.iter().all(|wait| *wait <= 4_000),
            "{waits:?}"
        );
        kube::runtime::utils::Backoff::reset(&mut backoff);
        assert!(backoff.next().unwrap().as_millis() <= 250);
    }

    #[test]
    fn grows_to_a_minute_and_starts_anew_after_success() {
        let backoffs = Backoffs::default();
        let waits: Vec<_> = (0..9).map(|_| backoffs.failed("a", 100).as_millis()).collect();
        assert_eq!(
            waits,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(backoffs.failed("b", 0).as_millis(), 250);
        backoffs.succeeded("a");
        assert_eq!(backoffs.failed("a", 100).as_millis(), 500);
    }
}
