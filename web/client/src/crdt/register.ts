import type { Reader, Writer } from './codec.js';
import { compareDots } from './dot.js';
import { DotFun, type Entry } from './dot-fun.js';
import { OperationError } from './errors.js';
import type { Fragment, Mint } from './store.js';
import { checkValue, compareValues, decodeValue, encodeValue, type Value } from './value.js';

const STAMP_MAX = (1n << 64n) - 1n;

/** A value and when it was written, by a hybrid logical clock. */
export interface Stamped {
  readonly stamp: bigint;
  readonly value: Value;
}

function compareStamps(a: Stamped, b: Stamped): number {
  return a.stamp < b.stamp ? -1 : a.stamp > b.stamp ? 1 : 0;
}

function checkStamped(operation: unknown): Stamped {
  const { stamp, value } = (operation ?? {}) as Partial<Stamped>;
  if (typeof stamp !== 'bigint' || stamp < 0n || stamp > STAMP_MAX) {
    throw new OperationError('bad-argument', 'stamp: a bigint of 64 bits, as a Clock makes them');
  }
  checkValue(value);
  return { stamp, value };
}

/**
 * The entry with the largest stamp counts. Losers stay until the next write: dropping them in the join would break
 * associativity with a removal that has seen only the winner. Operation: `{stamp, value}`.
 */
export class LwwRegister extends DotFun<Stamped> {
  readonly tag = 6;

  protected empty(): LwwRegister {
    return new LwwRegister();
  }

  protected compare(a: Stamped, b: Stamped): number {
    return compareStamps(a, b) || compareValues(a.value, b.value);
  }

  protected encodePayload(payload: Stamped, to: Writer): void {
    to.bigVarint(payload.stamp);
    encodeValue(payload.value, to);
  }

  protected decodePayload(_bit: boolean, from: Reader): Stamped {
    return { stamp: from.bigVarint('stamp'), value: decodeValue(from) };
  }

  /** The value that counts; null when nothing was written. */
  read(): Stamped | null {
    let newest: Entry<Stamped> | undefined;
    for (const entry of this.entries) {
      const isNewer = newest === undefined ||
        (compareStamps(newest.payload, entry.payload) || compareDots(newest.dot, entry.dot)) < 0;
      if (isNewer) newest = entry;
    }
    return newest?.payload ?? null;
  }

  override newestStamp(): bigint | undefined {
    return this.read()?.stamp;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    const assigned = checkStamped(operation);
    const seen = this.newestStamp();
    if (seen !== undefined && seen >= assigned.stamp) {
      throw new OperationError(
        'stale-stamp',
        "the stamp is not newer than the register's; observe the register's stamp and tick the clock",
      );
    }
    return this.write(this.entries, assigned, mint);
  }
}

/** All concurrent values count. Operation: the value. */
export class MvRegister extends DotFun<Value> {
  readonly tag = 7;

  protected empty(): MvRegister {
    return new MvRegister();
  }

  protected compare(a: Value, b: Value): number {
    return compareValues(a, b);
  }

  protected encodePayload(value: Value, to: Writer): void {
    encodeValue(value, to);
  }

  protected decodePayload(_bit: boolean, from: Reader): Value {
    return decodeValue(from);
  }

  /** All concurrent values, by dot. */
  read(): Value[] {
    return this.entries.map((entry) => entry.payload);
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    checkValue(operation);
    return this.write(this.entries, operation, mint);
  }
}
