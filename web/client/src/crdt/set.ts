import { Reader, Writer } from './codec.js';
import { Context } from './context.js';
import { OperationError } from './errors.js';
import { Keyed, type KeyKind } from './keyed.js';
import { type Fragment, type Join, type Mint, PlainStore, type Store, type Visit } from './store.js';
import { checkValue, compareValues, decodeValue, encodeValue, type Value } from './value.js';

/** What a user asks of a set. */
export type SetOperation<K = Value> = { readonly add: K } | { readonly remove: K };

export const VALUE_KEY: KeyKind<Value> = {
  compare: compareValues,
  encode: encodeValue,
  decode: (from) => decodeValue(from),
  check(key: unknown): asserts key is Value {
    checkValue(key, 'element');
  },
};

const absent = (): OperationError => new OperationError('absent', 'the element is not present; read the state again');

/** Reads a set operation and checks its element. */
function parse<K>(operation: unknown, kind: KeyKind<K>): { key: K; add: boolean } {
  const given = (typeof operation === 'object' && operation !== null ? operation : {}) as { add?: unknown; remove?: unknown };
  const [add, remove] = [Object.hasOwn(given, 'add'), Object.hasOwn(given, 'remove')];
  if (add === remove) throw new OperationError('bad-argument', 'a set takes {add: element} or {remove: element}');
  const key = add ? given.add : given.remove;
  const check: (key: unknown) => asserts key is K = kind.check;
  check(key);
  return { key, add };
}

/** A set that a graph can be made of. */
export interface VisibleSet<K> extends Store {
  has(key: K): boolean;
  /** The elements, ascending. */
  read(): K[];
}

/** Only grows. Operation: the element to add. */
export class GSet extends PlainStore implements Store {
  readonly tag = 3;
  readonly #elements = new Keyed(VALUE_KEY);

  isBottom(): boolean {
    return this.#elements.isEmpty;
  }

  read(): Value[] {
    return [...this.#elements.keys()];
  }

  visit(guide: Store | undefined, visit: Visit): void {
    this.#elements.visit(guide && (guide as GSet).#elements, visit);
  }

  join(theirs: Store, join: Join): void {
    this.#elements.join((theirs as GSet).#elements, join);
  }

  sweep(theirs: Store | undefined, join: Join): void {
    this.#elements.sweep(theirs && (theirs as GSet).#elements, join);
  }

  unknownTo(context: Context): Store {
    const unknown = new GSet();
    this.#elements.unknownTo(context, unknown.#elements);
    return unknown;
  }

  prepare(element: unknown, mint: Mint): Fragment | undefined {
    checkValue(element, 'element');
    if (this.#elements.has(element)) return undefined;
    const dot = mint.dot();
    const store = new GSet();
    store.#elements.put(element, [dot]);
    return { store, context: Context.of(dot) };
  }

  encodeBody(context: Context, to: Writer): void {
    this.#elements.encodeBody(context, to);
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    this.#elements.decodeBody(from, context);
  }
}

/** Observed-remove: a concurrent add wins. Operation: `{add}` or `{remove}`; what is removed has to be present. */
export class OrSet<K = Value> extends PlainStore implements VisibleSet<K> {
  readonly tag = 5;
  readonly #elements: Keyed<K>;

  constructor(readonly kind: KeyKind<K> = VALUE_KEY as unknown as KeyKind<K>) {
    super();
    this.#elements = new Keyed(kind);
  }

  isBottom(): boolean {
    return this.#elements.isEmpty;
  }

  has(key: K): boolean {
    return this.#elements.has(key);
  }

  read(): K[] {
    return [...this.#elements.keys()];
  }

  visit(guide: Store | undefined, visit: Visit): void {
    this.#elements.visit(guide && (guide as OrSet<K>).#elements, visit);
  }

  join(theirs: Store, join: Join): void {
    this.#elements.join((theirs as OrSet<K>).#elements, join);
  }

  sweep(theirs: Store | undefined, join: Join): void {
    this.#elements.sweep(theirs && (theirs as OrSet<K>).#elements, join);
  }

  unknownTo(context: Context): Store {
    const unknown = new OrSet(this.kind);
    this.#elements.unknownTo(context, unknown.#elements);
    return unknown;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const { key, add } = parse(operation, this.kind);
    if (!add && !this.has(key)) throw absent();
    const dot = mint.dot();
    const store = new OrSet(this.kind);
    if (add) store.#elements.put(key, [dot]);
    return { store, context: Context.of(...this.#elements.observed(key), dot) };
  }

  encodeBody(context: Context, to: Writer): void {
    this.#elements.encodeBody(context, to);
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    this.#elements.decodeBody(from, context);
  }
}

/** An element that was removed never returns. Operation: `{add}` or `{remove}`. */
export class TwoPhaseSet<K = Value> extends PlainStore implements VisibleSet<K> {
  readonly tag = 4;
  readonly #added: Keyed<K>;
  readonly #removed: Keyed<K>;

  constructor(readonly kind: KeyKind<K> = VALUE_KEY as unknown as KeyKind<K>) {
    super();
    this.#added = new Keyed(kind);
    this.#removed = new Keyed(kind);
  }

  isBottom(): boolean {
    return this.#added.isEmpty && this.#removed.isEmpty;
  }

  has(key: K): boolean {
    return this.#added.has(key) && !this.#removed.has(key);
  }

  read(): K[] {
    return this.#added.keys().filter((key) => !this.#removed.has(key));
  }

  /** Elements that were removed for ever, ascending. */
  removed(): K[] {
    return [...this.#removed.keys()];
  }

  visit(guide: Store | undefined, visit: Visit): void {
    const guides = guide as TwoPhaseSet<K> | undefined;
    // A removal names its element on the removed side only, so both sides guide both.
    for (const side of guides === undefined ? [undefined] : [guides.#added, guides.#removed]) {
      this.#added.visit(side, visit);
      this.#removed.visit(side, visit);
    }
  }

  join(theirs: Store, join: Join): void {
    const other = theirs as TwoPhaseSet<K>;
    this.#added.join(other.#added, join);
    this.#removed.join(other.#removed, join);
    for (const key of other.#removed.keys()) {
      if (other.#added.has(key)) continue;
      const mine = this.#added.observed(key);
      const kept = mine.filter((dot) => !join.theirs.contains(dot));
      join.dropped += mine.length - kept.length;
      if (kept.length === mine.length) continue;
      join.changed = true;
      this.#added.put(key, kept);
    }
  }

  sweep(theirs: Store | undefined, join: Join): void {
    const other = theirs as TwoPhaseSet<K> | undefined;
    this.#added.sweep(other && other.#added, join);
    this.#removed.sweep(other && other.#removed, join);
  }

  unknownTo(context: Context): Store {
    const unknown = new TwoPhaseSet(this.kind);
    this.#added.unknownTo(context, unknown.#added);
    this.#removed.unknownTo(context, unknown.#removed);
    return unknown;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const { key, add } = parse(operation, this.kind);
    if (this.#removed.has(key)) {
      throw new OperationError(
        'removed-for-ever',
        'the element was removed for ever; use an `or-set` or `or-graph` where elements return',
      );
    }
    const present = this.#added.has(key);
    if (add && present) return undefined;
    if (!add && !present) throw absent();
    const dot = mint.dot();
    const store = new TwoPhaseSet(this.kind);
    (add ? store.#added : store.#removed).put(key, [dot]);
    return { store, context: Context.of(...this.#added.observed(key), dot) };
  }

  encodeBody(context: Context, to: Writer): void {
    const added = new Writer();
    this.#added.encodeBody(context, added);
    to.block(added.bytes());
    this.#removed.encodeBody(context, to);
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    this.#added.decodeBody(new Reader(from.block('added')), context);
    this.#removed.decodeBody(from, context);
  }
}
