import type { Reader, Writer } from './codec.js';
import { Context, type Interval, isSingle } from './context.js';
import { compareDots, type Dot, dotAfter, isDotParts } from './dot.js';
import { DecodeError } from './errors.js';

const FIELD = 'context';
const bad = (): DecodeError => DecodeError.notCanonical(FIELD);

function isOneIncarnation(group: readonly Interval[]): boolean {
  const incarnation = group[0]?.first.incarnation;
  return group.every((i) => i.first.incarnation === incarnation && i.last.incarnation === incarnation);
}

/** Appends the encoding of `docs/CRDT.md` §9. */
export function encodeContext(context: Context, to: Writer): void {
  const groups: Interval[][] = [];
  for (const interval of context.intervals) {
    const group = groups.at(-1);
    if (group?.[0]?.first.slot === interval.first.slot) group.push(interval);
    else groups.push([interval]);
  }
  to.varint(groups.length);
  let nextSlot = 0;
  for (const group of groups) {
    const { slot, incarnation } = (group[0] as Interval).first;
    const many = !isOneIncarnation(group);
    // A slot has 16 bits: shifts of the gap stay within 32.
    to.varint(((slot - nextSlot) << 3) | (many ? 4 : 0) | Math.min(group.length - 1, 3));
    nextSlot = slot + 1;
    if (group.length >= 4) to.varint(group.length - 4);
    if (many) encodeMany(group, to);
    else encodeSingle(incarnation, group, to);
  }
}

function encodeSingle(incarnation: number, group: readonly Interval[], to: Writer): void {
  to.varint(incarnation);
  let previous: Dot | undefined;
  for (const { first, last } of group) {
    const z = previous === undefined ? first.sequence : first.sequence - previous.sequence - 2;
    const more = last.sequence - first.sequence;
    to.varint(z * 2 + (more > 0 ? 1 : 0));
    if (more > 0) to.varint(more - 1);
    previous = last;
  }
}

function encodeMany(group: readonly Interval[], to: Writer): void {
  let previous: Dot | undefined;
  for (const interval of group) {
    const { first, last } = interval;
    const previousIncarnation = previous?.incarnation ?? 0;
    to.varint(first.incarnation - previousIncarnation);
    const continues = previous !== undefined && first.incarnation === previousIncarnation;
    const z = continues ? first.sequence - (previous as Dot).sequence - 2 : first.sequence;
    const long = !isSingle(interval);
    to.varint(z * 2 + (long ? 1 : 0));
    if (long) {
      to.varint(last.incarnation - first.incarnation);
      to.varint(last.incarnation === first.incarnation ? last.sequence - first.sequence - 1 : last.sequence);
    }
    previous = last;
  }
}

/** Reads what `encodeContext` wrote. */
export function decodeContext(from: Reader): Context {
  const slots = from.varint(FIELD);
  const context = new Context();
  let nextSlot = 0;
  for (let index = 0; index < slots; index += 1) {
    const head = from.varint(FIELD);
    const slot = nextSlot + Math.floor(head / 8);
    if (!isDotParts(slot, 0, 0)) throw bad();
    nextSlot = slot + 1;
    let count = (head % 4) + 1;
    if (count === 4) count += from.varint(FIELD);
    if (head % 8 < 4) {
      decodeSingle(slot, count, context, from);
    } else {
      const start = context.intervals.length;
      decodeMany(slot, count, context, from);
      if (isOneIncarnation(context.intervals.slice(start))) throw bad();
    }
  }
  return context;
}

function dot(slot: number, incarnation: number, sequence: number): Dot {
  if (!isDotParts(slot, incarnation, sequence)) throw bad();
  return { slot, incarnation, sequence };
}

function decodeSingle(slot: number, count: number, to: Context, from: Reader): void {
  const incarnation = from.varint(FIELD);
  let next = 0;
  for (let index = 0; index < count; index += 1) {
    const head = from.varint(FIELD);
    const sequence = next + Math.floor(head / 2);
    const more = head % 2 === 1 ? from.varint(FIELD) + 1 : 0;
    const first = dot(slot, incarnation, sequence);
    to.push({ first, last: dot(slot, incarnation, sequence + more) });
    next = sequence + more + 2;
  }
}

function decodeMany(slot: number, count: number, to: Context, from: Reader): void {
  let previous: Dot | undefined;
  for (let index = 0; index < count; index += 1) {
    const incarnation = (previous?.incarnation ?? 0) + from.varint(FIELD);
    const head = from.varint(FIELD);
    const continues = previous !== undefined && incarnation === previous.incarnation;
    const z = Math.floor(head / 2);
    const first = dot(slot, incarnation, continues ? (previous as Dot).sequence + 2 + z : z);
    if (previous !== undefined && compareDots(first, dotAfter(previous, 2)) < 0) throw bad();
    let last = first;
    if (head % 2 === 1) {
      const more = from.varint(FIELD);
      const sequence = from.varint(FIELD);
      last = more === 0
        ? dot(slot, incarnation, first.sequence + sequence + 1)
        : dot(slot, incarnation + more, sequence);
    }
    to.push({ first, last });
    previous = last;
  }
}

/** Appends a reference to a dot of the context, with a bit. The dot has to be there. */
export function encodeDot(context: Context, of: Dot, bit: boolean, to: Writer): void {
  const found = context.find(of);
  if (found === undefined) throw new RangeError('a dot of the store is not in its context');
  const { index, interval } = found;
  to.varint(index * 2 + (bit ? 1 : 0));
  if (isSingle(interval)) return;
  if (interval.first.incarnation === interval.last.incarnation) {
    to.varint(of.sequence - interval.first.sequence);
  } else {
    to.varint(of.incarnation - interval.first.incarnation);
    to.varint(of.sequence);
  }
}

export function decodeDot(context: Context, from: Reader): { dot: Dot; bit: boolean } {
  const head = from.varint('dot');
  const interval = context.intervals[Math.floor(head / 2)];
  if (interval === undefined) throw DecodeError.unknownDot('dot');
  const { slot, incarnation, sequence } = interval.first;
  let found: Dot = interval.first;
  if (!isSingle(interval)) {
    found = incarnation === interval.last.incarnation
      ? { slot, incarnation, sequence: sequence + from.varint('dot') }
      : { slot, incarnation: incarnation + from.varint('dot'), sequence: from.varint('dot') };
    const inside = isDotParts(slot, found.incarnation, found.sequence) &&
      compareDots(interval.first, found) <= 0 && compareDots(found, interval.last) <= 0;
    if (!inside) throw DecodeError.unknownDot('dot');
  }
  return { dot: found, bit: head % 2 === 1 };
}
