//! Tries to make a socket until there is one.

use std::time::Duration;

use tokio::sync::mpsc;

use super::link::{Link, connect};
use super::{Greeting, Observed, Options};

const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(10);
/// A socket that lived for so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// So often a client that is to move tries the revision that it was told, which takes about half a minute.
const MOVING_TRIES: u32 = 10;

/// Time between two tries: twice as much each time, with full jitter.
#[derive(Clone, Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let most = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        self.0 = self.0.saturating_mul(2).min(LAST);
        Duration::from_millis(rand::random_range(0..=most))
    }

    /// A replica that greets and then cuts is no better than one that is not there.
    pub(super) fn lived(&mut self, time: Duration) {
        if time >= GOOD_AFTER {
            self.0 = FIRST;
        }
    }
}

pub(super) struct Dial {
    pub(super) options: Options,
    pub(super) token: Option<String>,
    pub(super) revision: Option<String>,
    /// Up to where events were heard.
    pub(super) points: Option<String>,
    /// Calls below this id may have been sent before.
    pub(super) calls: Option<String>,
    /// Asked to move, so there is a socket still.
    pub(super) moving: bool,
    pub(super) backoff: Backoff,
    pub(super) tell: mpsc::Sender<Observed>,
}

impl Dial {
    /// A revision that cannot be reached may be gone, so every second try leaves the choice to the service. Whoever is
    /// to move has a socket still and can wait: any other revision would only tell it to move again.
    fn insists(&self, failed: u32) -> bool {
        let patience = if self.moving { MOVING_TRIES } else { 0 };
        failed < patience || failed.saturating_sub(patience).is_multiple_of(2)
    }

    pub(super) async fn run(mut self, delay: Duration) -> (Link, Greeting) {
        tokio::time::sleep(delay).await;
        let mut failed = 0_u32;
        loop {
            let revision = self.revision.as_deref().filter(|_| self.insists(failed));
            match connect(
                &self.options,
                self.token.as_deref(),
                revision,
                self.points.as_deref(),
                self.calls.as_deref(),
            )
            .await
            {
                Ok(made) => return made,
                // Nobody has to look.
                Err(error) => drop(self.tell.send(Observed::Failed(error)).await),
            }
            failed = failed.saturating_add(1);
            tokio::time::sleep(self.backoff.next()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_move_insists_and_who_was_cut_takes_what_there_is() {
        let dial = |moving| Dial {
            options: Options {
                url: String::new(),
                connect: None,
                ask_within: FIRST,
            },
            token: None,
            points: None,
            calls: None,
            revision: None,
            moving,
            backoff: Backoff::default(),
            tell: mpsc::channel(1).0,
        };
        let insists =
            |moving| -> Vec<u32> { (0..14).filter(|failed| dial(moving).insists(*failed)).collect() };
        assert_eq!(insists(false), [0, 2, 4, 6, 8, 10, 12]);
        assert_eq!(insists(true), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]);
    }

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_after_a_good_socket() {
        let mut backoff = Backoff::default();
        for most in [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(backoff.0, Duration::from_millis(most));
            assert!(backoff.next() <= Duration::from_millis(most));
        }
        backoff.lived(GOOD_AFTER / 2);
        assert_eq!(backoff.0, LAST);
        backoff.lived(GOOD_AFTER);
        assert_eq!(backoff.0, FIRST);
    }
}
