//! What of a copy is stored.

use std::sync::Arc;

use bytes::Bytes;
use pointsman_crdt::{Context, Map, Replica, State};

use super::{DocumentCopy, Effect};
use crate::message::Message;

/// A log of so many bytes is replaced by a snapshot, unless the snapshot was larger.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// A copy's storage, as the copy sees it.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Counts changes of the copy.
    version: u64,
    /// Stored up to this one.
    upto: u64,
    context: Context,
    /// On its way to the storage.
    under_way: Option<(u64, Context)>,
    /// Changed and not on its way yet.
    deltas: Vec<Bytes>,
    /// The next is a snapshot.
    whole: bool,
    log_bytes: usize,
    snapshot_bytes: usize,
    /// There is something in the storage.
    any: bool,
    /// Messages that speak of what is not stored yet.
    held_back: Vec<(u64, Replica, Message)>,
}

impl Stored {
    /// The storage had this when the copy was opened.
    pub(super) fn found(&mut self, context: &Context) {
        self.context = context.clone();
        self.any = true;
        // The next store begins afresh: how long the log is is not known.
        self.whole = true;
    }

    pub(super) fn has(&self, dots: &Context) -> bool {
        dots.is_subset(&self.context)
    }

    /// The whole state is to be stored.
    pub(super) fn begin(&mut self) {
        self.version += 1;
        self.whole = true;
    }

    /// Others hold it now; says whether there is something to erase.
    pub(super) fn leave(&mut self) -> bool {
        self.context = Context::new();
        self.deltas.clear();
        std::mem::take(&mut self.any)
    }

    pub(super) fn all(&self) -> bool {
        self.upto == self.version
    }
}

impl DocumentCopy {
    /// The state has grown by `delta`: store it, tell users, and tell members that have not sent it.
    pub(super) fn changed(&mut self, delta: &Arc<State<Map>>, from: Option<Replica>) {
        self.stored.version += 1;
        // An empty copy that nobody uses is closed, and there are things to do again.
        self.closed = false;
        if self.holds() {
            if !self.stored.whole {
                self.stored.deltas.push(Bytes::from(delta.encode()));
            }
            self.look_store();
        }
        self.effects.push(Effect::Changed(Arc::clone(delta)));
        self.spread(delta, from);
    }

    /// Begins to store, when there is something to store and nothing is on its way.
    pub(super) fn look_store(&mut self) {
        if !self.holds() || self.stored.under_way.is_some() || self.stored.all() {
            return;
        }
        let stored = &mut self.stored;
        let version = stored.version;
        let deltas = std::mem::take(&mut stored.deltas);
        stored.log_bytes += deltas.iter().map(Bytes::len).sum::<usize>();
        let long = stored.log_bytes > LOG_BYTES_MAX.max(stored.snapshot_bytes);
        stored.under_way = Some((version, self.document.state().context.clone()));
        stored.any = true;
        let effect = if std::mem::take(&mut stored.whole) || long {
            let state = Bytes::from(self.document.state().encode());
            stored.snapshot_bytes = state.len();
            stored.log_bytes = 0;
            Effect::Snapshot { version, state }
        } else {
            Effect::Append { version, deltas }
        };
        self.effects.push(effect);
    }

    /// The storage has the version.
    pub fn stored(&mut self, version: u64) {
        let Some((under_way, context)) = self.stored.under_way.take() else {
            return;
        };
        if under_way != version {
            self.stored.under_way = Some((under_way, context));
            return;
        }
        self.stored.upto = version;
        if self.stored.any {
            self.stored.context = context;
        }
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.stored.held_back)
            .into_iter()
            .partition(|(needs, _, _)| *needs <= version);
        self.stored.held_back = later;
        for (_, to, message) in now {
            self.send(to, message);
        }
        self.look_store();
        self.settle();
        self.look_leave();
    }

    /// The storage could not store the version: all of it is tried again at the next change or tick.
    pub fn not_stored(&mut self, version: u64) {
        if self
            .stored
            .under_way
            .as_ref()
            .is_some_and(|(number, _)| *number == version)
        {
            self.stored.under_way = None;
            self.stored.whole = true;
        }
    }

    /// Sends what speaks of the state once the state is stored; at once where nothing is stored.
    pub(super) fn send_stored(&mut self, to: Replica, message: Message) {
        if self.holds() && !self.stored.all() {
            self.stored.held_back.push((self.stored.version, to, message));
        } else {
            self.send(to, message);
        }
    }

    /// No longer a holder: what waits for the storage goes now, and says that nothing is stored.
    pub(super) fn release_unstored(&mut self) {
        for (_, to, mut message) in std::mem::take(&mut self.stored.held_back) {
            if let Message::Held { stored, .. }
            | Message::Digest { stored, .. }
            | Message::Filled { stored, .. } = &mut message
            {
                *stored = false;
            }
            self.send(to, message);
        }
    }

    pub(super) fn send(&mut self, to: Replica, message: Message) {
        if self.view.has(to) {
            self.effects.push(Effect::Send { to, message });
        }
    }
}
