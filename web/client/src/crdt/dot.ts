/** The largest sequence within an incarnation: 2⁴⁰ − 1. */
export const SEQUENCE_MAX = 2 ** 40 - 1;
/** The largest incarnation of a slot: 2²⁴ − 1. */
export const INCARNATION_MAX = 2 ** 24 - 1;
const SLOT_MAX = 2 ** 16 - 1;

/** One lease of one slot. Two processes with the same one would break every type. */
export interface Replica {
  /** 0 to 65,535. */
  readonly slot: number;
  /** How often the slot was leased, from 1. */
  readonly incarnation: number;
}

/**
 * Names one mutation. Its counter, `incarnation · 2⁴⁰ + sequence`, has 64 bits and does not fit into a double, so the two
 * parts stay apart.
 */
export interface Dot extends Replica {
  /** Counts from 1 within the incarnation. */
  readonly sequence: number;
}

/** Smaller than every real dot; marks a deletion that is known to everybody. */
export const STABLE: Dot = { slot: 0, incarnation: 0, sequence: 0 };

export function isReplica(replica: Replica): boolean {
  const { slot, incarnation } = replica;
  return isDotParts(slot, incarnation, 0) && incarnation >= 1;
}

export function isDotParts(slot: number, incarnation: number, sequence: number): boolean {
  return (
    Number.isInteger(slot) && slot >= 0 && slot <= SLOT_MAX &&
    Number.isInteger(incarnation) && incarnation >= 0 && incarnation <= INCARNATION_MAX &&
    Number.isInteger(sequence) && sequence >= 0 && sequence <= SEQUENCE_MAX
  );
}

/** Slot, then counter. */
export function compareDots(a: Dot, b: Dot): number {
  return a.slot - b.slot || a.incarnation - b.incarnation || a.sequence - b.sequence;
}

export function sameDot(a: Dot | undefined, b: Dot | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return compareDots(a, b) === 0;
}

/** The dot `steps` further, at most 2⁴⁰ of them; stays at the last dot of all. */
export function dotAfter(dot: Dot, steps: number): Dot {
  const sequence = dot.sequence + steps;
  if (sequence <= SEQUENCE_MAX) return { slot: dot.slot, incarnation: dot.incarnation, sequence };
  if (dot.incarnation === INCARNATION_MAX) return { ...dot, sequence: SEQUENCE_MAX };
  return { slot: dot.slot, incarnation: dot.incarnation + 1, sequence: sequence - SEQUENCE_MAX - 1 };
}

/** The dot just before; stays at the first dot of all. */
export function dotBefore(dot: Dot): Dot {
  if (dot.sequence > 0) return { ...dot, sequence: dot.sequence - 1 };
  if (dot.incarnation === 0) return dot;
  return { slot: dot.slot, incarnation: dot.incarnation - 1, sequence: SEQUENCE_MAX };
}

/** How many steps from one dot to another of its slot. Exact below 2⁵³; larger ones only compare as large. */
export function distance(from: Dot, to: Dot): number {
  return (to.incarnation - from.incarnation) * (SEQUENCE_MAX + 1) + (to.sequence - from.sequence);
}

/** As `distance`, exact. */
export function exactDistance(from: Dot, to: Dot): bigint {
  return (BigInt(to.incarnation - from.incarnation) << 40n) + BigInt(to.sequence - from.sequence);
}

export function dotText(dot: Dot): string {
  return `${dot.slot}/${dot.incarnation}.${dot.sequence}`;
}
