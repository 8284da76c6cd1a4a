//! One type among all: what a map holds at a key.

use crate::clock::Stamp;
use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::counter::{GCounter, PnCounter};
use crate::dot::Dot;
use crate::error::{DecodeError, LimitError, OperationError};
use crate::flag::{DisableWinsFlag, EnableWinsFlag};
use crate::graph::{OrGraph, TwoPhaseGraph};
use crate::map::Map;
use crate::register::{LwwRegister, MvRegister};
use crate::sequence::{List, Text};
use crate::set::{GSet, OrSet, TwoPhaseSet};
use crate::store::{Crdt, Join, Mint, Store};
use crate::unknown::Unknown;

macro_rules! nodes {
    ($($name:ident),+ $(,)?) => {
        /// A store of any type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Node {
            $(#[doc = stringify!($name)] $name($name),)+
            /// A type that this build does not know.
            Unknown {
                /// Its tag.
                tag: u64,
                /// Its content.
                content: Unknown,
            },
        }

        /// An operation of any type.
        #[derive(Clone, Debug)]
        pub enum Operation {
            $(#[doc = stringify!($name)] $name(<$name as Crdt>::Operation),)+
        }

        /// An effect of any type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum NodeEffect {
            $(#[doc = stringify!($name)] $name(<$name as Crdt>::Effect),)+
        }

        impl Operation {
            /// Tag of the type that the operation is for.
            #[must_use]
            pub fn tag(&self) -> u64 {
                match self { $(Self::$name(_) => <$name>::TAG,)+ }
            }

            /// Name of the type that the operation is for.
            #[must_use]
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$name(_) => <$name>::NAME,)+ }
            }

            /// Prepares on the node at its key; on nothing when there is none.
            pub(crate) fn prepare(
                &self,
                node: Option<&Node>,
                mint: &mut Mint<'_>,
            ) -> Result<Option<NodeEffect>, OperationError> {
                match self {
                    $(Self::$name(operation) => {
                        let made = match node {
                            Some(Node::$name(store)) => store.prepare(operation, mint)?,
                            _ => <$name>::default().prepare(operation, mint)?,
                        };
                        Ok(made.map(NodeEffect::$name))
                    })+
                }
            }
        }

        impl NodeEffect {
            pub(crate) fn tag(&self) -> u64 {
                match self { $(Self::$name(_) => <$name>::TAG,)+ }
            }

            pub(crate) fn fragment(&self) -> Node {
                match self { $(Self::$name(effect) => Node::$name(<$name>::fragment(effect)),)+ }
            }

            pub(crate) fn covers(&self, to: &mut Context) {
                match self { $(Self::$name(effect) => <$name>::covers(effect, to),)+ }
            }

            pub(crate) fn encode(&self, after: &Context, to: &mut Writer) {
                match self { $(Self::$name(effect) => <$name>::encode_effect(effect, after, to),)+ }
            }

            /// Unlike a state, an operation on a type that is not known cannot be kept for later.
            pub(crate) fn decode(
                tag: u64,
                from: &mut Reader<'_>,
                after: &Context,
                dot: Dot,
                depth: u32,
            ) -> Result<Self, DecodeError> {
                $(if tag == <$name>::TAG {
                    return <$name>::decode_effect(from, after, dot, depth).map(Self::$name);
                })+
                Err(DecodeError::UnknownType { found: tag })
            }
        }

        impl Node {
            /// Nothing yet, of a type that this build knows.
            pub(crate) fn empty(tag: u64) -> Option<Self> {
                $(if tag == <$name>::TAG { return Some(Self::$name(<$name>::default())); })+
                None
            }

            /// Name of the type in schemas.
            #[must_use]
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => <$name>::NAME,)+
                    Self::Unknown { .. } => "unknown",
                }
            }

            /// Names of all types.
            pub(crate) fn type_names() -> impl Iterator<Item = &'static str> {
                [$(<$name>::NAME,)+].into_iter()
            }

            pub(crate) fn tag_of(name: &str) -> Option<u64> {
                $(if name == <$name>::NAME { return Some(<$name>::TAG); })+
                None
            }

            pub(crate) fn is_bottom(&self) -> bool {
                match self {
                    $(Self::$name(store) => store.is_bottom(),)+
                    Self::Unknown { content, .. } => content.is_bottom(),
                }
            }

            pub(crate) fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
                match (self, guide) {
                    $((Self::$name(store), Some(Self::$name(guide))) => store.dots(Some(guide), visit),)+
                    $((Self::$name(store), _) => store.dots(None, visit),)+
                    (Self::Unknown { .. }, _) => {}
                }
            }

            pub(crate) fn deletions(&self, visit: &mut dyn FnMut(Dot)) {
                match self {
                    $(Self::$name(store) => store.deletions(visit),)+
                    Self::Unknown { .. } => {}
                }
            }

            /// Whether there is a bound on what a store of the type holds.
            pub(crate) fn is_bounded(&self) -> bool {
                matches!(self, Self::Map(_) | Self::List(_) | Self::Text(_) | Self::Unknown { .. })
            }

            pub(crate) fn fits(&self, theirs: &Self, join: &Join<'_>) -> Result<(), LimitError> {
                match (self, theirs) {
                    $((Self::$name(store), Self::$name(theirs)) => store.fits(theirs, join),)+
                    (Self::Unknown { content, .. }, Self::Unknown { content: theirs, .. }) => content.fits(theirs),
                    _ => Ok(()),
                }
            }

            /// Both are of one type: maps keep types apart.
            pub(crate) fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
                match (self, theirs) {
                    $((Self::$name(store), Self::$name(theirs)) => store.join(theirs, join),)+
                    (Self::Unknown { content, .. }, Self::Unknown { content: theirs, .. }) => {
                        content.join(theirs);
                    }
                    _ => {}
                }
            }

            pub(crate) fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
                match (self, theirs) {
                    $((Self::$name(store), Some(Self::$name(theirs))) => store.sweep(Some(theirs), join),)+
                    $((Self::$name(store), _) => store.sweep(None, join),)+
                    (Self::Unknown { content, .. }, None) => content.was_absent(join.theirs),
                    (Self::Unknown { .. }, Some(_)) => {}
                }
            }

            pub(crate) fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
                match (self, seen) {
                    $((Self::$name(store), Some(Self::$name(seen))) => {
                        Self::$name(store.unknown_to(Some(seen), context))
                    })+
                    $((Self::$name(store), _) => Self::$name(store.unknown_to(None, context)),)+
                    (Self::Unknown { .. }, _) => self.clone(),
                }
            }

            pub(crate) fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
                match self {
                    $(Self::$name(store) => store.atoms(&mut |store, dots| emit(Self::$name(store), dots)),)+
                    Self::Unknown { .. } => emit(self.clone(), &[]),
                }
            }

            pub(crate) fn encode_body(&self, context: &Context, to: &mut Writer) {
                match self {
                    $(Self::$name(store) => store.encode_body(context, to),)+
                    Self::Unknown { content, .. } => content.encode_body(to),
                }
            }

            pub(crate) fn decode_body(
                tag: u64,
                from: &mut Reader<'_>,
                context: &Context,
                depth: u32,
            ) -> Result<Self, DecodeError> {
                $(if tag == <$name>::TAG {
                    return <$name>::decode_body(from, context, depth).map(Self::$name);
                })+
                Ok(Self::Unknown { tag, content: Unknown::received(context, from.rest()) })
            }

            pub(crate) fn effect(&mut self, effect: &NodeEffect) {
                match (self, effect) {
                    $((Self::$name(store), NodeEffect::$name(effect)) => store.effect(effect),)+
                    _ => {}
                }
            }

            pub(crate) fn collect(&mut self, stable: &Context) {
                match self {
                    $(Self::$name(store) => store.collect(stable),)+
                    Self::Unknown { .. } => {}
                }
            }

            pub(crate) fn incomplete(&self, visit: &mut dyn FnMut(Interval)) {
                match self {
                    $(Self::$name(store) => store.incomplete(visit),)+
                    Self::Unknown { .. } => {}
                }
            }

            pub(crate) fn changed_by_collection(&self, visit: &mut dyn FnMut(Dot)) {
                match self {
                    $(Self::$name(store) => store.changed_by_collection(visit),)+
                    Self::Unknown { .. } => {}
                }
            }

            pub(crate) fn newest_stamp(&self) -> Option<Stamp> {
                match self {
                    $(Self::$name(store) => store.newest_stamp(),)+
                    Self::Unknown { .. } => None,
                }
            }

            pub(crate) fn has_unknown(&self) -> bool {
                match self {
                    $(Self::$name(store) => store.has_unknown(),)+
                    Self::Unknown { .. } => true,
                }
            }
        }
    };
}

nodes!(
    GCounter,
    PnCounter,
    GSet,
    TwoPhaseSet,
    OrSet,
    LwwRegister,
    MvRegister,
    EnableWinsFlag,
    DisableWinsFlag,
    Map,
    TwoPhaseGraph,
    OrGraph,
    List,
    Text,
);
