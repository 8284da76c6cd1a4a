import type { Reader, Writer } from '../codec.js';
import type { Context } from '../context.js';
import { decodeDot, encodeDot } from '../context-bytes.js';
import { compareDots, type Dot, sameDot, STABLE } from '../dot.js';
import { DecodeError } from '../errors.js';
import { dotRuns, fromRuns } from './elements.js';
import type { Order } from './order.js';
import { type Place, Run } from './run.js';

/** Nodes of one sequence, tombstones included. */
export const NODES_MAX = 2 ** 20;

const FIELD = 'run';
const FLAG_VALUES = 64;
const DELETED = 1;
const PLACED = 2;
const LEFT = 4;
const PARENT = 8;
const ORIGIN = 16;
const RAISED = 32;

/** How the elements of a sequence are compared, written and given. */
export interface ElementKind<T> {
  readonly tag: number;
  compare(a: T, b: T): number;
  encodeRun(values: readonly T[], to: Writer): void;
  decodeRun(count: number, from: Reader): T[];
  /** The elements of an insertion. */
  parse(insert: unknown): T[];
  read(values: readonly T[]): unknown;
}

export function encodeRuns<T>(order: Order<T>, kind: ElementKind<T>, context: Context, to: Writer): void {
  for (const run of dotRuns(order)) encodeRun(run, kind, context, to);
}

function encodeRun<T>(run: Run<T>, kind: ElementKind<T>, context: Context, to: Writer): void {
  encodeDot(context, run.first, false, to);
  const { place } = run;
  let flags = run.isAlive ? 0 : DELETED;
  if (place !== undefined) {
    flags |= PLACED | (place.left ? LEFT : 0) | (place.parent === undefined ? 0 : PARENT) |
      (place.rightOrigin === undefined ? 0 : ORIGIN) | (place.level > 0 ? RAISED : 0);
  }
  to.varint(run.length * FLAG_VALUES + flags);
  if (place !== undefined) {
    if (place.level > 0) {
      to.varint(place.level);
      to.plainDot(place.key);
    }
    if (place.parent !== undefined) to.plainDot(place.parent);
    if (place.rightOrigin !== undefined) to.plainDot(place.rightOrigin);
  }
  if (run.deletedBy === undefined) kind.encodeRun(run.values, to);
  else to.plainDot(run.deletedBy);
}

export function decodeRuns<T>(from: Reader, kind: ElementKind<T>, context: Context): Order<T> {
  const runs: Run<T>[] = [];
  let nodes = 0;
  while (!from.isEmpty) {
    const run = decodeRun(from, kind, context);
    nodes += run.length;
    if (nodes > NODES_MAX) throw DecodeError.limit(FIELD, NODES_MAX);
    const before = runs.at(-1);
    if (before !== undefined && (compareDots(before.last, run.first) >= 0 || before.canJoin(run))) {
      throw DecodeError.notCanonical(FIELD);
    }
    runs.push(run);
  }
  return fromRuns(runs);
}

function decodePlace(first: Dot, flags: number, from: Reader): Place | undefined {
  if ((flags & PLACED) === 0) {
    if ((flags & DELETED) === 0 || (flags & (LEFT | PARENT | ORIGIN | RAISED)) !== 0) throw DecodeError.notCanonical(FIELD);
    return undefined;
  }
  let level = 0;
  let key = first;
  if ((flags & RAISED) !== 0) {
    level = from.varint(FIELD);
    key = from.plainDot(FIELD);
    if (level === 0) throw DecodeError.notCanonical(FIELD);
  }
  const parent = (flags & PARENT) === 0 ? undefined : from.plainDot(FIELD);
  const rightOrigin = (flags & ORIGIN) === 0 ? undefined : from.plainDot(FIELD);
  const left = (flags & LEFT) !== 0;
  if (left && rightOrigin !== undefined) throw DecodeError.notCanonical(FIELD);
  return { level, key, parent, left, rightOrigin };
}

function decodeRun<T>(from: Reader, kind: ElementKind<T>, context: Context): Run<T> {
  const { dot: first, bit } = decodeDot(context, from);
  const head = from.varint(FIELD);
  const count = Math.floor(head / FLAG_VALUES);
  const flags = head % FLAG_VALUES;
  const place = decodePlace(first, flags, from);
  if (bit || count === 0 || count > NODES_MAX) throw DecodeError.notCanonical(FIELD);
  let run: Run<T>;
  if ((flags & DELETED) === 0) {
    run = Run.alive(first, place, kind.decodeRun(count, from));
  } else {
    const by = from.plainDot(FIELD);
    if (!sameDot(by, STABLE) && !context.contains(by)) throw DecodeError.unknownDot(FIELD);
    run = Run.deleted(first, place, count, by);
  }
  const end = context.find(run.last);
  if (end === undefined || end.index !== context.find(first)?.index) throw DecodeError.unknownDot(FIELD);
  return run;
}
