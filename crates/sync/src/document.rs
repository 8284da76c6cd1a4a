//! The document: a grow-only counter per room, whose actors are the writers themselves.
//!
//! A writer sends its own total, so a write that is sent again counts once. Merge takes the larger total of each
//! writer: associative, commutative and idempotent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rooms of one replica at most.
pub const ROOMS_MAX: usize = 10_000;
/// Writers of one room at most.
pub const WRITERS_MAX: usize = 100_000;
/// Bytes of a room's or writer's name at most.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name is empty or too long.
    #[error("{field} must have 1 to {NAME_BYTES_MAX} bytes")]
    Name {
        /// Which.
        field: &'static str,
    },
    /// A bound is reached.
    #[error("no more than {max} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// A counter that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counter {
    writers: BTreeMap<String, u64>,
}

impl Counter {
    /// The sum over all writers.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.writers
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each writer's own total.
    #[must_use]
    pub fn writers(&self) -> &BTreeMap<String, u64> {
        &self.writers
    }
}

/// Every room of a replica: a lattice, and its own delta type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rooms {
    rooms: BTreeMap<String, Counter>,
}

impl Rooms {
    /// A delta that raises one writer's total.
    pub fn delta(room: &str, writer: &str, count: u64) -> Result<Self, Refused> {
        for (name, field) in [(room, "room"), (writer, "writer")] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Refused::Name { field });
            }
        }
        let counter = Counter {
            writers: BTreeMap::from([(writer.to_owned(), count)]),
        };
        Ok(Self {
            rooms: BTreeMap::from([(room.to_owned(), counter)]),
        })
    }

    /// The counter of a room; a room that nobody wrote to is empty.
    #[must_use]
    pub fn counter(&self, room: &str) -> Counter {
        self.rooms.get(room).cloned().unwrap_or_default()
    }

    /// The value of a room.
    #[must_use]
    pub fn value(&self, room: &str) -> u64 {
        self.rooms.get(room).map_or(0, Counter::value)
    }

    /// Takes the larger total of each writer; returns the rooms that changed. Nothing is merged when a bound is hit.
    pub fn merge(&mut self, other: &Self) -> Result<Vec<String>, Refused> {
        let new = other
            .rooms
            .keys()
            .filter(|room| !self.rooms.contains_key(*room))
            .count();
        if self.rooms.len().saturating_add(new) > ROOMS_MAX {
            return Err(Refused::Full {
                what: "rooms",
                max: ROOMS_MAX,
            });
        }
        for (room, counter) in &other.rooms {
            let known = self.rooms.get(room).map_or(0, |mine| mine.writers.len());
            let grown = counter.writers.len().saturating_add(known);
            if grown > WRITERS_MAX {
                return Err(Refused::Full {
                    what: "writers in a room",
                    max: WRITERS_MAX,
                });
            }
        }
        let mut changed = Vec::new();
        for (room, counter) in &other.rooms {
            let mine = self.rooms.entry(room.clone()).or_default();
            let mut grew = false;
            for (writer, count) in &counter.writers {
                let held = mine.writers.entry(writer.clone()).or_insert(0);
                grew |= *count > *held;
                *held = (*held).max(*count);
            }
            if grew {
                changed.push(room.clone());
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rooms() -> impl Strategy<Value = Rooms> {
        prop::collection::vec(("[ab]", "[xyz]", 0_u64..9), 0..8).prop_map(|writes| {
            let mut rooms = Rooms::default();
            for (room, writer, count) in writes {
                rooms
                    .merge(&Rooms::delta(&room, &writer, count).unwrap())
                    .unwrap();
            }
            rooms
        })
    }

    fn join(left: &Rooms, right: &Rooms) -> Rooms {
        let mut joined = left.clone();
        joined.merge(right).unwrap();
        joined
    }

    proptest! {
        #[test]
        fn merge_is_a_join(a in rooms(), b in rooms(), c in rooms()) {
            prop_assert_eq!(join(&a, &b), join(&b, &a));
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
            prop_assert_eq!(join(&a, &a), a.clone());
            prop_assert!(join(&a, &b).value("a") >= a.value("a"));
        }
    }

    #[test]
    fn a_write_sent_twice_counts_once() {
        let mut rooms = Rooms::default();
        let delta = Rooms::delta("a", "x", 3).unwrap();
        assert_eq!(rooms.merge(&delta).unwrap(), ["a"]);
        assert!(rooms.merge(&delta).unwrap().is_empty());
        assert_eq!(rooms.value("a"), 3);
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(Rooms::delta("", "x", 1), Err(Refused::Name { field: "room" }));
        assert_eq!(
            Rooms::delta("a", &"x".repeat(129), 1),
            Err(Refused::Name { field: "writer" })
        );
    }
}
