//! Fields of types that this build does not know: kept as they came, joined by whoever knows them.

use std::collections::BTreeSet;

use crate::codec::{Reader, Writer};
use crate::context::Context;
use crate::error::{DecodeError, LimitError};

/// Fragments of one field together, as they take memory.
const BYTES_MAX: usize = 1 << 20;
const LIMIT: LimitError = LimitError {
    what: "content of an unknown type",
    limit: BYTES_MAX as u64,
};
/// Added to the tag where fragments are encoded.
pub(crate) const FRAGMENTS: u64 = 1 << 32;

/// The states in which the field came, unjoined, and the contexts of states in which it was absent: their join is what a
/// build that knows the type would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    fragments: BTreeSet<(Context, Vec<u8>)>,
    absent: Context,
}

impl Unknown {
    /// A body as it came, with the context of its message.
    #[must_use]
    pub fn received(context: &Context, body: &[u8]) -> Self {
        Self {
            fragments: BTreeSet::from([(context.clone(), body.to_vec())]),
            absent: Context::new(),
        }
    }

    /// What came, with the context that it came in.
    pub fn fragments(&self) -> impl Iterator<Item = (&Context, &[u8])> {
        self.fragments
            .iter()
            .map(|(context, body)| (context, body.as_slice()))
    }

    /// Contexts of states in which the field was absent.
    #[must_use]
    pub fn absent(&self) -> &Context {
        &self.absent
    }

    pub(crate) fn is_bottom(&self) -> bool {
        self.fragments.is_empty() && self.absent.is_empty()
    }

    pub(crate) fn was_absent(&mut self, context: &Context) {
        self.absent.join(context);
    }

    pub(crate) fn join(&mut self, theirs: &Self) {
        self.fragments.extend(theirs.fragments.iter().cloned());
        self.absent.join(&theirs.absent);
    }

    pub(crate) fn fits(&self, theirs: &Self) -> Result<(), LimitError> {
        let new = theirs.fragments.difference(&self.fragments);
        if self.fragments.iter().chain(new).map(size_bytes).sum::<usize>() > BYTES_MAX {
            return Err(LIMIT);
        }
        Ok(())
    }

    pub(crate) fn encode_body(&self, to: &mut Writer) {
        self.absent.encode(to);
        to.varint(self.fragments.len() as u64);
        for (context, body) in &self.fragments {
            context.encode(to);
            to.block(body);
        }
    }

    /// `context` is that of the message: what a fragment has seen, the whole has seen.
    pub(crate) fn decode_body(from: &mut Reader<'_>, context: &Context) -> Result<Self, DecodeError> {
        let seen = |part: Context| {
            if part.is_subset(context) {
                Ok(part)
            } else {
                Err(DecodeError::UnknownDot { field: "fragment" })
            }
        };
        let absent = seen(Context::decode(from)?)?;
        let count = from.varint("fragments")?;
        let mut fragments = BTreeSet::new();
        for _ in 0..count {
            let fragment = (seen(Context::decode(from)?)?, from.block("fragment")?.to_vec());
            if fragments.last().is_some_and(|last| *last >= fragment) {
                return Err(DecodeError::NotCanonical { field: "fragments" });
            }
            fragments.insert(fragment);
        }
        Ok(Self { fragments, absent })
    }
}

fn size_bytes(fragment: &(Context, Vec<u8>)) -> usize {
    let (context, body) = fragment;
    64 + body.len() + std::mem::size_of_val(context.intervals())
}
