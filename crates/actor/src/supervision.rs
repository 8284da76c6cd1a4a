//! Counts restarts and says how long to wait, without a clock of its own.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::{Restart, Supervision};

pub(crate) struct Restarts {
    supervision: Supervision,
    /// Of this window, oldest first; never more than `restarts_max`.
    recent: VecDeque<Instant>,
    random: u64,
}

impl Restarts {
    pub(crate) fn new(supervision: &Supervision) -> Self {
        let random = supervision.backoff.seed;
        Self {
            random: random.unwrap_or_else(|| RandomState::new().hash_one(0_u8)),
            supervision: supervision.clone(),
            recent: VecDeque::new(),
        }
    }

    /// How long to wait before the next start; `None` when there is to be none.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Duration> {
        if self.supervision.restart == Restart::Never {
            return None;
        }
        let window = self.supervision.window;
        self.recent
            .retain(|at| now.saturating_duration_since(*at) < window);
        let earlier = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if earlier >= self.supervision.restarts_max {
            return None;
        }
        self.recent.push_back(now);
        let backoff = &self.supervision.backoff;
        let factor = backoff.factor.max(1).saturating_pow(earlier);
        let wait = backoff.first.saturating_mul(factor).min(backoff.max);
        let cut = u64::from(backoff.jitter_percent.min(100)) * 10;
        let permille = if cut == 0 { 0 } else { self.draw() % (cut + 1) };
        let cut = wait.saturating_mul(u32::try_from(permille).unwrap_or(0)) / 1_000;
        Some(wait.saturating_sub(cut))
    }

    /// SplitMix64: jitter needs no better.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Backoff;

    fn supervision(restarts_max: u32) -> Supervision {
        Supervision {
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_millis(500)),
            restarts_max,
            window: Duration::from_secs(10),
            ..Supervision::restart()
        }
    }

    fn waits(restarts: &mut Restarts, count: usize, at: Instant) -> Vec<u128> {
        (0..count)
            .map_while(|_| restarts.next(at))
            .map(|wait| wait.as_millis())
            .collect()
    }

    #[test]
    fn waits_grow_to_the_longest_and_end_at_the_limit() {
        let mut restarts = Restarts::new(&supervision(5));
        let now = Instant::now();
        assert_eq!(waits(&mut restarts, 9, now), [100, 200, 400, 500, 500]);
        let later = now + Duration::from_secs(10);
        assert_eq!(waits(&mut restarts, 1, later), [100], "the window has passed");
    }

    #[test]
    fn a_long_series_does_not_overflow() {
        let mut restarts = Restarts::new(&supervision(1_000));
        assert_eq!(waits(&mut restarts, 1_000, Instant::now())[999], 500);
    }

    #[test]
    fn jitter_is_bounded_and_repeatable() {
        let mut supervision = supervision(1_000);
        supervision.backoff.jitter_percent = 50;
        supervision.backoff.seed = Some(7);
        let now = Instant::now();
        let first = waits(&mut Restarts::new(&supervision), 200, now);
        assert_eq!(first, waits(&mut Restarts::new(&supervision), 200, now));
        let long = &first[10..];
        assert!(long.iter().all(|wait| (250..=500).contains(wait)), "{long:?}");
        assert!(
            long.iter().min() < Some(&280) && long.iter().max() > Some(&470),
            "{long:?}"
        );
    }

    #[test]
    fn never_means_never() {
        assert_eq!(Restarts::new(&Supervision::default()).next(Instant::now()), None);
    }
}
