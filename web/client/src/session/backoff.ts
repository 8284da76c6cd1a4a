const FIRST_MS = 250;
const LONGEST_MS = 10_000;
/** After DRAIN a client insists this many times on the revision that it was told. */
const INSIST = 10;

/** Between 0 and this long a client waits before its next try. Doubles with each failure. */
export function waitMaxMs(failures: number): number {
  return Math.min(FIRST_MS * 2 ** Math.min(failures, 16), LONGEST_MS);
}

/** What a client knows of where it should go. */
export interface Aim {
  /** Revision of the greeting; empty when it is not known. */
  readonly revision: string;
  /** Revision that DRAIN told; empty when any will do. Nothing when nothing was told. */
  readonly told: string | undefined;
  /** Tries that failed since the last greeting. */
  readonly failures: number;
}

/** The revision to ask for at the next try; empty leaves it to the service, which may have retired the one of before. */
export function revisionToAsk(aim: Aim): string {
  const leave = aim.failures % 2 === 1;
  if (aim.told !== undefined) return aim.failures >= INSIST && leave ? '' : aim.told;
  return leave ? '' : aim.revision;
}
