import {
  compareDots, type Dot, dotAfter, dotBefore, exactDistance, INCARNATION_MAX, type Replica, sameDot, SEQUENCE_MAX,
} from './dot.js';
import { partitionPoint } from './ordered.js';

/** Dots of one slot from `first` to `last`, both included. */
export interface Interval {
  readonly first: Dot;
  readonly last: Dot;
}

export function compareIntervals(a: Interval, b: Interval): number {
  return compareDots(a.first, b.first) || compareDots(a.last, b.last);
}

function smaller(a: Dot, b: Dot): Dot {
  return compareDots(a, b) <= 0 ? a : b;
}

function larger(a: Dot, b: Dot): Dot {
  return compareDots(a, b) >= 0 ? a : b;
}

function touches(last: Dot, first: Dot): boolean {
  return last.slot === first.slot && compareDots(first, dotAfter(last, 1)) <= 0;
}

/** A set of dots. Invariant: intervals ascend, are disjoint, and adjacent ones are merged, so equal sets are equal values. */
export class Context {
  #intervals: Interval[] = [];

  static of(...dots: readonly Dot[]): Context {
    const context = new Context();
    for (const dot of dots) context.insert(dot);
    return context;
  }

  static from(interval: Interval): Context {
    const context = new Context();
    context.#intervals.push(interval);
    return context;
  }

  /** From intervals in any order. */
  static collect(intervals: Interval[]): Context {
    const context = new Context();
    for (const interval of intervals.sort(compareIntervals)) context.push(interval);
    return context;
  }

  get isEmpty(): boolean {
    return this.#intervals.length === 0;
  }

  get intervals(): readonly Interval[] {
    return this.#intervals;
  }

  clone(): Context {
    const copy = new Context();
    copy.#intervals = this.#intervals.slice();
    return copy;
  }

  /** Index of the first interval that ends at or after the dot. */
  #position(dot: Dot): number {
    return partitionPoint(this.#intervals, (interval) => compareDots(interval.last, dot) < 0);
  }

  contains(dot: Dot): boolean {
    return this.find(dot) !== undefined;
  }

  /** Index of the interval that has the dot, and the interval. */
  find(dot: Dot): { index: number; interval: Interval } | undefined {
    const index = this.#position(dot);
    const interval = this.#intervals[index];
    if (interval === undefined || compareDots(interval.first, dot) > 0) return undefined;
    return { index, interval };
  }

  insert(dot: Dot): void {
    if (!this.contains(dot)) this.insertInterval({ first: dot, last: dot });
  }

  insertInterval(added: Interval): void {
    const start = this.#position(dotBefore(added.first));
    let { first, last } = added;
    let end = start;
    for (let next = this.#intervals[end]; next !== undefined && touches(last, next.first); next = this.#intervals[end]) {
      first = smaller(first, next.first);
      last = larger(last, next.last);
      end += 1;
    }
    this.#intervals.splice(start, end - start, { first, last });
  }

  /** Adds every dot of the other set. */
  join(other: Context): void {
    if (other.#intervals.length <= 4) {
      for (const interval of other.#intervals) this.insertInterval(interval);
      return;
    }
    const mine = this.#intervals;
    const theirs = other.#intervals;
    this.#intervals = [];
    for (let left = 0, right = 0; left < mine.length || right < theirs.length; ) {
      const a = mine[left];
      const b = theirs[right];
      if (b === undefined || (a !== undefined && compareIntervals(a, b) <= 0)) {
        this.push(a as Interval);
        left += 1;
      } else {
        this.push(b);
        right += 1;
      }
    }
  }

  /** Appends an interval that does not begin before the last one; merges where they touch. */
  push(next: Interval): void {
    const at = this.#intervals.length - 1;
    const last = this.#intervals[at];
    if (last !== undefined && touches(last.last, next.first)) {
      this.#intervals[at] = { first: last.first, last: larger(last.last, next.last) };
    } else {
      this.#intervals.push(next);
    }
  }

  *#overlaps(other: Context): IterableIterator<Interval> {
    for (const a of this.#intervals) {
      for (let at = other.#position(a.first); at < other.#intervals.length; at += 1) {
        const b = other.#intervals[at] as Interval;
        if (b.first.slot !== a.first.slot || compareDots(b.first, a.last) > 0) break;
        yield { first: larger(a.first, b.first), last: smaller(a.last, b.last) };
      }
    }
  }

  /** Dots in both. */
  intersection(other: Context): Context {
    const both = new Context();
    for (const interval of this.#overlaps(other)) both.push(interval);
    return both;
  }

  /** How many dots are in both; retired ranges make that larger than a double. */
  overlap(other: Context): bigint {
    let count = 0n;
    for (const { first, last } of other.#overlaps(this)) count += exactDistance(first, last) + 1n;
    return count;
  }

  /** Dots that are here and not in the other. */
  difference(other: Context): Context {
    const rest = new Context();
    for (const a of this.#intervals) {
      let from: Dot | undefined = a.first;
      for (let at = other.#position(a.first); from !== undefined && at < other.#intervals.length; at += 1) {
        const b = other.#intervals[at] as Interval;
        if (b.first.slot !== a.first.slot || compareDots(b.first, a.last) > 0) break;
        if (compareDots(b.first, from) > 0) rest.push({ first: from, last: dotBefore(b.first) });
        from = compareDots(b.last, a.last) < 0 ? dotAfter(b.last, 1) : undefined;
      }
      if (from !== undefined) rest.push({ first: from, last: a.last });
    }
    return rest;
  }

  /** Whether every dot is in the other. */
  isSubset(other: Context): boolean {
    return this.#intervals.every((a) => {
      const found = other.find(a.first);
      return found !== undefined && compareDots(a.last, found.interval.last) <= 0;
    });
  }

  equals(other: Context): boolean {
    return this.compare(other) === 0;
  }

  /** Lexicographically by intervals. */
  compare(other: Context): number {
    const length = Math.min(this.#intervals.length, other.#intervals.length);
    for (let at = 0; at < length; at += 1) {
      const order = compareIntervals(this.#intervals[at] as Interval, other.#intervals[at] as Interval);
      if (order !== 0) return order;
    }
    return this.#intervals.length - other.#intervals.length;
  }

  /** The replica's last dot that is here; the dot before its first when there is none. */
  lastOf(replica: Replica): Dot {
    const { slot, incarnation } = replica;
    const end: Dot = { slot, incarnation, sequence: SEQUENCE_MAX };
    const base: Dot = { slot, incarnation, sequence: 0 };
    const after = partitionPoint(this.#intervals, (interval) => compareDots(interval.first, end) <= 0);
    const last = this.#intervals[after - 1]?.last;
    if (last === undefined || last.slot !== slot) return base;
    return smaller(larger(last, base), end);
  }

  /** Fills the dots that this and earlier incarnations of the slot never made. */
  retire(replica: Replica): void {
    const { slot, incarnation } = replica;
    // Up to the counter before the first dot of the next incarnation, so that the two intervals touch.
    const last: Dot = incarnation === INCARNATION_MAX
      ? { slot, incarnation, sequence: SEQUENCE_MAX }
      : { slot, incarnation: incarnation + 1, sequence: 0 };
    this.insertInterval({ first: { slot, incarnation: 0, sequence: 0 }, last });
  }

  isRetired(replica: Replica): boolean {
    return this.contains({ slot: replica.slot, incarnation: replica.incarnation, sequence: SEQUENCE_MAX });
  }
}

/** Whether an interval is one dot. */
export function isSingle(interval: Interval): boolean {
  return sameDot(interval.first, interval.last);
}
