import type { Interval } from '../context.js';
import { compareDots, type Dot, dotAfter, sameDot } from '../dot.js';
import type { Chunk } from './run-list.js';

/** Where a node is in the tree. It never changes but for being raised over collected tombstones. */
export interface Place {
  /** How many collected ancestors the node was raised over. A join takes the larger level. */
  readonly level: number;
  /** What siblings are ordered by: the node's dot, or that of the topmost ancestor it was raised over. */
  readonly key: Dot;
  /** None is the root. */
  readonly parent: Dot | undefined;
  /** Whether it is a left child. */
  readonly left: boolean;
  /** For a right child, the node that was to its right; none is the end. */
  readonly rightOrigin: Dot | undefined;
}

function compareOptional(a: Dot | undefined, b: Dot | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return compareDots(a, b);
}

/** Higher level first of all; the rest only settles what a faulty peer says. */
export function comparePlaces(a: Place | undefined, b: Place | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return a.level - b.level || compareDots(a.key, b.key) || compareOptional(a.parent, b.parent) ||
    Number(a.left) - Number(b.left) || compareOptional(a.rightOrigin, b.rightOrigin);
}

/** Right origin of a right child typed directly after a node in this place. */
function followsWith(place: Place): Dot | undefined {
  return place.left ? place.parent : place.rightOrigin;
}

/** Place of the node after `before`, where the right origin follows. */
function following(before: Dot, rightOrigin: Dot | undefined): Place {
  return { level: 0, key: dotAfter(before, 1), parent: before, left: false, rightOrigin };
}

/**
 * Nodes with consecutive dots, each the right child of the one before: elements, or tombstones of one deletion. Without a
 * place: deletions that arrived before what they delete; those nodes are children of the root for the time being.
 */
export class Run<T> {
  /** Chunk of the list that has it, once it is in one. */
  chunk: Chunk<T> | undefined;

  private constructor(
    readonly first: Dot,
    readonly place: Place | undefined,
    /** Elements; none when deleted. */
    public values: T[],
    public length: number,
    /** Dot of the deletion. */
    public deletedBy: Dot | undefined,
  ) {}

  static alive<T>(first: Dot, place: Place | undefined, values: T[]): Run<T> {
    return new Run(first, place, values, values.length, undefined);
  }

  static deleted<T>(first: Dot, place: Place | undefined, count: number, by: Dot): Run<T> {
    return new Run<T>(first, place, [], count, by);
  }

  clone(): Run<T> {
    return new Run(this.first, this.place, this.values.slice(), this.length, this.deletedBy);
  }

  get isAlive(): boolean {
    return this.deletedBy === undefined;
  }

  /** How many elements are visible. */
  get visible(): number {
    return this.values.length;
  }

  get last(): Dot {
    return dotAfter(this.first, this.length - 1);
  }

  get interval(): Interval {
    return { first: this.first, last: this.last };
  }

  /** Place of the node at an offset. */
  placeAt(offset: number): Place | undefined {
    if (this.place === undefined || offset === 0) return this.place;
    return following(dotAfter(this.first, offset - 1), followsWith(this.place));
  }

  /** Whether the other run can go on where this one ends. */
  canJoin(next: Run<T>): boolean {
    const { last } = this;
    if (!sameDot(next.first, dotAfter(last, 1)) || !sameDot(this.deletedBy, next.deletedBy)) return false;
    if (this.place === undefined || next.place === undefined) return this.place === next.place;
    return comparePlaces(next.place, following(last, followsWith(this.place))) === 0;
  }

  /** Appends a run for which `canJoin` holds. */
  append(next: Run<T>): void {
    for (const value of next.values) this.values.push(value);
    this.length += next.length;
  }

  /** Cuts off the nodes from an offset on, which is neither 0 nor the length. */
  splitOff(offset: number): Run<T> {
    const values = this.values.splice(Math.min(offset, this.values.length));
    const rest = new Run(
      dotAfter(this.first, offset), this.placeAt(offset), values, this.length - offset, this.deletedBy,
    );
    this.length = offset;
    return rest;
  }

  /** Turns all its nodes into tombstones; of two deletions the smaller dot stays. Says whether anything changed. */
  delete(by: Dot): boolean {
    if (this.deletedBy !== undefined && compareDots(by, this.deletedBy) >= 0) return false;
    this.values = [];
    this.deletedBy = by;
    return true;
  }
}
