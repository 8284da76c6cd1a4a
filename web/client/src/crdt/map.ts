import { compareText, Reader, Writer } from './codec.js';
import { Context, type Interval } from './context.js';
import { DecodeError, OperationError } from './errors.js';
import { OrderedMap } from './ordered.js';
import { State } from './state.js';
import { type Fragment, type Join, Mint, type Store, type Visit } from './store.js';
import { putTag, takeTag } from './tag-bytes.js';
import { emptyStore, tagOfType, type TypeName, typeOfTag } from './types.js';
import { FRAGMENTS, Unknown } from './unknown.js';
import { checkText } from './value.js';

/** Maps in maps. */
const DEPTH_MAX = 16;

/** A name, and the type of what it holds: one name used with two types concurrently holds both. */
export interface MapKey {
  readonly name: string;
  readonly tag: number;
}

/** What a user asks of a map. */
export type MapOperation =
  | { readonly update: string; readonly type: TypeName; readonly operation: unknown }
  | { readonly remove: string };

/** What readers see of an entry. */
export interface MapReading {
  readonly name: string;
  readonly type: TypeName | 'unknown';
  readonly value: unknown;
}

function compareKeys(a: MapKey, b: MapKey): number {
  return compareText(a.name, b.name) || a.tag - b.tag;
}

/** Named stores. Removing a name is a reset of what was seen; a concurrent update survives. */
export class CrdtMap implements Store {
  readonly tag = 10;
  readonly #entries = new OrderedMap<MapKey, Store>(compareKeys);
  /** Whether a part may be of an unknown type; stays set. Not part of the state. */
  #unknown = false;

  get(name: string, tag: number): Store | undefined {
    return this.#entries.get({ name, tag });
  }

  /** All entries, by name and type. */
  entries(): IterableIterator<[MapKey, Store]> {
    return this.#entries.entries();
  }

  #put(key: MapKey, store: Store): void {
    if (store.isBottom()) {
      this.#entries.delete(key);
      return;
    }
    this.#unknown ||= store.hasUnknown();
    this.#entries.set(key, store);
  }

  isBottom(): boolean {
    return this.#entries.size === 0;
  }

  read(): MapReading[] {
    return [...this.#entries.entries()].map(([{ name, tag }, store]) => ({
      name,
      type: typeOfTag(tag) ?? 'unknown',
      value: store.read(),
    }));
  }

  hasUnknown(): boolean {
    return this.#unknown;
  }

  visit(guide: Store | undefined, visit: Visit): void {
    if (guide === undefined) {
      for (const store of this.#entries.values()) store.visit(undefined, visit);
      return;
    }
    for (const [key, inner] of (guide as CrdtMap).#entries.entries()) this.#entries.get(key)?.visit(inner, visit);
  }

  visitDeletions(visit: Visit): void {
    for (const store of this.#entries.values()) store.visitDeletions(visit);
  }

  visitIncomplete(visit: Visit): void {
    for (const store of this.#entries.values()) store.visitIncomplete(visit);
  }

  visitRaised(visit: Visit): void {
    for (const store of this.#entries.values()) store.visitRaised(visit);
  }

  newestStamp(): bigint | undefined {
    let newest: bigint | undefined;
    for (const store of this.#entries.values()) {
      const stamp = store.newestStamp();
      if (stamp !== undefined && (newest === undefined || stamp > newest)) newest = stamp;
    }
    return newest;
  }

  join(theirs: Store, join: Join): void {
    const other = theirs as CrdtMap;
    this.#unknown ||= other.#unknown;
    for (const [key, inner] of other.#entries.entries()) within(key, join, () => {
      const mine = this.#entries.get(key);
      if (mine !== undefined) {
        mine.join(inner, join);
        if (mine.isBottom()) this.#entries.delete(key);
      } else if (inner instanceof Unknown) {
        const copy = inner.clone();
        copy.absent.join(join.mine);
        join.changed = true;
        this.#put(key, copy);
      } else {
        const fresh = emptyStore(key.tag);
        fresh?.join(inner, join);
        if (fresh !== undefined) this.#put(key, fresh);
      }
    });
  }

  sweep(theirs: Store | undefined, join: Join): void {
    const other = theirs as CrdtMap | undefined;
    this.#entries.retain((key, store) => {
      within(key, join, () => store.sweep(other && other.#entries.get(key), join));
      return !store.isBottom();
    });
  }

  unknownTo(context: Context): Store {
    const unknown = new CrdtMap();
    unknown.#unknown = this.#unknown;
    for (const [key, store] of this.#entries.entries()) unknown.#put(key, store.unknownTo(context));
    return unknown;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const given = Object(operation) as { update?: unknown; type?: unknown; operation?: unknown; remove?: unknown };
    if (given.remove !== undefined) {
      checkText(given.remove, 'remove');
      return this.#prepareRemove(given.remove, mint);
    }
    checkText(given.update, 'update');
    const tag = typeof given.type === 'string' ? tagOfType(given.type) : undefined;
    if (tag === undefined) {
      throw new OperationError('wrong-type', `field \`${given.update}\`: type: one of docs/CRDT.md, not ${String(given.type)}`);
    }
    if (mint.enter() > DEPTH_MAX) {
      throw new OperationError('limit', `the nesting of maps would exceed its bound of ${DEPTH_MAX}`);
    }
    const key = { name: given.update, tag };
    const made = (this.#entries.get(key) ?? (emptyStore(tag) as Store)).prepare(given.operation, mint);
    if (made === undefined) return undefined;
    const store = new CrdtMap();
    store.#put(key, made.store);
    return { store, context: made.context };
  }

  #prepareRemove(name: string, mint: Mint): Fragment {
    const observed: Interval[] = [];
    for (const [key, store] of this.#entries.entries()) {
      if (key.name === name) store.visit(undefined, (interval) => observed.push(interval));
    }
    if (observed.length === 0) throw new OperationError('absent', 'the key is not present; read the state again');
    const dot = mint.dot();
    observed.push({ first: dot, last: dot });
    return { store: new CrdtMap(), context: Context.collect(observed) };
  }

  encodeBody(context: Context, to: Writer): void {
    for (const [key, store] of this.#entries.entries()) {
      to.text(key.name);
      const body = new Writer();
      store.encodeBody(context, body);
      putTag(body.length, store instanceof Unknown ? key.tag + FRAGMENTS : key.tag, to);
      to.raw(body.bytes());
    }
  }

  decodeBody(from: Reader, context: Context, depth: number): void {
    if (depth > DEPTH_MAX) throw DecodeError.limit('map', DEPTH_MAX);
    let last: MapKey | undefined;
    while (!from.isEmpty) {
      const name = from.text('name');
      const { high: length, tag } = takeTag(from);
      const body = new Reader(from.take(length, 'body'));
      const isKept = tag >= FRAGMENTS;
      const key: MapKey = { name, tag: isKept ? tag - FRAGMENTS : tag };
      const store = isKept ? decodeKept(key, body, context, depth) : decodeEntry(key, body, context, depth);
      if (!body.isEmpty || (last !== undefined && compareKeys(last, key) >= 0)) throw DecodeError.notCanonical('map');
      if (store.isBottom() && !isKept) throw DecodeError.notCanonical('map');
      this.#put(key, store);
      if (!store.isBottom()) last = key;
    }
  }

  /** The entry's store on its own. */
  static one(key: MapKey, store: Store): CrdtMap {
    const map = new CrdtMap();
    map.#put(key, store);
    return map;
  }
}

/** Walks one entry; collects its name when it changed and this is the outermost map. */
function within(key: MapKey, join: Join, walk: () => void): void {
  const { names, changed } = join;
  join.names = undefined;
  join.changed = false;
  walk();
  if (join.changed) names?.add(key.name);
  join.changed ||= changed;
  join.names = names;
}

function decodeEntry(key: MapKey, body: Reader, context: Context, depth: number): Store {
  const store = emptyStore(key.tag);
  if (store === undefined) return Unknown.received(key.tag, context, body.rest());
  store.decodeBody(body, context, depth + 1);
  return store;
}

/** Fragments, kept by a version that did not know the type; joined if this one does. */
function decodeKept(key: MapKey, body: Reader, context: Context, depth: number): Store {
  const kept = new Unknown(key.tag);
  kept.decodeBody(body, context, depth);
  if (emptyStore(key.tag) === undefined) return kept;
  const state = new State(new CrdtMap(), kept.absent.clone());
  for (const piece of kept.pieces) {
    const store = decodeEntry(key, new Reader(piece.body), piece.context, depth + 1);
    state.join(new State(CrdtMap.one(key, store), piece.context));
  }
  return state.store.get(key.name, key.tag) ?? (emptyStore(key.tag) as Store);
}
