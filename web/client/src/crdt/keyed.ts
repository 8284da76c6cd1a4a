import type { Reader, Writer } from './codec.js';
import { Context } from './context.js';
import { decodeDot, encodeDot } from './context-bytes.js';
import { compareDots, type Dot, sameDot } from './dot.js';
import { DecodeError } from './errors.js';
import { OrderedMap } from './ordered.js';
import type { Join, Visit } from './store.js';

/** How an element of a set is compared and written. */
export interface KeyKind<K> {
  compare(a: K, b: K): number;
  encode(key: K, to: Writer): void;
  decode(from: Reader): K;
  /** Refuses what is no key. */
  check(key: unknown): asserts key is K;
}

/** Key to dots, both ascending. Invariants: no key without dots; lists of dots are never changed in place. */
export class Keyed<K> {
  readonly #dots: OrderedMap<K, readonly Dot[]>;

  constructor(readonly kind: KeyKind<K>) {
    this.#dots = new OrderedMap((a, b) => kind.compare(a, b));
  }

  get isEmpty(): boolean {
    return this.#dots.size === 0;
  }

  has(key: K): boolean {
    return this.#dots.has(key);
  }

  keys(): readonly K[] {
    return this.#dots.keys();
  }

  observed(key: K): readonly Dot[] {
    return this.#dots.get(key) ?? [];
  }

  put(key: K, dots: readonly Dot[]): void {
    if (dots.length === 0) this.#dots.delete(key);
    else this.#dots.set(key, dots);
  }

  visit(guide: Keyed<K> | undefined, visit: Visit): void {
    const lists = guide === undefined ? this.#dots.values() : guide.keys().map((key) => this.observed(key));
    for (const dots of lists) for (const dot of dots) visit({ first: dot, last: dot });
  }

  join(theirs: Keyed<K>, join: Join): void {
    for (const [key, others] of theirs.#dots.entries()) {
      const mine = this.observed(key);
      const kept = mine.filter((dot) => others.some((other) => sameDot(other, dot)) || !join.theirs.contains(dot));
      join.dropped += mine.length - kept.length;
      const fresh = others.filter((dot) => !join.mine.contains(dot));
      join.changed ||= fresh.length > 0 || kept.length < mine.length;
      this.put(key, fresh.length === 0 ? kept : [...kept, ...fresh].sort(compareDots));
    }
  }

  sweep(theirs: Keyed<K> | undefined, join: Join): void {
    const changed: [K, readonly Dot[]][] = [];
    for (const [key, dots] of this.#dots.entries()) {
      if (theirs?.has(key) === true) continue;
      const kept = dots.filter((dot) => !join.theirs.contains(dot));
      if (kept.length === dots.length) continue;
      join.dropped += dots.length - kept.length;
      join.changed = true;
      changed.push([key, kept]);
    }
    for (const [key, dots] of changed) this.put(key, dots);
  }

  /** Adds to `to` the entries that the context lacks. */
  unknownTo(context: Context, to: Keyed<K>): void {
    for (const [key, dots] of this.#dots.entries()) to.put(key, dots.filter((dot) => !context.contains(dot)));
  }

  encodeBody(context: Context, to: Writer): void {
    for (const [key, dots] of this.#dots.entries()) {
      this.kind.encode(key, to);
      to.varint(dots.length);
      for (const dot of dots) encodeDot(context, dot, false, to);
    }
  }

  decodeBody(from: Reader, context: Context): void {
    let last: { key: K } | undefined;
    while (!from.isEmpty) {
      const key = this.kind.decode(from);
      const count = from.varint('dots');
      const dots: Dot[] = [];
      for (let index = 0; index < count; index += 1) {
        const { dot, bit } = decodeDot(context, from);
        const before = dots.at(-1);
        if (bit || (before !== undefined && compareDots(before, dot) >= 0)) throw DecodeError.notCanonical('element');
        dots.push(dot);
      }
      if (count === 0 || (last !== undefined && this.kind.compare(last.key, key) >= 0)) {
        throw DecodeError.notCanonical('element');
      }
      last = { key };
      this.put(key, dots);
    }
  }
}
