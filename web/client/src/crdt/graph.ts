import { Reader, Writer } from './codec.js';
import type { Context } from './context.js';
import { DecodeError, OperationError } from './errors.js';
import type { KeyKind } from './keyed.js';
import { OrSet, type SetOperation, TwoPhaseSet, VALUE_KEY, type VisibleSet } from './set.js';
import { type Fragment, type Join, type Mint, PlainStore, type Store, type Visit } from './store.js';
import { checkValue, compareValues, decodeValue, encodeValue, type Value } from './value.js';

/** From one vertex to another. */
export interface Edge {
  readonly from: Value;
  readonly to: Value;
}

/** What a user asks of a graph. */
export type GraphOperation = { readonly vertex: SetOperation } | { readonly edge: SetOperation<Edge> };

const EDGE_KEY: KeyKind<Edge> = {
  compare: (a, b) => compareValues(a.from, b.from) || compareValues(a.to, b.to),
  encode(edge, to) {
    encodeValue(edge.from, to);
    encodeValue(edge.to, to);
  },
  decode: (from) => ({ from: decodeValue(from), to: decodeValue(from) }),
  check(key: unknown): asserts key is Edge {
    const edge = (typeof key === 'object' && key !== null ? key : {}) as Partial<Edge>;
    checkValue(edge.from, 'edge.from');
    checkValue(edge.to, 'edge.to');
  },
};

/** Vertices and edges. An edge whose ends are not present is masked; cycles and self-loops are allowed. */
abstract class Graph extends PlainStore implements Store {
  abstract readonly tag: number;

  constructor(
    protected readonly vertices: VisibleSet<Value>,
    protected readonly edges: VisibleSet<Edge>,
  ) {
    super();
  }

  /** A graph of these sets. */
  protected abstract of(vertices: Store | undefined, edges: Store | undefined): Graph;

  isBottom(): boolean {
    return this.vertices.isBottom() && this.edges.isBottom();
  }

  /** Vertices and visible edges, ascending. */
  read(): { vertices: Value[]; edges: Edge[] } {
    return { vertices: this.vertices.read(), edges: this.edges.read().filter((edge) => this.#hasEnds(edge)) };
  }

  #hasEnds(edge: Edge): boolean {
    return this.vertices.has(edge.from) && this.vertices.has(edge.to);
  }

  visit(guide: Store | undefined, visit: Visit): void {
    const guides = guide as Graph | undefined;
    this.vertices.visit(guides?.vertices, visit);
    this.edges.visit(guides?.edges, visit);
  }

  join(theirs: Store, join: Join): void {
    this.vertices.join((theirs as Graph).vertices, join);
    this.edges.join((theirs as Graph).edges, join);
  }

  sweep(theirs: Store | undefined, join: Join): void {
    this.vertices.sweep((theirs as Graph | undefined)?.vertices, join);
    this.edges.sweep((theirs as Graph | undefined)?.edges, join);
  }

  unknownTo(context: Context): Store {
    return this.of(this.vertices.unknownTo(context), this.edges.unknownTo(context));
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const given = (typeof operation === 'object' && operation !== null ? operation : {}) as { vertex?: unknown; edge?: unknown };
    if (given.vertex !== undefined) return this.#prepareVertex(given.vertex, mint);
    if (given.edge !== undefined) return this.#prepareEdge(given.edge, mint);
    throw new OperationError('bad-argument', 'a graph takes {vertex: {add | remove}} or {edge: {add | remove}}');
  }

  #prepareVertex(operation: unknown, mint: Mint): Fragment | undefined {
    if (Object.hasOwn(Object(operation) as object, 'remove')) {
      const vertex = (operation as { remove: unknown }).remove;
      checkValue(vertex, 'vertex');
      const isEnd = (edge: Edge): boolean => compareValues(edge.from, vertex) === 0 || compareValues(edge.to, vertex) === 0;
      if (this.read().edges.some(isEnd)) {
        throw new OperationError('vertex-has-edges', 'the vertex still has edges; remove its edges first');
      }
    }
    const made = this.vertices.prepare(operation, mint);
    return made === undefined ? undefined : { store: this.of(made.store, undefined), context: made.context };
  }

  #prepareEdge(operation: unknown, mint: Mint): Fragment | undefined {
    const { add, remove } = Object(operation) as { add?: unknown; remove?: unknown };
    const edge = add ?? remove;
    const check: (key: unknown) => asserts key is Edge = EDGE_KEY.check;
    check(edge);
    if (!this.#hasEnds(edge)) {
      throw new OperationError('absent', 'an end of the edge is not present; read the state again');
    }
    const made = this.edges.prepare(operation, mint);
    return made === undefined ? undefined : { store: this.of(undefined, made.store), context: made.context };
  }

  encodeBody(context: Context, to: Writer): void {
    const vertices = new Writer();
    this.vertices.encodeBody(context, vertices);
    to.block(vertices.bytes());
    this.edges.encodeBody(context, to);
  }

  decodeBody(from: Reader, context: Context, depth: number): void {
    const vertices = new Reader(from.block('vertices'));
    this.vertices.decodeBody(vertices, context, depth);
    this.edges.decodeBody(from, context, depth);
    if (!vertices.isEmpty) throw DecodeError.trailing(vertices.left);
  }
}

/** Vertices and edges that were removed never return. */
export class TwoPhaseGraph extends Graph {
  readonly tag = 11;

  constructor(vertices?: VisibleSet<Value>, edges?: VisibleSet<Edge>) {
    super(vertices ?? new TwoPhaseSet(VALUE_KEY), edges ?? new TwoPhaseSet(EDGE_KEY));
  }

  protected of(vertices: Store | undefined, edges: Store | undefined): Graph {
    return new TwoPhaseGraph(vertices as VisibleSet<Value> | undefined, edges as VisibleSet<Edge> | undefined);
  }
}

/** A concurrent add wins; a masked edge returns with its vertex. */
export class OrGraph extends Graph {
  readonly tag = 12;

  constructor(vertices?: VisibleSet<Value>, edges?: VisibleSet<Edge>) {
    super(vertices ?? new OrSet(VALUE_KEY), edges ?? new OrSet(EDGE_KEY));
  }

  protected of(vertices: Store | undefined, edges: Store | undefined): Graph {
    return new OrGraph(vertices as VisibleSet<Value> | undefined, edges as VisibleSet<Edge> | undefined);
  }
}
