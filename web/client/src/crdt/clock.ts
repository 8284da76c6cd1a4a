import { SkewError } from './errors.js';

const LOGIC_BITS = 16n;
const STAMP_MAX = (1n << 64n) - 1n;

/** The first stamp of a millisecond: 48 bits of milliseconds, 16 of logic. */
export function stampAt(milliseconds: number): bigint {
  return BigInt(Math.max(0, Math.floor(milliseconds))) << LOGIC_BITS;
}

/** The physical part of a stamp, in milliseconds. */
export function stampMilliseconds(stamp: bigint): number {
  return Number(stamp >> LOGIC_BITS);
}

/** A hybrid logical clock: stamps are larger than all it made or observed. */
export class Clock {
  #last = 0n;

  /** `skewMaxMs`: how far another replica's clock may be ahead. */
  constructor(readonly skewMaxMs: number) {}

  /** The next stamp. A clock that went back costs logic bits only. */
  tick(nowMs: number): bigint {
    const next = this.#last + 1n;
    const now = stampAt(nowMs);
    this.#last = now > next ? now : next > STAMP_MAX ? STAMP_MAX : next;
    return this.#last;
  }

  /** Throws `SkewError` when the stamp is further ahead than clocks may differ. */
  check(stamp: bigint, nowMs: number): void {
    const aheadMs = Math.max(0, stampMilliseconds(stamp) - nowMs);
    if (aheadMs > this.skewMaxMs) throw new SkewError(aheadMs, this.skewMaxMs);
  }

  /** Takes note of another replica's stamp, however far ahead: a server has checked it. */
  observe(stamp: bigint): void {
    if (stamp > this.#last) this.#last = stamp;
  }
}
