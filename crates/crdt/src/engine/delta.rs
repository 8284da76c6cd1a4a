//! Deltas: causal intervals with acknowledgements; no back-propagation, nothing redundant, digests where histories differ.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Engine, ReceiveError, Settings};
use crate::clock::Clock;
use crate::context::Context;
use crate::dot::Replica;
use crate::error::OperationError;
use crate::state::{Digest, State};
use crate::store::Crdt;

mod bytes;

/// What replicas send each other. Deltas of one process (epoch) are numbered from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum DeltaMessage<S> {
    /// All deltas from number `from` to before `to`, but for those that came from the receiver.
    Interval {
        /// Process of the sender.
        epoch: u64,
        /// First number.
        from: u64,
        /// Number after the last.
        to: u64,
        /// Their join.
        delta: Arc<State<S>>,
    },
    /// The receiver of this sent all before `to`, and the sender of this has it.
    Acknowledge {
        /// Process that sent the deltas.
        epoch: u64,
        /// Number after the last.
        to: u64,
    },
    /// Asks for what the digest lacks.
    Ask {
        /// What the asker has.
        digest: Digest,
    },
    /// Answers `Ask`: brings the asker up to number `to`.
    Fill {
        /// Process of the sender.
        epoch: u64,
        /// Number after the last.
        to: u64,
        /// What was lacking.
        delta: Arc<State<S>>,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Neighbour {
    /// The neighbour's process, and the number of its next delta. None: ask.
    received: Option<(u64, u64)>,
    /// The number of our next delta for it. None: it has not acknowledged anything of this process yet.
    acknowledged: Option<u64>,
    /// Until then, the number of the first delta that no answer to it had.
    answered: Option<u64>,
}

#[derive(Debug)]
struct Buffered<S> {
    number: u64,
    origin: Option<Replica>,
    delta: Arc<State<S>>,
}

/// Sends what neighbours have not acknowledged.
#[derive(Debug)]
pub struct DeltaEngine<S> {
    settings: Settings,
    clock: Clock,
    state: State<S>,
    neighbours: BTreeMap<Replica, Neighbour>,
    buffer: VecDeque<Buffered<S>>,
    /// Number of the next delta.
    next: u64,
    /// Deltas before this number may be gone although a neighbour lacks them.
    lost: u64,
}

impl<S: Crdt> DeltaEngine<S> {
    /// Deltas kept for neighbours.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn keep(&mut self, delta: State<S>, origin: Option<Replica>) {
        self.buffer.push_back(Buffered {
            number: self.next,
            origin,
            delta: Arc::new(delta),
        });
        self.next += 1;
        self.release();
        if self.buffer.len() > self.settings.buffer_max
            && let Some(oldest) = self.buffer.pop_front()
        {
            // Who lacks it sees a gap and asks.
            self.lost = oldest.number + 1;
        }
    }

    /// Drops what every neighbour acknowledged or sent itself. Never less: a neighbour that has not spoken yet asks.
    fn release(&mut self) {
        while let Some(oldest) = self.buffer.front() {
            let needed = self.neighbours.iter().any(|(neighbour, link)| {
                let next = link.acknowledged.or(link.answered);
                oldest.origin != Some(*neighbour) && next.is_some_and(|next| next <= oldest.number)
            });
            if needed {
                return;
            }
            self.buffer.pop_front();
        }
    }

    /// What the neighbour has not acknowledged. Empty ones are sent only where they make it ask: as a greeting of this
    /// process, and when something that it lacks is gone.
    fn interval(&self, neighbour: Replica, acknowledged: Option<u64>) -> Option<DeltaMessage<S>> {
        let (epoch, to) = (self.settings.epoch, self.next);
        let empty = |at| DeltaMessage::Interval {
            epoch,
            from: at,
            to: at,
            delta: Arc::new(State::new()),
        };
        let Some(acknowledged) = acknowledged else {
            return Some(empty(to));
        };
        if acknowledged < self.lost {
            return Some(empty(self.lost));
        }
        let mut parts = self
            .buffer
            .iter()
            .filter(|part| part.number >= acknowledged && part.origin != Some(neighbour))
            .map(|part| &part.delta);
        let mut delta = parts.next()?.clone();
        for part in parts {
            if Arc::make_mut(&mut delta).join(part).is_err() {
                return Some(empty(to));
            }
        }
        Some(DeltaMessage::Interval {
            epoch,
            from: acknowledged,
            to,
            delta,
        })
    }

    /// Joins the part of a delta that is news, and keeps it for the others.
    fn take(&mut self, neighbour: Replica, delta: &State<S>, now_ms: u64) -> Result<(), ReceiveError> {
        if let Some(stamp) = delta.newest_stamp() {
            self.clock.observe(stamp, now_ms)?;
        }
        let news = delta.difference(&self.state);
        if !news.is_bottom() {
            self.state.join(&news)?;
            self.keep(news, Some(neighbour));
        }
        Ok(())
    }
}

impl<S: Crdt> Engine<S> for DeltaEngine<S> {
    type Message = DeltaMessage<S>;

    fn start(settings: Settings, state: State<S>) -> Self {
        let clock = Clock::after(settings.skew_max_ms, state.newest_stamp());
        let neighbours = BTreeMap::new();
        Self {
            settings,
            clock,
            state,
            neighbours,
            buffer: VecDeque::new(),
            next: 0,
            lost: 0,
        }
    }

    fn state(&self) -> &State<S> {
        &self.state
    }

    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn update(&mut self, operation: &S::Operation) -> Result<Vec<Self::Message>, OperationError> {
        if let Some(delta) = self.state.update(self.settings.replica, operation)? {
            self.keep(delta, None);
        }
        Ok(Vec::new())
    }

    fn poll(&mut self, neighbour: Replica) -> Vec<Self::Message> {
        let link = *self.neighbours.entry(neighbour).or_default();
        let ask = link.received.is_none().then(|| DeltaMessage::Ask {
            digest: self.state.digest(),
        });
        let interval = self.interval(neighbour, link.acknowledged);
        ask.into_iter().chain(interval).collect()
    }

    fn receive(
        &mut self,
        neighbour: Replica,
        message: &Self::Message,
        now_ms: u64,
    ) -> Result<Vec<Self::Message>, ReceiveError> {
        let link = *self.neighbours.entry(neighbour).or_default();
        match message {
            DeltaMessage::Interval {
                epoch,
                from,
                to,
                delta,
            } => {
                let next = link
                    .received
                    .filter(|(known, next)| known == epoch && from <= next);
                let Some((_, next)) = next else {
                    self.neighbours.entry(neighbour).or_default().received = None;
                    return Ok(vec![DeltaMessage::Ask {
                        digest: self.state.digest(),
                    }]);
                };
                if *to > next {
                    self.take(neighbour, delta, now_ms)?;
                }
                let to = next.max(*to);
                self.neighbours.entry(neighbour).or_default().received = Some((*epoch, to));
                Ok(vec![DeltaMessage::Acknowledge { epoch: *epoch, to }])
            }
            DeltaMessage::Fill { epoch, to, delta } => {
                self.take(neighbour, delta, now_ms)?;
                let known = link
                    .received
                    .filter(|(known, _)| known == epoch)
                    .map_or(0, |(_, next)| next);
                let to = known.max(*to);
                self.neighbours.entry(neighbour).or_default().received = Some((*epoch, to));
                Ok(vec![DeltaMessage::Acknowledge { epoch: *epoch, to }])
            }
            DeltaMessage::Acknowledge { epoch, to } => {
                // Nothing is held for a neighbour that has not spoken yet: one that was forgotten may still have
                // acknowledgements on the way, and what came after those is gone.
                let held = self.buffer.front().map_or(self.next, |oldest| oldest.number);
                let late = link.acknowledged.is_none() && *to < held;
                if *epoch == self.settings.epoch && *to <= self.next && !late {
                    let link = self.neighbours.entry(neighbour).or_default();
                    link.acknowledged = Some(link.acknowledged.unwrap_or(0).max(*to));
                    self.release();
                }
                Ok(Vec::new())
            }
            DeltaMessage::Ask { digest } => {
                // The answer may get lost, so this acknowledges nothing; what comes after the answer is kept.
                let epoch = self.settings.epoch;
                let next = self.next;
                let link = self.neighbours.entry(neighbour).or_default();
                link.answered = Some(link.answered.map_or(next, |before| before.min(next)));
                let delta = Arc::new(self.state.missing(digest));
                Ok(vec![DeltaMessage::Fill {
                    epoch,
                    to: self.next,
                    delta,
                }])
            }
        }
    }

    fn forget(&mut self, neighbour: Replica) {
        self.neighbours.remove(&neighbour);
        self.release();
    }

    fn retire(&mut self, replica: Replica) {
        self.state.retire(replica);
    }

    fn collect(&mut self, stable: &Context) {
        self.state.collect(stable);
    }
}
