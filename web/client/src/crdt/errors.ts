/** Whether asking again can help: never; after reading the state again; or later, as it is. */
export type Retry = 'never' | 'after-read' | 'later';

/** Why bytes are not a state or packet. Never retry; the sender is at fault or newer. */
export class DecodeError extends Error {
  readonly retry: Retry = 'never';

  constructor(
    readonly code: 'short' | 'number' | 'not-canonical' | 'unknown-dot' | 'not-text' | 'version' | 'type' | 'limit' | 'trailing' | 'dot',
    readonly field: string,
    message: string,
  ) {
    super(message);
    this.name = 'DecodeError';
  }

  static short(field: string): DecodeError {
    return new DecodeError('short', field, `${field}: the bytes end too early`);
  }

  static number(field: string): DecodeError {
    return new DecodeError('number', field, `${field}: the number is too large or not in its shortest form`);
  }

  static notCanonical(field: string): DecodeError {
    return new DecodeError('not-canonical', field, `${field}: not in canonical form`);
  }

  static unknownDot(field: string): DecodeError {
    return new DecodeError('unknown-dot', field, `${field}: refers to a dot that the context lacks`);
  }

  static limit(field: string, limit: number): DecodeError {
    return new DecodeError('limit', field, `${field}: beyond the bound of ${limit}`);
  }

  static trailing(left: number): DecodeError {
    return new DecodeError('trailing', 'message', `${left} bytes after the end`);
  }
}

export type OperationCode =
  | 'wrong-type'
  | 'unknown-field'
  | 'overflow'
  | 'absent'
  | 'removed-for-ever'
  | 'vertex-has-edges'
  | 'out-of-range'
  | 'stale-stamp'
  | 'retired'
  | 'bad-argument'
  | 'limit';

const AFTER_READ: ReadonlySet<OperationCode> = new Set(['absent', 'out-of-range', 'vertex-has-edges', 'stale-stamp']);

/** Why an operation was not possible. Nothing changed. */
export class OperationError extends Error {
  readonly retry: Retry;

  constructor(
    readonly code: OperationCode,
    message: string,
  ) {
    super(message);
    this.name = 'OperationError';
    this.retry = AFTER_READ.has(code) ? 'after-read' : 'never';
  }
}

/** A bound was reached; the state is unchanged. */
export class LimitError extends Error {
  readonly retry: Retry = 'never';

  constructor(
    readonly what: string,
    readonly limit: number,
  ) {
    super(`${what} would exceed its bound of ${limit}`);
    this.name = 'LimitError';
  }
}

/** A stamp is further ahead than clocks may differ. Wait `aheadMs - skewMaxMs`, then the same may be received. */
export class SkewError extends Error {
  readonly retry: Retry = 'later';

  constructor(
    readonly aheadMs: number,
    readonly skewMaxMs: number,
  ) {
    super(`a stamp is ${aheadMs} ms ahead, ${skewMaxMs} ms are allowed; correct the clock of the replica that sent it`);
    this.name = 'SkewError';
  }
}
