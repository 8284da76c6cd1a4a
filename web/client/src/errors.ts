import type { Retry } from './crdt/errors.js';

export { DecodeError, LimitError, OperationError, type Retry, SkewError } from './crdt/errors.js';

/** Why a call, an upload or a download has no result. */
export class CallError extends Error {
  constructor(
    /** Like HTTP's. */
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'CallError';
  }

  /** Whether sending the same again can help. */
  get retry(): Retry {
    return this.status === 429 || this.status >= 500 || this.status === 408 ? 'later' : 'never';
  }
}
