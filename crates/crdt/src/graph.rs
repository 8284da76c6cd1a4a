//! Directed graphs of two sets. Edges whose ends are not present are masked; cycles and self-loops are allowed.

use crate::codec::{Reader, Writer};
use crate::context::{Context, Interval};
use crate::dot::Dot;
use crate::error::{DecodeError, OperationError};
use crate::keyed::Key;
use crate::set::{OrSet, SetOperation, TwoPhaseSet, VisibleSet};
use crate::store::{Crdt, Join, Mint, Store};
use crate::value::Value;

/// From one vertex to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Where it starts.
    pub from: Value,
    /// Where it ends.
    pub to: Value,
}

impl Key for Edge {
    fn encode(&self, to: &mut Writer) {
        self.from.encode(to);
        self.to.encode(to);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            from: Value::decode(from)?,
            to: Value::decode(from)?,
        })
    }

    fn check(&self) -> Result<(), OperationError> {
        self.from.check()?;
        self.to.check()
    }
}

/// What a user asks of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphOperation {
    /// Adds or removes a vertex. One with visible edges cannot be removed.
    Vertex(SetOperation<Value>),
    /// Adds or removes an edge. Both ends have to be present.
    Edge(SetOperation<Edge>),
}

/// Effect on one of the two sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphEffect<V, E> {
    /// On the vertices.
    Vertex(V),
    /// On the edges.
    Edge(E),
}

/// Vertices and edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph<V, E> {
    vertices: V,
    edges: E,
}

/// Vertices and edges that were removed never return.
pub type TwoPhaseGraph = Graph<TwoPhaseSet<Value>, TwoPhaseSet<Edge>>;
/// A concurrent add wins; a masked edge returns with its vertex.
pub type OrGraph = Graph<OrSet<Value>, OrSet<Edge>>;

impl<V: VisibleSet<Value>, E: VisibleSet<Edge>> Graph<V, E> {
    /// Vertices, ascending.
    pub fn vertices(&self) -> impl Iterator<Item = &Value> {
        self.vertices.elements()
    }

    /// Edges whose ends are present, ascending.
    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.edges.elements().filter(|edge| self.has_ends(edge))
    }

    fn has_ends(&self, edge: &Edge) -> bool {
        self.vertices.contains(&edge.from) && self.vertices.contains(&edge.to)
    }
}

impl<V: VisibleSet<Value>, E: VisibleSet<Edge>> Store for Graph<V, E> {
    const TAG: u64 = V::GRAPH_TAG;
    const NAME: &'static str = V::GRAPH_NAME;

    fn is_bottom(&self) -> bool {
        self.vertices.is_bottom() && self.edges.is_bottom()
    }

    fn dots(&self, guide: Option<&Self>, visit: &mut dyn FnMut(Interval)) {
        self.vertices.dots(guide.map(|guide| &guide.vertices), visit);
        self.edges.dots(guide.map(|guide| &guide.edges), visit);
    }

    fn join(&mut self, theirs: &Self, join: &mut Join<'_>) {
        self.vertices.join(&theirs.vertices, join);
        self.edges.join(&theirs.edges, join);
    }

    fn sweep(&mut self, theirs: Option<&Self>, join: &mut Join<'_>) {
        self.vertices.sweep(theirs.map(|theirs| &theirs.vertices), join);
        self.edges.sweep(theirs.map(|theirs| &theirs.edges), join);
    }

    fn unknown_to(&self, seen: Option<&Self>, context: &Context) -> Self {
        Self {
            vertices: self.vertices.unknown_to(seen.map(|seen| &seen.vertices), context),
            edges: self.edges.unknown_to(seen.map(|seen| &seen.edges), context),
        }
    }

    fn atoms(&self, emit: &mut dyn FnMut(Self, &[Dot])) {
        self.vertices.atoms(&mut |vertices, dots| {
            emit(
                Self {
                    vertices,
                    edges: E::default(),
                },
                dots,
            )
        });
        self.edges.atoms(&mut |edges, dots| {
            emit(
                Self {
                    vertices: V::default(),
                    edges,
                },
                dots,
            )
        });
    }

    fn encode_body(&self, context: &Context, to: &mut Writer) {
        let mut vertices = Writer::new();
        self.vertices.encode_body(context, &mut vertices);
        to.block(&vertices.into_bytes());
        self.edges.encode_body(context, to);
    }

    fn decode_body(from: &mut Reader<'_>, context: &Context, depth: u32) -> Result<Self, DecodeError> {
        let mut vertices = Reader::new(from.block("vertices")?);
        let graph = Self {
            vertices: V::decode_body(&mut vertices, context, depth)?,
            edges: E::decode_body(from, context, depth)?,
        };
        if vertices.is_empty() {
            Ok(graph)
        } else {
            Err(DecodeError::Trailing {
                left: vertices.left(),
            })
        }
    }
}

impl<V: VisibleSet<Value>, E: VisibleSet<Edge>> Crdt for Graph<V, E> {
    type Operation = GraphOperation;
    type Effect = GraphEffect<V::Effect, E::Effect>;

    fn prepare(
        &self,
        operation: &GraphOperation,
        mint: &mut Mint<'_>,
    ) -> Result<Option<Self::Effect>, OperationError> {
        match operation {
            GraphOperation::Vertex(operation) => {
                if let SetOperation::Remove(vertex) = operation
                    && self
                        .edges()
                        .any(|edge| edge.from == *vertex || edge.to == *vertex)
                {
                    return Err(OperationError::VertexHasEdges);
                }
                Ok(self.vertices.prepare(operation, mint)?.map(GraphEffect::Vertex))
            }
            GraphOperation::Edge(operation) => {
                let (SetOperation::Add(edge) | SetOperation::Remove(edge)) = operation;
                if !self.has_ends(edge) {
                    return Err(OperationError::Absent {
                        what: "an end of the edge",
                    });
                }
                Ok(self.edges.prepare(operation, mint)?.map(GraphEffect::Edge))
            }
        }
    }

    fn effect(&mut self, effect: &Self::Effect) {
        match effect {
            GraphEffect::Vertex(effect) => self.vertices.effect(effect),
            GraphEffect::Edge(effect) => self.edges.effect(effect),
        }
    }

    fn fragment(effect: &Self::Effect) -> Self {
        match effect {
            GraphEffect::Vertex(effect) => Self {
                vertices: V::fragment(effect),
                edges: E::default(),
            },
            GraphEffect::Edge(effect) => Self {
                vertices: V::default(),
                edges: E::fragment(effect),
            },
        }
    }

    fn covers(effect: &Self::Effect, to: &mut Context) {
        match effect {
            GraphEffect::Vertex(effect) => V::covers(effect, to),
            GraphEffect::Edge(effect) => E::covers(effect, to),
        }
    }

    fn encode_effect(effect: &Self::Effect, after: &Context, to: &mut Writer) {
        match effect {
            GraphEffect::Vertex(effect) => {
                to.varint(0);
                V::encode_effect(effect, after, to);
            }
            GraphEffect::Edge(effect) => {
                to.varint(1);
                E::encode_effect(effect, after, to);
            }
        }
    }

    fn decode_effect(
        from: &mut Reader<'_>,
        after: &Context,
        dot: Dot,
        depth: u32,
    ) -> Result<Self::Effect, DecodeError> {
        match from.varint("graph")? {
            0 => V::decode_effect(from, after, dot, depth).map(GraphEffect::Vertex),
            1 => E::decode_effect(from, after, dot, depth).map(GraphEffect::Edge),
            _ => Err(DecodeError::NotCanonical { field: "graph" }),
        }
    }
}
