//! Messages that an actor sends itself later.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::TimerError;

/// Names one message that is due later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    due: Instant,
    number: u64,
}

pub(crate) struct Timers<M> {
    due: BTreeMap<Timer, M>,
    most: usize,
    number: u64,
    /// Set for the first one that is due.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<M> Timers<M> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            due: BTreeMap::new(),
            most,
            number: 0,
            sleep: None,
        }
    }

    pub(crate) fn add(&mut self, delay: Duration, message: M) -> Result<Timer, TimerError<M>> {
        if self.due.len() >= self.most {
            return Err(TimerError::TooMany(message, self.most));
        }
        let Some(due) = Instant::now().checked_add(delay) else {
            return Err(TimerError::TooLong(message, delay));
        };
        self.number = self.number.wrapping_add(1);
        let timer = Timer {
            due,
            number: self.number,
        };
        self.due.insert(timer, message);
        Ok(timer)
    }

    pub(crate) fn cancel(&mut self, timer: Timer) -> Option<M> {
        self.due.remove(&timer)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.sleep = None;
    }

    /// The first one when it is due; never when there is none. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> M {
        poll_fn(|context| {
            let Some(first) = self.due.first_key_value().map(|(timer, _)| timer.due) else {
                return Poll::Pending;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(first)));
            if sleep.deadline() != first {
                sleep.as_mut().reset(first);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            match self.due.pop_first() {
                Some((_, message)) => Poll::Ready(message),
                None => Poll::Pending,
            }
        })
        .await
    }
}
