//! One replica: its copies, its disk, whom it sees.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pointsman_crdt::{Map, Replica, Schema, State};
use pointsman_replication::{Copies, DocumentCopy, Effect, Member, Settings, View};

/// Snapshot and log of each document. Survives a crash unless it is lost.
#[derive(Clone, Default)]
pub struct Disk {
    files: BTreeMap<&'static str, Vec<Bytes>>,
}

impl Disk {
    pub fn names(&self) -> Vec<&'static str> {
        self.files.keys().copied().collect()
    }

    fn load(&self, name: &str) -> Option<State<Map>> {
        let mut state = State::new();
        for bytes in self.files.get(name)? {
            state.join(&State::decode(bytes).unwrap()).unwrap();
        }
        Some(state)
    }
}

/// A store on its way to the disk, with the copy that it belongs to.
pub struct Storing {
    pub at: u64,
    pub name: &'static str,
    pub opened: u64,
    pub effect: Effect,
}

pub struct Node {
    pub replica: Replica,
    pub disk: Disk,
    pub copies: BTreeMap<&'static str, (u64, DocumentCopy)>,
    pub storing: Vec<Storing>,
    pub sees: BTreeMap<Replica, bool>,
    pub gone: BTreeSet<Replica>,
    pub draining: bool,
    pub absent: usize,
    /// Wrong by so much, in milliseconds.
    pub skew_ms: i64,
    pub copies_wanted: Copies,
    pub used: BTreeSet<&'static str>,
    opened: u64,
    last: BTreeMap<&'static str, u64>,
}

impl Node {
    pub fn start(replica: Replica, disk: Disk, skew_ms: i64, copies_wanted: Copies) -> Self {
        let mut node = Self {
            replica,
            disk,
            copies: BTreeMap::new(),
            storing: Vec::new(),
            sees: BTreeMap::new(),
            gone: BTreeSet::new(),
            draining: false,
            absent: 0,
            skew_ms,
            copies_wanted,
            used: BTreeSet::new(),
            opened: 0,
            last: BTreeMap::new(),
        };
        for name in node.disk.names() {
            node.copy(name);
        }
        node
    }

    pub fn now(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew_ms)
    }

    pub fn view(&self) -> View {
        let member = |replica, draining| Member { replica, draining };
        let others = self
            .sees
            .iter()
            .map(|(replica, draining)| member(*replica, *draining));
        let all = others.chain([member(self.replica, self.draining)]);
        View::new(all, self.gone.iter().copied()).with_absent(self.absent)
    }

    pub fn copy(&mut self, name: &'static str) -> &mut DocumentCopy {
        if !self.copies.contains_key(name) {
            let settings = Settings {
                name: name.into(),
                me: self.replica,
                schema: Schema::default(),
                copies: self.copies_wanted,
                part_bytes_max: 400,
                skew_max_ms: 600_000,
                last_sequence: self.last.get(name).copied().unwrap_or(0),
            };
            let used = self.used.contains(name);
            let copy = DocumentCopy::open(settings, self.disk.load(name), self.view(), used);
            self.opened += 1;
            self.copies.insert(name, (self.opened, copy));
        }
        &mut self.copies.get_mut(name).unwrap().1
    }

    /// Forgets a copy that nothing needs any more.
    pub fn close(&mut self, name: &'static str) {
        if self.copies.get(name).is_some_and(|(_, copy)| copy.is_closed())
            && let Some((_, copy)) = self.copies.remove(name)
        {
            let last = self.last.entry(name).or_default();
            *last = (*last).max(copy.last_sequence());
        }
    }

    pub fn view_changed(&mut self) {
        let view = self.view();
        for (_, copy) in self.copies.values_mut() {
            copy.set_view(view.clone());
        }
    }

    pub fn lost(&mut self, replica: Replica) {
        for (_, copy) in self.copies.values_mut() {
            copy.lost(replica);
        }
    }

    /// Does the oldest store that is due. What a crash comes before is never done.
    pub fn store(&mut self, now: u64) -> bool {
        let Some(index) = self.storing.iter().position(|storing| storing.at <= now) else {
            return false;
        };
        let storing = self.storing.remove(index);
        let version = match storing.effect {
            Effect::Append { version, deltas } => {
                self.disk.files.entry(storing.name).or_default().extend(deltas);
                version
            }
            Effect::Snapshot { version, state } => {
                self.disk.files.insert(storing.name, vec![state]);
                version
            }
            Effect::Erase => {
                self.disk.files.remove(storing.name);
                return true;
            }
            other => panic!("{other:?}"),
        };
        if let Some((opened, copy)) = self.copies.get_mut(storing.name)
            && *opened == storing.opened
        {
            copy.stored(version);
        }
        true
    }
}
