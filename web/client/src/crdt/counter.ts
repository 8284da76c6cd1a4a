import type { Reader, Writer } from './codec.js';
import { DotFun, type Entry } from './dot-fun.js';
import { OperationError } from './errors.js';
import type { Fragment, Mint } from './store.js';

const TOTAL_MAX = (1n << 64n) - 1n;
const STEP_MAX = (1n << 63n) - 1n;

function compareBig(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function bounded(total: bigint): bigint {
  if (total > TOTAL_MAX) {
    throw new OperationError('overflow', 'counter total would leave the range of 64 bits; use a smaller step');
  }
  return total;
}

function step(operation: unknown): bigint {
  if (typeof operation === 'bigint') return operation;
  if (typeof operation === 'number' && Number.isSafeInteger(operation)) return BigInt(operation);
  throw new OperationError('bad-argument', 'the step of a counter is a whole number below 2^53, or a bigint');
}

/**
 * One entry a replica: with gaps in what arrived, several totals of one replica may be there; the largest has the others.
 */
function perReplica<T>(entries: readonly Entry<T>[], merge: (a: T, b: T) => T): T[] {
  const totals = new Map<string, T>();
  for (const { dot, payload } of entries) {
    const name = `${dot.slot}/${dot.incarnation}`;
    const before = totals.get(name);
    totals.set(name, before === undefined ? payload : merge(before, payload));
  }
  return [...totals.values()];
}

/** Only grows. Operation: how much to add, 0 or more. */
export class GCounter extends DotFun<bigint> {
  readonly tag = 1;

  protected empty(): GCounter {
    return new GCounter();
  }

  protected compare(a: bigint, b: bigint): number {
    return compareBig(a, b);
  }

  protected encodePayload(total: bigint, to: Writer): void {
    to.bigVarint(total);
  }

  protected decodePayload(_bit: boolean, from: Reader): bigint {
    return from.bigVarint('total');
  }

  /** The sum over all replicas. */
  read(): bigint {
    return perReplica(this.entries, larger).reduce((sum, total) => sum + total, 0n);
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const add = step(operation);
    if (add < 0n) throw new OperationError('bad-argument', 'a g-counter only grows; use a pn-counter to subtract');
    if (add === 0n) return undefined;
    const own = this.entries.filter((entry) => mint.owns(entry.dot));
    const total = perReplica(own, larger).reduce((sum, share) => bounded(sum + share), bounded(add));
    return this.write(own, total, mint);
  }
}

interface Totals {
  readonly up: bigint;
  readonly down: bigint;
}

function largerTotals(a: Totals, b: Totals): Totals {
  return { up: larger(a.up, b.up), down: larger(a.down, b.down) };
}

/** Grows and shrinks; may go below zero. Operation: how much to add. */
export class PnCounter extends DotFun<Totals> {
  readonly tag = 2;

  protected empty(): PnCounter {
    return new PnCounter();
  }

  protected compare(a: Totals, b: Totals): number {
    return compareBig(a.up, b.up) || compareBig(a.down, b.down);
  }

  protected encodePayload(totals: Totals, to: Writer): void {
    to.bigVarint(totals.up);
    to.bigVarint(totals.down);
  }

  protected decodePayload(_bit: boolean, from: Reader): Totals {
    return { up: from.bigVarint('up'), down: from.bigVarint('down') };
  }

  /** The sum over all replicas. */
  read(): bigint {
    return perReplica(this.entries, largerTotals).reduce((sum, { up, down }) => sum + up - down, 0n);
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const add = step(operation);
    if (add === 0n) return undefined;
    if (add > STEP_MAX || add < -STEP_MAX - 1n) {
      throw new OperationError('overflow', 'counter step is beyond 64 bits; use a smaller step');
    }
    const own = this.entries.filter((entry) => mint.owns(entry.dot));
    const first = add > 0n ? { up: add, down: 0n } : { up: 0n, down: -add };
    const totals = perReplica(own, largerTotals).reduce(
      (sum, share) => ({ up: bounded(sum.up + share.up), down: bounded(sum.down + share.down) }),
      first,
    );
    return this.write(own, totals, mint);
  }
}
