import type { Reader, Writer } from './codec.js';
import { Context, type Interval } from './context.js';
import { compareDots, type Dot, dotAfter, type Replica, SEQUENCE_MAX } from './dot.js';
import { type LimitError, OperationError } from './errors.js';

/** What a join knows while it walks two stores. */
export interface Join {
  /** Context of the store that changes. */
  readonly mine: Context;
  /** Context of the store that comes in. */
  readonly theirs: Context;
  /** How many entries were dropped because the other side had removed them. */
  dropped: number;
  /** Set when anything that readers could see was added, dropped or replaced. */
  changed: boolean;
  /** Collects the names of changed entries of the outermost map. */
  names?: Set<string> | undefined;
  /** Set when a bound was reached; the join then has no result. */
  exceeded?: LimitError;
}

/** Takes dots, as intervals in any order. */
export type Visit = (interval: Interval) => void;

/** A store and the dots that it needs or covers: a small state. */
export interface Fragment {
  readonly store: Store;
  readonly context: Context;
}

/**
 * Live dots and what hangs on them. Only meaningful together with a context that has all of them. Arguments called `theirs`,
 * `guide` and `seen` are of the same type as the store.
 */
export interface Store {
  /** Type tag in bytes. */
  readonly tag: number;

  /** Whether there is nothing. */
  isBottom(): boolean;

  /** Visits live dots. With a guide, only those at the keys that the guide has. */
  visit(guide: Store | undefined, visit: Visit): void;

  /** Visits dots of deletions of what is live: a state's context has those too. */
  visitDeletions(visit: Visit): void;

  /** The join rule, at the keys that `theirs` has. Never keeps a reference to what `theirs` may change. */
  join(theirs: Store, join: Join): void;

  /** The join rule at all other keys: drops what the other side has seen and does not have. */
  sweep(theirs: Store | undefined, join: Join): void;

  /** Entries that are not in the context, or changed by a dot that is not. */
  unknownTo(context: Context): Store;

  /** The delta of an operation; nothing when there is nothing to do. Does not change the store. */
  prepare(operation: unknown, mint: Mint): Fragment | undefined;

  /** What readers see. */
  read(): unknown;

  /** Appends the body. */
  encodeBody(context: Context, to: Writer): void;

  /** Reads all that is left into this empty store. */
  decodeBody(from: Reader, context: Context, depth: number): void;

  /** Visits live dots of which only a later change is known. */
  visitIncomplete(visit: Visit): void;

  /** Visits live dots whose payload changed by collection, which has no dot of its own. */
  visitRaised(visit: Visit): void;

  /** The largest stamp, for the skew bound. */
  newestStamp(): bigint | undefined;

  /** Whether any part is of a type that this version does not know. */
  hasUnknown(): boolean;
}

/** The parts of `Store` that most types do not need. */
export abstract class PlainStore {
  visitDeletions(_visit: Visit): void {}

  visitIncomplete(_visit: Visit): void {}

  visitRaised(_visit: Visit): void {}

  newestStamp(): bigint | undefined {
    return undefined;
  }

  hasUnknown(): boolean {
    return false;
  }
}

/** Makes new dots for one operation. */
export class Mint {
  readonly #end: Dot;
  #next: Dot;
  #depth = 0;

  constructor(
    readonly replica: Replica,
    readonly context: Context,
  ) {
    this.#next = dotAfter(context.lastOf(replica), 1);
    this.#end = { slot: replica.slot, incarnation: replica.incarnation, sequence: SEQUENCE_MAX };
  }

  /** Goes into a map; says how many were around it. */
  enter(): number {
    this.#depth += 1;
    return this.#depth - 1;
  }

  /** The first of `count` consecutive dots. */
  dots(count: number): Dot {
    const first = this.#next;
    const after = dotAfter(first, count);
    if (compareDots(after, this.#end) > 0 || this.context.isRetired(this.replica)) {
      const { slot, incarnation } = this.replica;
      throw new OperationError('retired', `replica ${slot}/${incarnation} may not write any more; lease a new incarnation`);
    }
    this.#next = after;
    return first;
  }

  dot(): Dot {
    return this.dots(1);
  }

  /**
   * Whether the dot is of this replica, or of an earlier incarnation of its slot when all of them are retired: a share that
   * it may carry on. As long as one before it may still write, that one may carry on the same.
   */
  owns(dot: Dot): boolean {
    const { slot, incarnation } = this.replica;
    if (dot.slot !== slot || dot.incarnation > incarnation) return false;
    const isOwn = dot.incarnation === incarnation && dot.sequence > 0;
    return isOwn || this.context.isRetired({ slot, incarnation: incarnation - 1 });
  }
}
