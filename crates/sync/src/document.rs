//! The document: a grow-only counter per room, whose actors are the writers themselves.
//!
//! A writer sends its own total, so a write that is sent again counts once. Merge takes the larger total of each
//! writer: associative, commutative and idempotent.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize, Serializer};

/// Rooms of one replica at most.
pub const ROOMS_MAX: usize = 10_000;
/// Writers of all rooms of one replica at most; each takes some 200 bytes.
pub const ENTRIES_MAX: usize = 500_000;
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, u64>")]
pub struct Counter {
    writers: BTreeMap<String, u64>,
    /// Kept beside the writers: a busy room's value is asked at each write.
    sum: u64,
}

impl From<BTreeMap<String, u64>> for Counter {
    fn from(writers: BTreeMap<String, u64>) -> Self {
        let sum = writers
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        Self { writers, sum }
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.writers.serialize(serializer)
    }
}

impl Counter {
    /// The sum over all writers.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.sum
    }

    /// Each writer's own total.
    #[must_use]
    pub fn writers(&self) -> &BTreeMap<String, u64> {
        &self.writers
    }

    /// True when that raised the writer's total.
    fn raise(&mut self, writer: &str, count: u64) -> bool {
        match self.writers.get_mut(writer) {
            Some(held) if *held >= count => false,
            Some(held) => {
                self.sum = self.sum.saturating_add(count - *held);
                *held = count;
                true
            }
            None => {
                self.writers.insert(writer.to_owned(), count);
                self.sum = self.sum.saturating_add(count);
                true
            }
        }
    }
}

/// Every room of a replica: a lattice, and its own delta type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, Counter>")]
pub struct Rooms {
    rooms: BTreeMap<String, Counter>,
    entries: usize,
}

impl From<BTreeMap<String, Counter>> for Rooms {
    fn from(rooms: BTreeMap<String, Counter>) -> Self {
        let entries = rooms.values().map(|counter| counter.writers.len()).sum();
        Self { rooms, entries }
    }
}

impl Serialize for Rooms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rooms.serialize(serializer)
    }
}

/// The last room and writer of a part: the next part begins after them.
pub type Cursor = (String, String);

impl Rooms {
    /// A delta that raises one writer's total.
    pub fn delta(room: &str, writer: &str, count: u64) -> Result<Self, Refused> {
        let mut delta = Self::default();
        delta.raise(room, writer, count);
        delta.names_fit()?;
        Ok(delta)
    }

    /// The counter of a room; `None` when nobody wrote to it.
    #[must_use]
    pub fn counter(&self, room: &str) -> Option<&Counter> {
        self.rooms.get(room)
    }

    /// The value of a room.
    #[must_use]
    pub fn value(&self, room: &str) -> u64 {
        self.rooms.get(room).map_or(0, Counter::value)
    }

    /// Names of the rooms.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(String::as_str)
    }

    /// True when there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Writers of all rooms.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Takes the larger total of each writer; returns what grew. Nothing is merged when a bound is hit.
    pub fn merge(&mut self, other: &Self) -> Result<Self, Refused> {
        other.names_fit()?;
        self.has_room_for(other)?;
        let mut grown = Self::default();
        for (room, counter) in &other.rooms {
            for (writer, count) in &counter.writers {
                if self.raise(room, writer, *count) {
                    grown.raise(room, writer, *count);
                }
            }
        }
        Ok(grown)
    }

    fn raise(&mut self, room: &str, writer: &str, count: u64) -> bool {
        if !self.rooms.contains_key(room) {
            self.rooms.insert(room.to_owned(), Counter::default());
        }
        let Some(counter) = self.rooms.get_mut(room) else {
            return false;
        };
        let before = counter.writers.len();
        let raised = counter.raise(writer, count);
        self.entries += counter.writers.len() - before;
        raised
    }

    fn names_fit(&self) -> Result<(), Refused> {
        let fits = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len());
        for (room, counter) in &self.rooms {
            if !fits(room) {
                return Err(Refused::Name { field: "room" });
            }
            if !counter.writers.keys().all(|writer| fits(writer)) {
                return Err(Refused::Name { field: "writer" });
            }
        }
        Ok(())
    }

    /// Counts what is new exactly: state that is pushed again must pass however full this replica is.
    fn has_room_for(&self, other: &Self) -> Result<(), Refused> {
        let (mut rooms, mut entries) = (self.rooms.len(), self.entries);
        for (room, counter) in &other.rooms {
            match self.rooms.get(room) {
                None => {
                    rooms += 1;
                    entries += counter.writers.len();
                }
                Some(mine) => {
                    let new = counter
                        .writers
                        .keys()
                        .filter(|writer| !mine.writers.contains_key(*writer));
                    entries += new.count();
                }
            }
        }
        let full = |what, max| Err(Refused::Full { what, max });
        if rooms > ROOMS_MAX {
            return full("rooms", ROOMS_MAX);
        }
        if entries > ENTRIES_MAX {
            return full("writers in all rooms", ENTRIES_MAX);
        }
        Ok(())
    }

    /// The part after `after` that has at most `bytes_max` bytes in JSON, but one entry at least, and where it ends;
    /// `None` for the end when nothing is left.
    #[must_use]
    pub fn part(&self, after: Option<&Cursor>, bytes_max: usize) -> (Self, Option<Cursor>) {
        let mut part = Self::default();
        let mut bytes = 2_usize;
        let mut last: Option<Cursor> = None;
        let from = after.map_or(Bound::Unbounded, |(room, _)| Bound::Included(room.as_str()));
        for (room, counter) in self.rooms.range::<str, _>((from, Bound::Unbounded)) {
            let past = match after {
                Some((seen, writer)) if seen == room => Bound::Excluded(writer.as_str()),
                Some(_) | None => Bound::Unbounded,
            };
            let mut named = false;
            for (writer, count) in counter.writers.range::<str, _>((past, Bound::Unbounded)) {
                let more = json_bytes(writer) + if named { 0 } else { json_bytes(room) };
                if bytes + more > bytes_max && last.is_some() {
                    return (part, last);
                }
                bytes += more;
                named = true;
                part.raise(room, writer, *count);
                last = Some((room.clone(), writer.clone()));
            }
        }
        (part, None)
    }
}

/// No name takes more: each byte escaped, quotes, and what stands around it, a number included.
fn json_bytes(name: &str) -> usize {
    name.len() * 6 + 28
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

        #[test]
        fn what_grew_is_enough_for_whoever_knew_the_rest(a in rooms(), b in rooms()) {
            let grown = a.clone().merge(&b).unwrap();
            prop_assert_eq!(join(&a, &grown), join(&a, &b));
            prop_assert!(join(&a, &b).merge(&grown).unwrap().is_empty());
        }

        #[test]
        fn parts_fit_and_make_the_whole(rooms in rooms(), bytes_max in 1_usize..400) {
            let (mut whole, mut after) = (Rooms::default(), None);
            loop {
                let (part, next) = rooms.part(after.as_ref(), bytes_max);
                let bytes = serde_json::to_vec(&part).unwrap().len();
                // One entry goes whatever it takes, and nothing takes two bytes.
                prop_assert!(bytes <= bytes_max || part.entries() <= 1);
                whole.merge(&part).unwrap();
                after = next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(whole, rooms);
        }

        #[test]
        fn json_is_read_back_with_its_sums(rooms in rooms()) {
            let json = serde_json::to_vec(&rooms).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Rooms>(&json).unwrap(), rooms);
        }
    }

    #[test]
    fn nothing_is_one_empty_part() {
        assert_eq!(Rooms::default().part(None, 1), (Rooms::default(), None));
    }

    #[test]
    fn a_write_sent_twice_counts_once() {
        let mut rooms = Rooms::default();
        let delta = Rooms::delta("a", "x", 3).unwrap();
        assert_eq!(rooms.merge(&delta).unwrap(), delta);
        assert!(rooms.merge(&delta).unwrap().is_empty());
        assert_eq!(rooms.value("a"), 3);
    }

    #[test]
    fn names_are_bounded_whoever_sends_them() {
        assert_eq!(Rooms::delta("", "x", 1), Err(Refused::Name { field: "room" }));
        assert_eq!(
            Rooms::delta("a", &"x".repeat(129), 1),
            Err(Refused::Name { field: "writer" })
        );
        let pushed: Rooms = serde_json::from_str(r#"{"a": {"": 1}}"#).unwrap();
        assert_eq!(
            Rooms::default().merge(&pushed),
            Err(Refused::Name { field: "writer" })
        );
    }

    #[test]
    fn a_full_replica_takes_what_it_has_and_nothing_new() {
        let mut rooms = Rooms::default();
        for room in 0..ROOMS_MAX {
            rooms.raise(&room.to_string(), "x", 1);
        }
        let again = rooms.clone();
        assert!(rooms.merge(&again).unwrap().is_empty());
        assert_eq!(
            rooms.merge(&Rooms::delta("new", "x", 1).unwrap()),
            Err(Refused::Full {
                what: "rooms",
                max: ROOMS_MAX
            })
        );
    }
}
