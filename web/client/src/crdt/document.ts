import { Clock } from './clock.js';
import type { Replica } from './dot.js';
import { OperationError } from './errors.js';
import type { Edge } from './graph.js';
import { integerToJson, isObject, type Json, valueToJson, wrong } from './json.js';
import { CrdtMap } from './map.js';
import { type Assignment, JSON_FORMS, NATIVE, only, OperationParser, type ValueSource } from './operation.js';
import type { Stamped } from './register.js';
import { State } from './state.js';
import type { Store } from './store.js';
import { emptyOf, tagOfType, TYPE_NAMES, type TypeName, typeOfTag } from './types.js';
import { Unknown } from './unknown.js';
import { small, type Value } from './value.js';

const FIELDS_MAX = 1024;
const NAME_BYTES_MAX = 256;
/** How far another clock may be ahead. */
const SKEW_MAX_MS = 500;

/** Fields and their types: `{likes: {type: 'g-counter'}}`. Local: two versions may have different ones. */
export interface Schema {
  readonly [field: string]: { readonly type: TypeName };
}

/** A map: key to type to reading. A key that was used with two types concurrently shows both. */
export interface MapContent {
  readonly [key: string]: { readonly [type in TypeName]?: unknown };
}

/** What a field of a type reads as. */
export interface Readings {
  'g-counter': number | bigint;
  'pn-counter': number | bigint;
  'g-set': Value[];
  '2p-set': Value[];
  'or-set': Value[];
  'lww-register': Value;
  'mv-register': Value[];
  'enable-wins-flag': boolean;
  'disable-wins-flag': boolean;
  map: MapContent;
  '2p2p-graph': { vertices: Value[]; edges: Edge[] };
  'or-graph': { vertices: Value[]; edges: Edge[] };
  list: Value[];
  text: string;
}

type SetVerbs<V = Value> = { add: V } | { remove: V };
type GraphVerbs = { vertex: SetVerbs } | { edge: SetVerbs<Edge> };

/** What may be done to a field of a type; `docs/CRDT.md` §10. */
export interface Verbs {
  'g-counter': { increment: number | bigint };
  'pn-counter': { increment: number | bigint };
  'g-set': { add: Value };
  '2p-set': SetVerbs;
  'or-set': SetVerbs;
  'lww-register': { assign: Value; stamp?: string };
  'mv-register': { assign: Value };
  'enable-wins-flag': { set: boolean };
  'disable-wins-flag': { set: boolean };
  map: { update: string; type: TypeName; operation: object } | { remove: string };
  '2p2p-graph': GraphVerbs;
  'or-graph': GraphVerbs;
  list: { index: number; insert: readonly Value[] } | { index: number; delete: number };
  text: { index: number; insert: string } | { index: number; delete: number };
}

/** An operation on a document: a field of the schema and a verb of its type, or `reset`. */
export type DocumentOperation<S extends Schema = Schema> = {
  [F in keyof S & string]: ({ field: F } & Verbs[S[F]['type']]) | { field: F; reset: true };
}[keyof S & string];

/** What a document reads as: every field of the schema, written yet or not. */
export type DocumentReading<S extends Schema = Schema> = { -readonly [F in keyof S]: Readings[S[F]['type']] };

/** Checks a schema that came from elsewhere. */
export function parseSchema(json: unknown): Schema {
  if (!isObject(json)) throw wrong('schema', 'an object', json);
  const names = Object.keys(json);
  if (names.length > FIELDS_MAX) {
    throw new OperationError('limit', `\`schema\`: the number of fields would exceed its bound of ${FIELDS_MAX}`);
  }
  for (const name of names) {
    const field = json[name];
    const bytes = new TextEncoder().encode(name).length;
    if (bytes < 1 || bytes > NAME_BYTES_MAX) {
      throw new OperationError('limit', `\`schema.${name}\`: the bytes of a name would exceed its bound of ${NAME_BYTES_MAX}`);
    }
    if (!isObject(field)) throw wrong(`schema.${name}`, 'an object', field);
    only(field, `schema.${name}`, 'type');
    const { type } = field;
    if (typeof type !== 'string' || tagOfType(type) === undefined) {
      throw wrong(`schema.${name}.type`, `one of ${TYPE_NAMES.join(', ')}`, type);
    }
  }
  return json as Schema;
}

/** A map and the schema that its readers and writers use. Fields that the schema lacks are kept, joined and relayed. */
export class Document<S extends Schema = Schema> {
  readonly #state: State<CrdtMap>;
  readonly #clock = new Clock(SKEW_MAX_MS);

  constructor(
    readonly schema: S,
    state: State<CrdtMap> = new State(new CrdtMap()),
  ) {
    parseSchema(schema);
    this.#state = state;
  }

  /** A document with a state that came from elsewhere. */
  static decode<S extends Schema>(schema: S, bytes: Uint8Array): Document<S> {
    return new Document(schema, State.decode(bytes, new CrdtMap()));
  }

  /** What is replicated. */
  get state(): State<CrdtMap> {
    return this.#state;
  }

  /** Reads a delta; nothing is changed. */
  static delta(bytes: Uint8Array): State<CrdtMap> {
    return State.decode(bytes, new CrdtMap());
  }

  /** Applies an operation and gives its delta; nothing when nothing changed. */
  apply(operation: DocumentOperation<S>, replica: Replica, nowMs: number): State<CrdtMap> | undefined {
    return this.#joined(this.prepare(operation, replica, nowMs));
  }

  /** The delta of an operation; nothing when there is nothing to do. Changes nothing. */
  prepare(operation: DocumentOperation<S>, replica: Replica, nowMs: number): State<CrdtMap> | undefined {
    return this.#prepare(operation, replica, nowMs, NATIVE);
  }

  /** As `apply`, for an operation in JSON forms. */
  applyJson(operation: unknown, replica: Replica, nowMs: number): State<CrdtMap> | undefined {
    return this.#joined(this.#prepare(operation, replica, nowMs, JSON_FORMS));
  }

  #joined(delta: State<CrdtMap> | undefined): State<CrdtMap> | undefined {
    if (delta !== undefined) this.#state.join(delta);
    return delta;
  }

  #prepare(operation: unknown, replica: Replica, nowMs: number, source: ValueSource): State<CrdtMap> | undefined {
    if (!isObject(operation)) throw wrong('operation', 'an object', operation);
    const { field, ...verb } = operation;
    const declared = typeof field === 'string' && Object.hasOwn(this.schema, field) ? this.schema[field] : undefined;
    if (declared === undefined) {
      const fields = Object.keys(this.schema).map((name) => `\`${name}\``).join(', ');
      throw wrong('operation.field', `a field of the schema, such as ${fields}`, field);
    }
    const parser = new OperationParser(source, (assignment) => this.#stamp(assignment, nowMs));
    if (verb['reset'] !== undefined) {
      only(verb, 'operation', 'reset');
      if (verb['reset'] !== true) throw wrong('operation.reset', 'true', verb['reset']);
      return this.#state.prepare(replica, { remove: field });
    }
    const inner = parser.parse(declared.type, verb, 'operation', this.field(field as keyof S & string));
    return this.#state.prepare(replica, { update: field, type: declared.type, operation: inner });
  }

  /** A stamp later than the register's, or the application's own, within the bound. */
  #stamp({ stamp, seen }: Assignment, nowMs: number): bigint {
    if (stamp !== undefined) {
      this.#clock.check(stamp, nowMs);
      return stamp;
    }
    if (seen !== undefined) this.#clock.observe(seen);
    return this.#clock.tick(nowMs);
  }

  /** Joins a state or delta; gives the names of the fields that changed. */
  join(delta: State<CrdtMap>): ReadonlySet<string> {
    return this.#state.join(delta);
  }

  /** The field's store; an empty one as long as nobody has written it. */
  field(field: keyof S & string): Store {
    const { type } = this.schema[field] as { type: TypeName };
    return this.#state.store.get(field, tagOfType(type) as number) ?? emptyOf(type);
  }

  /** What a field reads as. */
  get<F extends keyof S & string>(field: F): Readings[S[F]['type']] {
    return readingOf(this.field(field)) as Readings[S[F]['type']];
  }

  /** What every field of the schema reads as. */
  read(): DocumentReading<S> {
    const reading = Object.keys(this.schema).map((field) => [field, this.get(field)]);
    return Object.fromEntries(reading) as DocumentReading<S>;
  }

  /** The reading in JSON forms. */
  readJson(): { [field: string]: Json } {
    return Object.fromEntries(Object.keys(this.schema).map((field) => [field, readingToJson(this.field(field))]));
  }
}

function readingOf(store: Store): unknown {
  const read = store.read();
  if (typeof read === 'bigint') return small(read);
  if (typeOfTag(store.tag) === 'lww-register') return (read as Stamped | null)?.value ?? null;
  return store instanceof CrdtMap ? mapContent(store, readingOf) : read;
}

function mapContent<R>(map: CrdtMap, read: (store: Store) => R): { [key: string]: { [type: string]: R } } {
  const content = Object.create(null) as { [key: string]: { [type: string]: R } };
  for (const [{ name, tag }, store] of map.entries()) {
    if (store instanceof Unknown) continue;
    content[name] = { ...content[name], [typeOfTag(tag) as string]: read(store) };
  }
  return content;
}

function readingToJson(store: Store): Json {
  const read = readingOf(store);
  switch (typeOfTag(store.tag)) {
    case 'g-counter':
    case 'pn-counter':
      return integerToJson(read as number | bigint);
    case 'map':
      return mapContent(store as CrdtMap, readingToJson);
    case '2p2p-graph':
    case 'or-graph': {
      const { vertices, edges } = read as { vertices: Value[]; edges: Edge[] };
      return {
        edges: edges.map(({ from, to }) => ({ from: valueToJson(from), to: valueToJson(to) })),
        vertices: vertices.map(valueToJson),
      };
    }
    default:
      return valueToJson(read as Value);
  }
}
