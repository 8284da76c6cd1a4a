import type { Reader, Writer } from './codec.js';
import { Context } from './context.js';
import { decodeDot, encodeDot } from './context-bytes.js';
import { compareDots, type Dot, sameDot } from './dot.js';
import { DecodeError } from './errors.js';
import { partitionPoint } from './ordered.js';
import { type Fragment, type Join, type Mint, PlainStore, type Store, type Visit } from './store.js';

/** Payloads never change; which of two counts matters only when a faulty peer says otherwise. */
export interface Entry<T> {
  readonly dot: Dot;
  readonly payload: T;
}

/** Dots with payloads: counters, registers and flags. */
export abstract class DotFun<T> extends PlainStore implements Store {
  abstract readonly tag: number;
  /** By dot, ascending. */
  entries: Entry<T>[] = [];

  protected abstract empty(): DotFun<T>;
  protected abstract compare(a: T, b: T): number;
  protected abstract encodePayload(payload: T, to: Writer): void;
  protected abstract decodePayload(bit: boolean, from: Reader): T;
  abstract prepare(operation: unknown, mint: Mint): Fragment | undefined;
  abstract read(): unknown;

  /** Carried in the dot reference. */
  protected bit(_payload: T): boolean {
    return false;
  }

  isBottom(): boolean {
    return this.entries.length === 0;
  }

  #get(dot: Dot): Entry<T> | undefined {
    const entry = this.entries[this.#lowerBound(dot)];
    return entry !== undefined && sameDot(entry.dot, dot) ? entry : undefined;
  }

  #lowerBound(dot: Dot): number {
    return partitionPoint(this.entries, (entry) => compareDots(entry.dot, dot) < 0);
  }

  visit(_guide: Store | undefined, visit: Visit): void {
    for (const { dot } of this.entries) visit({ first: dot, last: dot });
  }

  join(theirs: Store, join: Join): void {
    const other = theirs as DotFun<T>;
    const kept: Entry<T>[] = [];
    for (const entry of this.entries) {
      const same = other.#get(entry.dot);
      if (same !== undefined) kept.push(this.compare(entry.payload, same.payload) < 0 ? same : entry);
      else if (!join.theirs.contains(entry.dot)) kept.push(entry);
    }
    join.dropped += this.entries.length - kept.length;
    join.changed ||= kept.length < this.entries.length;
    this.entries = kept;
    for (const entry of other.entries) {
      if (join.mine.contains(entry.dot)) continue;
      this.entries.splice(this.#lowerBound(entry.dot), 0, entry);
      join.changed = true;
    }
  }

  sweep(theirs: Store | undefined, join: Join): void {
    if (theirs === undefined) this.join(this.empty(), join);
  }

  unknownTo(context: Context): Store {
    const unknown = this.empty();
    unknown.entries = this.entries.filter((entry) => !context.contains(entry.dot));
    return unknown;
  }

  /** A new entry that takes the place of those that it observed. */
  protected write(observed: readonly Entry<T>[], payload: T, mint: Mint): Fragment {
    const dot = mint.dot();
    const store = this.empty();
    store.entries.push({ dot, payload });
    return { store, context: Context.of(...observed.map((entry) => entry.dot), dot) };
  }

  encodeBody(context: Context, to: Writer): void {
    for (const { dot, payload } of this.entries) {
      encodeDot(context, dot, this.bit(payload), to);
      this.encodePayload(payload, to);
    }
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    let last: Dot | undefined;
    while (!from.isEmpty) {
      const { dot, bit } = decodeDot(context, from);
      const payload = this.decodePayload(bit, from);
      if (this.bit(payload) !== bit || (last !== undefined && compareDots(last, dot) >= 0)) {
        throw DecodeError.notCanonical('entry');
      }
      this.entries.push({ dot, payload });
      last = dot;
    }
  }
}
