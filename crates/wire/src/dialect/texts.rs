//! Numbers for ids that are texts.

use std::collections::BTreeMap;

use super::{CALLS_MAX, Role};

/// Open streams and those that ended last: a call may name a stream that is whole already.
const STREAMS_MAX: usize = 64;

/// The other end's text ids.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) calls: Table,
    pub(super) streams: Table,
}

impl Texts {
    /// For ids that `role` chooses.
    pub(super) fn new(role: Role) -> Self {
        Self {
            calls: Table::new(role, CALLS_MAX),
            streams: Table::new(role, STREAMS_MAX),
        }
    }
}

/// Each text has one number at a time, and no number comes twice.
#[derive(Debug)]
pub(super) struct Table {
    role: Role,
    most: usize,
    count: i64,
    entries: BTreeMap<i64, Entry>,
    numbers: BTreeMap<String, i64>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    /// It ended, and makes room when another one comes.
    over: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    InUse,
    Full,
}

impl Table {
    fn new(role: Role, most: usize) -> Self {
        Self {
            role,
            most,
            count: 0,
            entries: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, text: &str) -> Result<i64, Refused> {
        if let Some(id) = self.numbers.get(text).copied() {
            if self.entries.get(&id).is_some_and(|entry| !entry.over) {
                return Err(Refused::InUse);
            }
            self.remove(id);
        }
        if self.entries.len() >= self.most {
            let oldest = self.entries.iter().filter(|(_, entry)| entry.over);
            // Numbers of a server count down: the oldest is the nearest to zero.
            let oldest = oldest.map(|(id, _)| *id).min_by_key(|id| id.unsigned_abs());
            self.remove(oldest.ok_or(Refused::Full)?);
        }
        self.count = self.count.saturating_add(1);
        let id = self.role.id(self.count);
        let text = text.to_owned();
        self.numbers.insert(text.clone(), id);
        self.entries.insert(id, Entry { text, over: false });
        Ok(id)
    }

    pub(super) fn number(&self, text: &str) -> Option<i64> {
        self.numbers.get(text).copied()
    }

    pub(super) fn text(&self, id: i64) -> Option<&str> {
        self.entries.get(&id).map(|entry| entry.text.as_str())
    }

    pub(super) fn remove(&mut self, id: i64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.numbers.remove(&entry.text);
        }
    }

    pub(super) fn end(&mut self, id: i64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_and_what_is_over_makes_room() {
        let mut table = Table::new(Role::Server, 2);
        assert_eq!(table.insert("a"), Ok(-1));
        assert_eq!(table.insert("b"), Ok(-2));
        assert_eq!(table.insert("a"), Err(Refused::InUse));
        assert_eq!(table.insert("c"), Err(Refused::Full));
        table.end(-1);
        assert_eq!(table.number("a"), Some(-1));
        assert_eq!(table.insert("c"), Ok(-3));
        assert_eq!(table.number("a"), None);
        table.remove(-2);
        assert_eq!(table.text(-2), None);
        assert_eq!(table.insert("b"), Ok(-4));
        table.end(-4);
        assert_eq!(table.insert("b"), Ok(-5));
        assert_eq!(table.entries.len(), table.numbers.len());
    }
}
