import type { Reader, Writer } from './codec.js';
import { DotFun } from './dot-fun.js';
import { OperationError } from './errors.js';
import type { Fragment, Mint } from './store.js';

/** Flags. No clock takes part. A change always leaves an entry, so it always names its place. */
abstract class Flag extends DotFun<boolean> {
  protected compare(a: boolean, b: boolean): number {
    return Number(a) - Number(b);
  }

  protected override bit(on: boolean): boolean {
    return on;
  }

  protected encodePayload(_on: boolean, _to: Writer): void {}

  protected decodePayload(bit: boolean, _from: Reader): boolean {
    return bit;
  }

  prepare(operation: unknown, mint: Mint): Fragment | undefined {
    if (typeof operation !== 'boolean') throw new OperationError('bad-argument', 'a flag is set to true or false');
    return this.write(this.entries, operation, mint);
  }
}

/** Off at first; a concurrent enable wins. */
export class EnableWinsFlag extends Flag {
  readonly tag = 8;

  protected empty(): EnableWinsFlag {
    return new EnableWinsFlag();
  }

  read(): boolean {
    return this.entries.some((entry) => entry.payload);
  }
}

/** On at first; a concurrent disable wins. The flag for kill switches. */
export class DisableWinsFlag extends Flag {
  readonly tag = 9;

  protected empty(): DisableWinsFlag {
    return new DisableWinsFlag();
  }

  read(): boolean {
    return this.entries.every((entry) => entry.payload);
  }
}
