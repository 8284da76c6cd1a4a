//! Writes, and when they are acknowledged.

use std::sync::Arc;

use pointsman_crdt::{Context, Dot, Interval, Map, MapOperation, Replica, State};

use super::retire::range_of;
use super::{DocumentCopy, Effect, SEQUENCE_MASK, WAITING_MAX, Waiting, WriteError};

impl DocumentCopy {
    /// Makes a change here. `Done` with the ticket follows once it is acknowledged; at once when nothing changed.
    ///
    /// # Errors
    /// When the operation is not possible here and now. Nothing has changed.
    pub fn operate(
        &mut self,
        ticket: u64,
        operation: &MapOperation,
    ) -> Result<Option<Arc<State<Map>>>, WriteError> {
        self.room()?;
        let marker = self.marker()?;
        if let Some(marker) = marker {
            self.document.state_mut().context.insert(marker);
        }
        let mut updated = self.document.apply(self.settings.me, operation);
        if let (Ok(Some(delta)), Some(marker)) = (&mut updated, marker) {
            delta.context.insert(marker);
        } else if let Some(marker) = marker {
            // Nothing was made, so nothing is marked.
            let state = self.document.state_mut();
            state.context = state.context.difference(&[marker].into_iter().collect());
        }
        let delta = updated?.map(Arc::new);
        match &delta {
            Some(delta) => self.written(ticket, delta),
            None => self.effects.push(Effect::Done(ticket)),
        }
        Ok(delta)
    }

    /// As `operate`, by JSON such as `{"field": "likes", "increment": 1}`; docs/CRDT.md §10.
    ///
    /// # Errors
    /// As `operate`, and when it is no operation on this document.
    pub fn operate_json(
        &mut self,
        ticket: u64,
        operation: &serde_json::Value,
        now_ms: u64,
    ) -> Result<Option<Arc<State<Map>>>, WriteError> {
        let operation = self
            .document
            .operation_from_json(operation, &mut self.clock, now_ms)?;
        self.operate(ticket, &operation)
    }

    /// Joins the delta of a client that writes as `writer`. `Done` with the ticket follows once it is acknowledged.
    ///
    /// # Errors
    /// When it names dots that are neither its own nor known, or stamps too far ahead of `now_ms`.
    pub fn join_client(
        &mut self,
        ticket: u64,
        writer: Replica,
        delta: State<Map>,
        now_ms: u64,
    ) -> Result<(), WriteError> {
        self.room()?;
        if self.document.state().context.is_retired(writer) {
            return Err(WriteError::Retired);
        }
        let news = delta.context.difference(&self.document.state().context);
        let own = |interval: &Interval| {
            writer
                .dot(1)
                .is_some_and(|first| interval.slot == first.slot && interval.first >= first.counter)
                && interval.last >> 40 == u64::from(writer.incarnation())
        };
        if !news.intervals().iter().all(own) {
            return Err(WriteError::Foreign);
        }
        self.observe(&delta, now_ms)?;
        let dots = delta.context.clone();
        let grown = delta.difference(self.document.state());
        if !grown.is_bottom() {
            self.document.state_mut().join(&grown)?;
            self.changed(&Arc::new(grown), None);
        }
        self.wait_for(ticket, dots);
        Ok(())
    }

    /// `Done` with the ticket follows once all that is here now is acknowledged: for a write that was made before and is
    /// asked for again.
    ///
    /// # Errors
    /// When too many wait.
    pub fn wait_for_all(&mut self, ticket: u64) -> Result<(), WriteError> {
        self.room()?;
        self.wait_for(ticket, self.document.state().context.clone());
        Ok(())
    }

    /// Nobody waits for the ticket any more.
    pub fn forget(&mut self, ticket: u64) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// Sequence of the last dot made here.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        let made = range_of(self.settings.me).map(|range| self.document.state().context.intersection(&range));
        let last = made.and_then(|made| made.intervals().last().copied());
        last.map_or(0, |interval| interval.last & SEQUENCE_MASK)
    }

    /// A dot without effect that goes on after what an earlier copy here made, when that is lost everywhere.
    fn marker(&self) -> Result<Option<Dot>, WriteError> {
        let (me, last) = (self.settings.me, self.settings.last_sequence);
        let (Some(first), Some(end)) = (me.dot(1), me.dot(last)) else {
            return Ok(None);
        };
        let context = &self.document.state().context;
        // All of it, not only its end: it comes in parts, and a share of a counter may be in the last one.
        let made = Context::from(Interval {
            slot: me.slot(),
            first: first.counter,
            last: end.counter,
        });
        if made.is_subset(context) {
            return Ok(None);
        }
        let mut others = self.holders.iter().filter(|holder| **holder != me);
        if !others.all(|holder| {
            self.neighbours
                .get(holder)
                .is_some_and(|neighbour| neighbour.filled)
        }) {
            return Err(WriteError::NotBack);
        }
        let goes_on = self.last_sequence() >= last;
        Ok(if goes_on {
            None
        } else {
            me.dot(last.saturating_add(1))
        })
    }

    fn room(&self) -> Result<(), WriteError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(WriteError::Full);
        }
        Ok(())
    }

    fn observe(&mut self, delta: &State<Map>, now_ms: u64) -> Result<(), WriteError> {
        let Some(stamp) = delta.newest_stamp() else {
            return Ok(());
        };
        self.clock
            .observe(stamp, now_ms)
            .map_err(|error| WriteError::Skew {
                ahead_ms: error.ahead_ms,
            })
    }

    fn written(&mut self, ticket: u64, delta: &Arc<State<Map>>) {
        self.changed(delta, None);
        self.wait_for(ticket, delta.context.clone());
    }

    fn wait_for(&mut self, ticket: u64, dots: Context) {
        self.waiting.push_back(Waiting { ticket, dots });
        self.settle();
    }

    /// Acknowledges what enough holders have: two where there are two members.
    pub(super) fn settle(&mut self) {
        self.settle_entrusted();
        for waiting in std::mem::take(&mut self.waiting) {
            if self.is_held(&waiting.dots) {
                self.effects.push(Effect::Done(waiting.ticket));
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Whether enough holders have stored the dots.
    pub(super) fn is_held(&self, dots: &Context) -> bool {
        let need = (self.holders.len() + self.view.absent()).min(2);
        let here = usize::from(self.holds() && self.stored.has(dots));
        let there = self
            .holders
            .iter()
            .filter_map(|holder| self.neighbours.get(holder))
            .filter(|neighbour| dots.is_subset(&neighbour.held))
            .count();
        here + there >= need
    }
}
