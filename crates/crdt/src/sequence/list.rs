//! The order of runs, in chunks: finding by index and by run, inserting and removing take time by the root of its length.

use crate::dot::Dot;

/// Entries of one chunk.
const CHUNK_MAX: usize = 256;

/// First dot and visible elements of a run.
pub(super) type Entry = (Dot, u32);

/// Where an entry is now. Comparing compares the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    chunk: usize,
    entry: usize,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    id: u32,
    /// Sum over the entries.
    visible: u64,
    entries: Vec<Entry>,
}

/// Entries in order. Whoever owns them remembers the id of each entry's chunk, which changes only when told.
#[derive(Clone, Debug, Default)]
pub(super) struct RunList {
    chunks: Vec<Chunk>,
    /// By id of a chunk: its index now.
    index: Vec<usize>,
    visible: u64,
}

impl RunList {
    /// Sum over all entries.
    pub(super) fn visible(&self) -> u64 {
        self.visible
    }

    pub(super) fn start(&self) -> At {
        At { chunk: 0, entry: 0 }
    }

    /// After an entry.
    pub(super) fn after(&self, at: At) -> At {
        At {
            entry: at.entry + 1,
            ..at
        }
    }

    pub(super) fn get(&self, at: At) -> Option<Entry> {
        self.chunks.get(at.chunk)?.entries.get(at.entry).copied()
    }

    /// The entry before.
    pub(super) fn previous(&self, at: At) -> Option<At> {
        if let Some(entry) = at.entry.checked_sub(1) {
            return Some(At { entry, ..at });
        }
        let chunk = at.chunk.checked_sub(1)?;
        let entry = self.chunks.get(chunk)?.entries.len().checked_sub(1)?;
        Some(At { chunk, entry })
    }

    /// The entry after.
    pub(super) fn next(&self, at: At) -> Option<At> {
        let same = self.after(at);
        if self.get(same).is_some() {
            return Some(same);
        }
        let next = At {
            chunk: at.chunk + 1,
            entry: 0,
        };
        self.get(next).map(|_| next)
    }

    /// The entry of a run, by the id of its chunk.
    pub(super) fn find(&self, id: u32, first: Dot) -> Option<At> {
        let chunk = *self.index.get(id as usize)?;
        let entries = &self.chunks.get(chunk)?.entries;
        let entry = entries.iter().position(|entry| entry.0 == first)?;
        Some(At { chunk, entry })
    }

    /// The entry that has a visible element, and the offset in it; looks from the nearer end.
    pub(super) fn find_visible(&self, index: u64) -> Option<(At, u64)> {
        let from_end = self.visible.checked_sub(index)?.checked_sub(1)?;
        let (chunk, mut left) = if index <= from_end {
            let mut left = index;
            let chunk = self.chunks.iter().position(|chunk| {
                let here = left < chunk.visible;
                left -= if here { 0 } else { chunk.visible };
                here
            })?;
            (chunk, left)
        } else {
            let mut left = from_end;
            let chunk = self.chunks.iter().rposition(|chunk| {
                let here = left < chunk.visible;
                left -= if here { 0 } else { chunk.visible };
                here
            })?;
            (chunk, self.chunks.get(chunk)?.visible - 1 - left)
        };
        for (entry, (_, visible)) in self.chunks.get(chunk)?.entries.iter().enumerate() {
            if left < u64::from(*visible) {
                return Some((At { chunk, entry }, left));
            }
            left -= u64::from(*visible);
        }
        None
    }

    /// The first dot of the next entry with visible elements.
    pub(super) fn next_visible(&self, at: At) -> Option<Dot> {
        let rest = self.chunks.get(at.chunk)?.entries.iter().skip(at.entry + 1);
        let further = self
            .chunks
            .iter()
            .skip(at.chunk + 1)
            .filter(|chunk| chunk.visible > 0);
        rest.chain(further.flat_map(|chunk| &chunk.entries))
            .find(|entry| entry.1 > 0)
            .map(|entry| entry.0)
    }

    /// Visible elements before an entry.
    pub(super) fn visible_before(&self, at: At) -> u64 {
        let chunks: u64 = self.chunks.iter().take(at.chunk).map(|chunk| chunk.visible).sum();
        let entries = self.chunks.get(at.chunk).map_or(&[][..], |chunk| &chunk.entries);
        chunks
            + entries
                .iter()
                .take(at.entry)
                .map(|entry| u64::from(entry.1))
                .sum::<u64>()
    }

    /// Entries from one on.
    pub(super) fn iter_from(&self, at: At) -> impl Iterator<Item = Entry> {
        let rest = self.chunks.get(at.chunk).map_or(&[][..], |chunk| &chunk.entries);
        let further = self.chunks.iter().skip(at.chunk + 1);
        rest.iter()
            .skip(at.entry)
            .chain(further.flat_map(|chunk| &chunk.entries))
            .copied()
    }

    pub(super) fn set_visible(&mut self, at: At, visible: u32) {
        if let Some(chunk) = self.chunks.get_mut(at.chunk)
            && let Some(entry) = chunk.entries.get_mut(at.entry)
        {
            let before = u64::from(std::mem::replace(&mut entry.1, visible));
            chunk.visible = chunk.visible + u64::from(visible) - before;
            self.visible = self.visible + u64::from(visible) - before;
        }
    }

    /// Inserts before what is at a place. Tells the chunk of every entry that has another one now, the new entry first.
    pub(super) fn insert(&mut self, at: At, entry: Entry, chunk_of: &mut dyn FnMut(Dot, u32)) -> At {
        if self.chunks.is_empty() {
            self.add_chunk(0, Vec::new());
        }
        let Some(chunk) = self.chunks.get_mut(at.chunk) else {
            return at;
        };
        chunk.entries.insert(at.entry.min(chunk.entries.len()), entry);
        chunk.visible += u64::from(entry.1);
        self.visible += u64::from(entry.1);
        chunk_of(entry.0, chunk.id);
        if chunk.entries.len() <= CHUNK_MAX {
            return at;
        }
        let half = chunk.entries.len() / 2;
        let rest = chunk.entries.split_off(half);
        chunk.visible -= sum(&rest);
        let id = self.add_chunk(at.chunk + 1, rest);
        for entry in self
            .chunks
            .get(at.chunk + 1)
            .map_or(&[][..], |chunk| &chunk.entries)
        {
            chunk_of(entry.0, id);
        }
        match at.entry.checked_sub(half) {
            Some(entry) => At {
                chunk: at.chunk + 1,
                entry,
            },
            None => at,
        }
    }

    pub(super) fn remove(&mut self, at: At) {
        let Some(chunk) = self
            .chunks
            .get_mut(at.chunk)
            .filter(|chunk| at.entry < chunk.entries.len())
        else {
            return;
        };
        let (_, visible) = chunk.entries.remove(at.entry);
        chunk.visible -= u64::from(visible);
        self.visible -= u64::from(visible);
        if chunk.entries.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(at.chunk);
            self.renumber(at.chunk);
        }
    }

    fn add_chunk(&mut self, at: usize, entries: Vec<Entry>) -> u32 {
        let id = u32::try_from(self.index.len()).unwrap_or(u32::MAX);
        self.index.push(at);
        let visible = sum(&entries);
        self.chunks.insert(at, Chunk { id, visible, entries });
        self.renumber(at);
        id
    }

    fn renumber(&mut self, from: usize) {
        for (at, chunk) in self.chunks.iter().enumerate().skip(from) {
            if let Some(index) = self.index.get_mut(chunk.id as usize) {
                *index = at;
            }
        }
    }
}

fn sum(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.1)).sum()
}
