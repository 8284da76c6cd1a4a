import type { Reader, Writer } from './codec.js';
import { Context, type Interval } from './context.js';
import { compareDots, type Dot, distance, sameDot, STABLE } from './dot.js';
import { DecodeError, OperationError } from './errors.js';
import { decodeRuns, type ElementKind, encodeRuns, NODES_MAX } from './sequence/bytes.js';
import { dotRuns, elementsUnknownTo, fromRuns, joinElements } from './sequence/elements.js';
import { Order } from './sequence/order.js';
import { comparePlaces, type Place, Run } from './sequence/run.js';
import { type Fragment, type Join, type Mint, PlainStore, type Store, type Visit } from './store.js';
import { checkText, checkValue, compareValues, decodeValue, encodeValue, type Value } from './value.js';

/** Deltas with more runs are joined node by node. */
const SMALL_RUNS = 16;
const SMALL_INTERVALS = 64;

/** What a user asks of a list or text. Indexes count visible elements; those of a text, Unicode scalar values. */
export type SequenceOperation<I = readonly Value[] | string> =
  | { readonly index: number; readonly insert: I }
  | { readonly index: number; readonly delete: number };

function count(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new OperationError('bad-argument', `${name}: a whole number, 0 or more`);
}

/** An ordered sequence: FugueMax in runs, `docs/CRDT.md` §4. */
export abstract class Sequence<T> extends PlainStore implements Store {
  #order = new Order<T>();

  constructor(protected readonly kind: ElementKind<T>) {
    super();
  }

  protected abstract empty(): Sequence<T>;

  get tag(): number {
    return this.kind.tag;
  }

  /** Visible elements. */
  get length(): number {
    return this.#order.list.visible;
  }

  /** Nodes that are kept, tombstones included. */
  get nodes(): number {
    return this.#order.nodes;
  }

  isBottom(): boolean {
    return this.#order.nodes === 0;
  }

  /** Visible elements in order. */
  values(): T[] {
    const values: T[] = [];
    for (const run of this.#order.list) for (const value of run.values) values.push(value);
    return values;
  }

  read(): unknown {
    return this.kind.read(this.values());
  }

  /** Dot of the visible element at the index: an anchor that stays with the element. */
  anchor(index: number): Dot | undefined {
    return this.#order.anchor(index);
  }

  /** Where the anchor is now, counted in visible elements; for a deleted element, where it was. */
  indexOf(anchor: Dot): number | undefined {
    return this.#order.indexOf(anchor);
  }

  /** Dots of visible elements. */
  nodesAt(index: number, length: number): readonly Interval[] {
    return this.#order.visibleNodes(index, index + length).intervals;
  }

  isVisible(dot: Dot): boolean {
    return this.#order.locate(dot)?.run.isAlive === true;
  }

  /** Index and count of the ranges of visible elements whose dots are in the context, ascending. */
  visibleRanges(nodes: Context): [number, number][] {
    const ranges: [number, number][] = [];
    let before = 0;
    for (const run of this.#order.list) {
      const found = run.isAlive ? Context.from(run.interval).intersection(nodes).intervals : [];
      for (const { first, last } of found) {
        const start = before + distance(run.first, first);
        const count = distance(first, last) + 1;
        const previous = ranges.at(-1);
        if (previous !== undefined && previous[0] + previous[1] === start) previous[1] += count;
        else ranges.push([start, count]);
      }
      before += run.visible;
    }
    return ranges;
  }

  visit(_guide: Store | undefined, visit: Visit): void {
    for (const run of this.#order.runs.values()) visit(run.interval);
  }

  override visitDeletions(visit: Visit): void {
    for (const { deletedBy } of this.#order.runs.values()) {
      if (deletedBy !== undefined && !sameDot(deletedBy, STABLE)) visit({ first: deletedBy, last: deletedBy });
    }
  }

  override visitIncomplete(visit: Visit): void {
    for (const run of this.#order.runs.values()) if (run.place === undefined) visit(run.interval);
  }

  override visitRaised(visit: Visit): void {
    for (const { place, first } of this.#order.runs.values()) {
      if (place !== undefined && place.level > 0) visit({ first, last: first });
    }
  }

  join(theirs: Store, join: Join): void {
    const other = (theirs as Sequence<T>).#order;
    if (this.#joinSmall(other, join)) return;
    const compare = (a: T, b: T): number => this.kind.compare(a, b);
    this.#order = joinElements(this.#order, other, join, compare);
  }

  sweep(theirs: Store | undefined, join: Join): void {
    if (theirs === undefined) this.join(this.empty(), join);
  }

  /** The parts of runs that have dots in the interval. */
  *#overlapping({ first, last }: Interval): IterableIterator<{ run: Run<T>; from: Dot; to: Dot }> {
    const runs = this.#order.runs.values();
    // The run before may reach into the interval.
    for (let at = Math.max(0, this.#order.runs.lowerBound(first) - 1); at < runs.length; at += 1) {
      const run = runs[at] as Run<T>;
      if (compareDots(run.first, last) > 0) break;
      const from = compareDots(run.first, first) > 0 ? run.first : first;
      const to = compareDots(run.last, last) < 0 ? run.last : last;
      if (compareDots(from, to) <= 0) yield { run, from, to };
    }
  }

  /** How many nodes have dots in the context. */
  #nodesIn(context: Context): number {
    let count = 0;
    for (const interval of context.intervals) {
      for (const { from, to } of this.#overlapping(interval)) count += distance(from, to) + 1;
    }
    return count;
  }

  /** Whether a run's nodes, which are all here, are where it says and what it says; of deletions it may not say where. */
  #agrees(run: Run<T>): boolean {
    for (const { run: mine, from, to } of this.#overlapping(run.interval)) {
      const [here, there] = [distance(mine.first, from), distance(run.first, from)];
      if (run.place !== undefined && comparePlaces(mine.placeAt(here), run.placeAt(there)) !== 0) return false;
      if (!run.isAlive || !mine.isAlive) continue;
      for (let at = 0; at <= distance(from, to); at += 1) {
        if (this.kind.compare(mine.values[here + at] as T, run.values[there + at] as T) !== 0) return false;
      }
    }
    return true;
  }

  /** Joins a small delta in place. False: nothing was changed, the general way has to be taken. */
  #joinSmall(theirs: Order<T>, join: Join): boolean {
    const mine = this.#order;
    if (theirs.runs.size > SMALL_RUNS || join.theirs.intervals.length > SMALL_INTERVALS) return false;
    let common = 0;
    const fresh: Run<T>[] = [];
    for (const run of theirs.runs.values()) {
      const nodes = Context.from(run.interval);
      if (mine.locate(run.first) !== undefined) {
        // Nodes that are all here: known already, or deleted by this.
        if (this.#nodesIn(nodes) !== run.length || !this.#agrees(run)) return false;
        common += run.length;
      } else {
        if (join.mine.overlap(nodes) !== 0n || run.place === undefined || mine.dangling > 0) return false;
        fresh.push(run);
      }
    }
    if (this.#nodesIn(join.theirs) !== common) return false;
    // Places within the delta itself go the general way, but for the runs that follow each other.
    const known = (dot: Dot | undefined): boolean => dot === undefined || mine.locate(dot) !== undefined;
    if (!fresh.every((run) => known(run.place?.parent) && known(run.place?.rightOrigin))) return false;
    for (const run of fresh) mine.placeRun(run.clone());
    join.changed ||= fresh.length > 0;
    for (const run of theirs.runs.values()) {
      if (run.deletedBy !== undefined && mine.deleteRange(run.interval, run.deletedBy)) join.changed = true;
    }
    return true;
  }

  unknownTo(context: Context): Store {
    const unknown = this.empty();
    unknown.#order = elementsUnknownTo(this.#order, context);
    return unknown;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const given = Object(operation) as { index?: unknown; insert?: unknown; delete?: unknown };
    const index = count(given.index, 'index');
    if ((given.insert === undefined) === (given.delete === undefined)) {
      throw new OperationError('bad-argument', 'a sequence takes {index, insert: elements} or {index, delete: count}');
    }
    return given.insert === undefined
      ? this.#prepareDelete(index, count(given.delete, 'delete'), mint)
      : this.#prepareInsert(index, this.kind.parse(given.insert), mint);
  }

  #prepareInsert(index: number, values: T[], mint: Mint): Fragment | undefined {
    if (values.length === 0) return undefined;
    this.#checkIndex(index);
    if (this.nodes + values.length > NODES_MAX) {
      throw new OperationError('limit', `nodes of a sequence would exceed its bound of ${NODES_MAX}`);
    }
    const first = mint.dots(values.length);
    const place: Place = this.#order.placeBefore(index, first);
    const run = Run.alive(first, place, values);
    return { store: this.#of([run]), context: Context.from(run.interval) };
  }

  #prepareDelete(index: number, length: number, mint: Mint): Fragment | undefined {
    if (length === 0) return undefined;
    this.#checkIndex(index + length);
    const context = this.#order.visibleNodes(index, index + length);
    const by = mint.dot();
    const runs = context.intervals.map(({ first, last }) =>
      Run.deleted<T>(first, undefined, distance(first, last) + 1, by),
    );
    context.insert(by);
    return { store: this.#of(runs), context };
  }

  #checkIndex(index: number): void {
    if (index > this.length) {
      throw new OperationError('out-of-range', `index ${index} is beyond the length ${this.length}`);
    }
  }

  #of(runs: Run<T>[]): Sequence<T> {
    const sequence = this.empty();
    sequence.#order = fromRuns(runs);
    return sequence;
  }

  /** The same nodes, ordered anew: what incremental changes have to equal. For tests. */
  rebuilt(): Sequence<T> {
    return this.#of(dotRuns(this.#order));
  }

  encodeBody(context: Context, to: Writer): void {
    encodeRuns(this.#order, this.kind, context, to);
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    this.#order = decodeRuns(from, this.kind, context);
  }
}

const VALUES: ElementKind<Value> = {
  tag: 13,
  compare: compareValues,
  encodeRun: (values, to) => values.forEach((value) => encodeValue(value, to)),
  decodeRun(length, from) {
    const values: Value[] = [];
    for (let index = 0; index < length; index += 1) values.push(decodeValue(from));
    return values;
  },
  parse(insert) {
    if (!Array.isArray(insert)) throw new OperationError('bad-argument', 'insert: a list of values');
    insert.forEach((value, index) => checkValue(value, `insert[${index}]`));
    return (insert as Value[]).slice();
  },
  read: (values) => [...values],
};

const SCALARS: ElementKind<string> = {
  tag: 14,
  compare: compareValues,
  encodeRun: (values, to) => to.text(values.join('')),
  decodeRun(length, from) {
    const values = Array.from(from.text('run'));
    if (values.length !== length) throw DecodeError.notCanonical('run');
    return values;
  },
  parse(insert) {
    checkText(insert, 'insert');
    return Array.from(insert);
  },
  read: (values) => values.join(''),
};

/** A list of values. */
export class List extends Sequence<Value> {
  constructor() {
    super(VALUES);
  }

  protected empty(): List {
    return new List();
  }
}

/** A list of Unicode scalar values. */
export class Text extends Sequence<string> {
  constructor() {
    super(SCALARS);
  }

  protected empty(): Text {
    return new Text();
  }
}
