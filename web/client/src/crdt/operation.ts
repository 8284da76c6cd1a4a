import { OperationError } from './errors.js';
import type { Edge } from './graph.js';
import { integerFromJson, isObject, valueFromJson, wrong } from './json.js';
import type { CrdtMap } from './map.js';
import type { Store } from './store.js';
import { tagOfType, type TypeName } from './types.js';
import { checkText, checkValue, type Value } from './value.js';

/** Where values of operations come from: an application's own, or JSON that came from elsewhere. */
export interface ValueSource {
  value(given: unknown, path: string): Value;
  integer(given: unknown, path: string): number | bigint;
}

/** Values as they are. */
export const NATIVE: ValueSource = {
  value(given, path) {
    checkValue(given, path);
    return given;
  },
  integer(given, path) {
    if (typeof given === 'bigint' || (typeof given === 'number' && Number.isSafeInteger(given))) return given;
    throw wrong(path, 'a whole number below 2^53, or a bigint', given);
  },
};

/** Values in the forms of `docs/CRDT.md` §10. */
export const JSON_FORMS: ValueSource = { value: valueFromJson, integer: integerFromJson };

type Given = { readonly [name: string]: unknown };

/** What a register takes before it has a stamp. */
export interface Assignment {
  readonly value: Value;
  /** Of the application, when it has one. */
  readonly stamp: bigint | undefined;
  /** Newest stamp of the register. */
  readonly seen: bigint | undefined;
}

/**
 * Checks an operation of docs/CRDT.md §10 and gives what the type's store takes; assignments to `lww-register`s go through
 * `stamped`. Names the place of what is wrong.
 */
export class OperationParser {
  constructor(
    readonly source: ValueSource,
    readonly stamped: (assignment: Assignment) => bigint,
  ) {}

  /** `store` is what the operation is for, if there is anything yet. */
  parse(type: TypeName, given: unknown, path: string, store: Store | undefined): unknown {
    if (!isObject(given)) throw wrong(path, 'an object', given);
    switch (type) {
      case 'g-counter':
      case 'pn-counter':
        return this.#counter(type, given, path);
      case 'g-set':
        only(given, path, 'add');
        return this.#value(given, 'add', path);
      case '2p-set':
      case 'or-set':
        return this.#set(given, path, (element, at) => this.source.value(element, at));
      case 'lww-register':
        return this.#assign(given, path, store);
      case 'mv-register':
        only(given, path, 'assign');
        return this.#value(given, 'assign', path);
      case 'enable-wins-flag':
      case 'disable-wins-flag':
        only(given, path, 'set');
        if (typeof given['set'] !== 'boolean') throw wrong(`${path}.set`, 'true or false', given['set']);
        return given['set'];
      case 'map':
        return this.#map(given, path, store as CrdtMap | undefined);
      case '2p2p-graph':
      case 'or-graph':
        return this.#graph(given, path);
      case 'list':
      case 'text':
        return this.#sequence(type, given, path);
    }
  }

  #value(given: Given, verb: string, path: string): Value {
    return this.source.value(given[verb], `${path}.${verb}`);
  }

  #counter(type: TypeName, given: Given, path: string): number | bigint {
    only(given, path, 'increment');
    const at = `${path}.increment`;
    const step = this.source.integer(given['increment'], at);
    const [least, most] = type === 'g-counter' ? [0n, (1n << 64n) - 1n] : [-(1n << 63n), (1n << 63n) - 1n];
    if (step < least || step > most) {
      throw wrong(at, type === 'g-counter' ? 'an integer from 0 to 2^64 - 1' : 'an integer of 64 bits', String(step));
    }
    return step;
  }

  #set<K>(given: Given, path: string, element: (given: unknown, path: string) => K): { add: K } | { remove: K } {
    const verb = choose(given, path, ['add', 'remove']);
    only(given, path, verb);
    const key = element(given[verb], `${path}.${verb}`);
    return verb === 'add' ? { add: key } : { remove: key };
  }

  #assign(given: Given, path: string, store: Store | undefined): { stamp: bigint; value: Value } {
    only(given, path, 'assign', 'stamp');
    const value = this.#value(given, 'assign', path);
    const text = given['stamp'];
    if (text !== undefined && (typeof text !== 'string' || !/^[0-9]{1,20}$/.test(text) || BigInt(text) >= 1n << 64n)) {
      throw wrong(`${path}.stamp`, 'decimal text of 64 bits', text);
    }
    const stamp = text === undefined ? undefined : BigInt(text as string);
    return { stamp: this.stamped({ value, stamp, seen: store?.newestStamp() }), value };
  }

  #map(given: Given, path: string, map: CrdtMap | undefined): unknown {
    if (choose(given, path, ['update', 'remove']) === 'remove') {
      only(given, path, 'remove');
      checkText(given['remove'], `${path}.remove`);
      return { remove: given['remove'] };
    }
    only(given, path, 'update', 'type', 'operation');
    const { update, type, operation } = given;
    checkText(update, `${path}.update`);
    const tag = typeof type === 'string' ? tagOfType(type) : undefined;
    if (tag === undefined) {
      throw wrong(`${path}.type`, 'a type of docs/CRDT.md, such as `g-counter`', type);
    }
    return { update, type, operation: this.parse(type as TypeName, operation, `${path}.operation`, map?.get(update, tag)) };
  }

  #graph(given: Given, path: string): unknown {
    const part = choose(given, path, ['vertex', 'edge']);
    only(given, path, part);
    const at = `${path}.${part}`;
    const inner = given[part];
    if (!isObject(inner)) throw wrong(at, 'an object', inner);
    if (part === 'vertex') return { vertex: this.#set(inner, at, (vertex, place) => this.source.value(vertex, place)) };
    return { edge: this.#set(inner, at, (edge, place) => this.#edge(edge, place)) };
  }

  #edge(given: unknown, path: string): Edge {
    if (!isObject(given)) throw wrong(path, '{"from": vertex, "to": vertex}', given);
    only(given, path, 'from', 'to');
    for (const end of ['from', 'to']) if (given[end] === undefined) throw wrong(`${path}.${end}`, 'a vertex', undefined);
    return { from: this.#value(given, 'from', path), to: this.#value(given, 'to', path) };
  }

  #sequence(type: 'list' | 'text', given: Given, path: string): unknown {
    const verb = choose(given, path, ['insert', 'delete']);
    only(given, path, verb, 'index');
    const index = count(given['index'], `${path}.index`);
    if (verb === 'delete') return { index, delete: count(given['delete'], `${path}.delete`) };
    const { insert } = given;
    const at = `${path}.insert`;
    if (type === 'text') {
      if (typeof insert !== 'string') throw wrong(at, 'text', insert);
      checkText(insert, at);
      return { index, insert };
    }
    if (!Array.isArray(insert)) throw wrong(at, 'an array of values', insert);
    return { index, insert: insert.map((value, place) => this.source.value(value, `${at}[${place}]`)) };
  }
}

/** Refuses names that nothing reads. */
export function only(given: Given, path: string, ...names: string[]): void {
  const stray = Object.keys(given).find((name) => !names.includes(name));
  if (stray !== undefined) {
    const allowed = names.map((name) => `\`${name}\``).join(', ');
    throw new OperationError('bad-argument', `\`${path}.${stray}\` is not known here; allowed: ${allowed}`);
  }
  const [first] = names;
  if (first !== undefined && given[first] === undefined) {
    throw new OperationError('bad-argument', `\`${path}\`: expected \`${first}\`, found nothing`);
  }
}

function choose(given: Given, path: string, verbs: readonly [string, string]): string {
  const found = verbs.find((verb) => given[verb] !== undefined);
  if (found !== undefined) return found;
  const stray = Object.keys(given)[0];
  const allowed = verbs.map((verb) => `\`${verb}\``).join(' or ');
  throw new OperationError(
    'bad-argument',
    stray === undefined ? `\`${path}\`: expected ${allowed}, found nothing` : `\`${path}.${stray}\` is not known here; allowed: ${allowed}`,
  );
}

function count(given: unknown, path: string): number {
  if (typeof given === 'number' && Number.isSafeInteger(given) && given >= 0) return given;
  throw wrong(path, 'an integer of 0 or more', given);
}
