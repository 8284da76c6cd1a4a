//! A store with its context: the lattice.

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::{Dot, Replica};
use crate::error::{DecodeError, LimitError, OperationError};
use crate::store::{Crdt, Join, Mint, Store};

const VERSION: u64 = 1;
const TAG_BITS: u32 = 5;
const TAG_ESCAPE: u64 = (1 << TAG_BITS) - 1;

/// A state, or a delta: a small state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State<S> {
    /// Live dots and their content.
    pub store: S,
    /// All dots that were seen, live or not.
    pub context: Context,
}

/// What a replica tells so that another can say what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// All dots that were seen.
    pub context: Context,
    /// Those that are live.
    pub live: Context,
}

impl Digest {
    /// Of whoever tells only what it has seen, such as a client that resumes: anything of that may still live there. The
    /// answer is larger than to a digest with the live dots, as it names all that is dead.
    #[must_use]
    pub fn of_context(context: Context) -> Self {
        Self {
            live: context.clone(),
            context,
        }
    }

    /// The one encoding: both contexts.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        self.context.encode(&mut to);
        self.live.encode(&mut to);
        to.into_bytes()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a digest.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let digest = Self {
            context: Context::decode(&mut from)?,
            live: Context::decode(&mut from)?,
        };
        if from.is_empty() {
            Ok(digest)
        } else {
            Err(DecodeError::Trailing { left: from.left() })
        }
    }
}

impl<S: Store> State<S> {
    /// Nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_bottom(&self) -> bool {
        self.context.is_empty() && self.store.is_bottom()
    }

    /// Joins another state or delta.
    ///
    /// # Errors
    /// When a bound on unknown content was reached. The state is unchanged.
    pub fn join(&mut self, other: &Self) -> Result<(), LimitError> {
        let mut join = Join {
            mine: &self.context,
            theirs: &other.context,
            dropped: 0,
        };
        self.store.fits(&other.store, &join)?;
        let unknown = self.store.has_unknown() || other.store.has_unknown();
        // How many of my dots the other side may have seen die. When the walk along its keys met all of them, the other
        // keys need no look; that makes a delta cheap however large the state is.
        let mut dead = self.context.overlap(&other.context);
        other.store.dots(None, &mut |dots| {
            dead = dead.saturating_sub(self.context.overlap_of(dots));
        });
        self.store.join(&other.store, &mut join);
        if join.dropped != dead || unknown {
            self.store.sweep(Some(&other.store), &mut join);
        }
        self.context.join(&other.context);
        Ok(())
    }

    /// Whether joining this into `other` would change nothing.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.context.is_subset(&other.context) && self.difference(other).is_bottom()
    }

    /// The dots that are live.
    #[must_use]
    pub fn live(&self) -> Context {
        let mut dots = Vec::new();
        self.store.dots(None, &mut |interval| dots.push(interval));
        dots.into_iter().collect()
    }

    /// The part that `seen` lacks: its join with `seen` is the join of both.
    #[must_use]
    pub fn difference(&self, seen: &Self) -> Self {
        if self.store.has_unknown() || seen.store.has_unknown() {
            // What an unknown part holds cannot be told apart; all or nothing.
            let mut joined = seen.clone();
            let nothing_new = joined.join(self).is_ok() && joined == *seen;
            return if nothing_new {
                Self::default()
            } else {
                self.clone()
            };
        }
        let store = self.store.unknown_to(Some(&seen.store), &seen.context);
        let dead = self.context.difference(&self.live());
        let mut context = dead.difference(&seen.context);
        let mut doubtful = dead.intersection(&seen.context);
        if !doubtful.is_empty() {
            // Dots that died here and may live there. Look first where this state points, then everywhere.
            let found = touched(&seen.store, Some(&self.store), &doubtful);
            doubtful = doubtful.difference(&found);
            context.join(&found);
        }
        if !doubtful.is_empty() {
            context.join(&touched(&seen.store, None, &doubtful));
        }
        complete(store, context)
    }

    /// Atoms whose join is this state; none can be left out.
    #[must_use]
    pub fn decompose(&self) -> Vec<Self> {
        let mut atoms = Vec::new();
        let mut covered = Context::new();
        self.store.atoms(&mut |store, dots| {
            let context: Context = dots
                .iter()
                .copied()
                .filter(|dot| self.context.contains(*dot))
                .collect();
            covered.join(&context);
            atoms.push(Self { store, context });
        });
        for interval in self.context.difference(&covered).intervals() {
            let mut context = Context::new();
            context.insert_interval(*interval);
            atoms.push(Self {
                store: S::default(),
                context,
            });
        }
        atoms
    }

    /// What to send when the other side's history is not known.
    #[must_use]
    pub fn digest(&self) -> Digest {
        if self.store.has_unknown() {
            // The live dots of an unknown part are not known: ask for everything.
            return Digest::default();
        }
        let mut incomplete = Vec::new();
        self.store.incomplete(&mut |dot| incomplete.push(dot));
        let incomplete: Context = incomplete.into_iter().collect();
        Digest {
            context: self.context.difference(&incomplete),
            live: self.live(),
        }
    }

    /// The delta that brings the digest's owner up to this state.
    #[must_use]
    pub fn missing(&self, digest: &Digest) -> Self {
        if self.store.has_unknown() {
            return self.clone();
        }
        let mut context = self.context.difference(&digest.context);
        let removed = digest.live.intersection(&self.context).difference(&self.live());
        let mut known = digest.context.clone();
        if !removed.is_empty() {
            // What is removed may be collected garbage; then the nodes that took its place have to go along.
            let mut changed = Vec::new();
            self.store.changed_by_collection(&mut |dot| changed.push(dot));
            known = known.difference(&changed.into_iter().collect());
        }
        let store = self.store.unknown_to(None, &known);
        context.join(&removed);
        complete(store, context)
    }

    /// Removes what nobody needs once `stable` is stable; `docs/CRDT.md` §7.
    pub fn collect(&mut self, stable: &Context) {
        self.store.collect(stable);
    }

    /// Every member has all dots of this and earlier incarnations of the slot, and no more will come.
    pub fn retire(&mut self, replica: Replica) {
        self.context.retire(replica);
    }

    /// The largest stamp, for the skew bound.
    #[must_use]
    pub fn newest_stamp(&self) -> Option<Stamp> {
        self.store.newest_stamp()
    }

    /// The one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        put_tag(VERSION, S::TAG, &mut to);
        self.context.encode(&mut to);
        self.store.encode_body(&self.context, &mut to);
        to.into_bytes()
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a state of this type.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let (version, tag) = take_tag(&mut from)?;
        if version != VERSION {
            return Err(DecodeError::Version { found: version });
        }
        if tag != S::TAG {
            return Err(DecodeError::Type {
                found: tag,
                expected: S::TAG,
            });
        }
        let context = Context::decode(&mut from)?;
        let store = S::decode_body(&mut from, &context, 0)?;
        if !from.is_empty() {
            return Err(DecodeError::Trailing { left: from.left() });
        }
        let state = Self { store, context };
        state.check_dots()?;
        Ok(state)
    }

    /// Invariant S2: no dot is in two places. No history makes it so, and joins would differ between replicas.
    fn check_dots(&self) -> Result<(), DecodeError> {
        let mut dots = Vec::new();
        self.store.dots(None, &mut |interval| dots.push(interval));
        dots.sort_unstable();
        let mut twice = None;
        for pair in dots.windows(2) {
            if let [a, b] = pair
                && a.slot == b.slot
                && b.first <= a.last
            {
                twice = Some(Dot {
                    slot: b.slot,
                    counter: b.first,
                });
            }
        }
        // Nor is a deletion something that lives.
        self.store.deletions(&mut |by| {
            let index = dots.partition_point(|dots| (dots.slot, dots.last) < (by.slot, by.counter));
            if dots.get(index).is_some_and(|dots| dots.contains(by)) {
                twice = Some(by);
            }
        });
        twice.map_or(Ok(()), |dot| Err(DecodeError::Dot { dot }))
    }
}

impl<S: Crdt> State<S> {
    /// Prepares an operation without applying it.
    ///
    /// # Errors
    /// When the operation is not possible here and now.
    pub fn prepare(
        &self,
        replica: Replica,
        operation: &S::Operation,
    ) -> Result<Option<S::Effect>, OperationError> {
        self.store
            .prepare(operation, &mut Mint::new(replica, &self.context))
    }

    /// Applies an effect; exactly once and in causal order.
    pub fn effect(&mut self, effect: &S::Effect) {
        if self.store.has_unknown() && self.join(&Self::delta_of(effect)).is_ok() {
            return;
        }
        self.store.effect(effect);
        S::covers(effect, &mut self.context);
    }

    /// The delta of an effect.
    #[must_use]
    pub fn delta_of(effect: &S::Effect) -> Self {
        let mut context = Context::new();
        S::covers(effect, &mut context);
        Self {
            store: S::fragment(effect),
            context,
        }
    }

    /// Prepares and applies an operation; gives its delta, `None` when nothing changed.
    ///
    /// # Errors
    /// When the operation is not possible here and now. The state is unchanged.
    pub fn update(
        &mut self,
        replica: Replica,
        operation: &S::Operation,
    ) -> Result<Option<Self>, OperationError> {
        let Some(effect) = self.prepare(replica, operation)? else {
            return Ok(None);
        };
        let delta = Self::delta_of(&effect);
        self.effect(&effect);
        Ok(Some(delta))
    }
}

/// Those of the wanted dots that live in the store.
fn touched<S: Store>(store: &S, guide: Option<&S>, wanted: &Context) -> Context {
    let mut found = Vec::new();
    store.dots(guide, &mut |dots| {
        if wanted.touches(dots) {
            found.push(dots);
        }
    });
    found.into_iter().collect::<Context>().intersection(wanted)
}

/// Adds the dots of the entries to the context.
fn complete<S: Store>(store: S, mut context: Context) -> State<S> {
    let mut dots = Vec::new();
    store.dots(None, &mut |interval| dots.push(interval));
    store.deletions(&mut |dot| dots.push(Interval::one(dot)));
    context.join(&dots.into_iter().collect());
    State { store, context }
}

/// `high << 5 | tag`, with an escape for tags of 31 and more.
pub(crate) fn put_tag(high: u64, tag: u64, to: &mut Writer) {
    to.varint((high << TAG_BITS) | tag.min(TAG_ESCAPE));
    if tag >= TAG_ESCAPE {
        to.varint(tag);
    }
}

pub(crate) fn take_tag(from: &mut Reader<'_>) -> Result<(u64, u64), DecodeError> {
    let head = from.varint("tag")?;
    let mut tag = head & TAG_ESCAPE;
    if tag == TAG_ESCAPE {
        tag = from.varint("tag")?;
        if tag < TAG_ESCAPE {
            return Err(DecodeError::NotCanonical { field: "tag" });
        }
    }
    Ok((head >> TAG_BITS, tag))
}
