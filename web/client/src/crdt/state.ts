import { Reader, Writer } from './codec.js';
import { compareIntervals, Context, type Interval } from './context.js';
import { decodeContext, encodeContext } from './context-bytes.js';
import { compareDots, dotText, isReplica, type Replica } from './dot.js';
import { DecodeError, OperationError } from './errors.js';
import { type Join, Mint, type Store } from './store.js';
import { putTag, takeTag } from './tag-bytes.js';

const VERSION = 1;

/** What a replica tells so that another can say what it lacks. */
export interface Digest {
  /** All dots that were seen. */
  readonly context: Context;
  /** Those that are live. */
  readonly live: Context;
}

/** A store with its context, or a delta: a small state. */
export class State<S extends Store> {
  constructor(
    /** Live dots and their content. */
    readonly store: S,
    /** All dots that were seen, live or not. */
    readonly context: Context = new Context(),
  ) {}

  /** Reads what `encode` wrote into an empty store. */
  static decode<S extends Store>(bytes: Uint8Array, empty: S): State<S> {
    const from = new Reader(bytes);
    const { high: version, tag } = takeTag(from);
    if (version !== VERSION) throw new DecodeError('version', 'version', `version ${version} is not supported`);
    if (tag !== empty.tag) throw new DecodeError('type', 'tag', `type tag ${tag} where ${empty.tag} was expected`);
    const context = decodeContext(from);
    empty.decodeBody(from, context, 0);
    if (!from.isEmpty) throw DecodeError.trailing(from.left);
    const state = new State(empty, context);
    state.#checkDots();
    return state;
  }

  /** No dot is in two places: no history makes it so, and joins would differ between replicas. */
  #checkDots(): void {
    const dots: Interval[] = [];
    this.store.visit(undefined, (interval) => dots.push(interval));
    dots.sort(compareIntervals);
    dots.forEach(({ first }, at) => {
      const before = dots[at - 1];
      if (before !== undefined && before.last.slot === first.slot && compareDots(first, before.last) <= 0) {
        throw new DecodeError('dot', 'dot', `dot ${dotText(first)} is in two places`);
      }
    });
    // Nor is a deletion something that lives.
    const live = Context.collect(dots);
    this.store.visitDeletions(({ first }) => {
      if (live.contains(first)) throw new DecodeError('dot', 'dot', `dot ${dotText(first)} is in two places`);
    });
  }

  /** The one encoding. */
  encode(): Uint8Array {
    const to = new Writer();
    putTag(VERSION, this.store.tag, to);
    encodeContext(this.context, to);
    this.store.encodeBody(this.context, to);
    return to.bytes();
  }

  /** Whether nothing was seen. */
  get isBottom(): boolean {
    return this.context.isEmpty && this.store.isBottom();
  }

  /**
   * Joins another state or delta, which stays as it is. Throws `LimitError` and changes nothing when a bound is reached. Of
   * a map, gives the names of the entries that changed.
   */
  join(other: State<S>): ReadonlySet<string> {
    const unknown = this.store.hasUnknown() || other.store.hasUnknown();
    if (unknown) this.#tryJoin(other);
    const names = new Set<string>();
    this.#joinStores(other, unknown, names);
    this.context.join(other.context);
    return names;
  }

  #joinStores(other: State<S>, sweepAlways: boolean, names?: Set<string>): Join {
    const join: Join = { mine: this.context, theirs: other.context, dropped: 0, changed: false, names };
    // How many of my dots the other side may have seen die. When the walk along its keys met all of them, the other keys
    // need no look; that makes a delta cheap however large the state is.
    let dead = this.context.overlap(other.context);
    if (dead > 0n) {
      other.store.visit(undefined, (interval) => {
        dead -= this.context.overlap(Context.from(interval));
      });
    }
    this.store.join(other.store, join);
    if (sweepAlways || BigInt(join.dropped) !== dead) this.store.sweep(other.store, join);
    return join;
  }

  /** Joins into a copy first: content of an unknown type has a bound, and who reaches it has to stay as it was. */
  #tryJoin(other: State<S>): void {
    const copy = this.clone();
    const { exceeded } = copy.#joinStores(other, true);
    if (exceeded !== undefined) throw exceeded;
  }

  clone(): State<S> {
    const empty = new (this.store.constructor as new () => S)();
    return State.decode(this.encode(), empty);
  }

  /** Whether both have the same bytes. */
  equals(other: State<S>): boolean {
    const [a, b] = [this.encode(), other.encode()];
    return a.length === b.length && a.every((byte, at) => byte === b[at]);
  }

  /** The delta of an operation; nothing when there is nothing to do. Changes nothing. */
  prepare(replica: Replica, operation: unknown): State<S> | undefined {
    if (!isReplica(replica)) throw new OperationError('bad-argument', 'replica: slot 0 to 65,535, incarnation 1 to 2^24-1');
    const made = this.store.prepare(operation, new Mint(replica, this.context));
    return made === undefined ? undefined : new State(made.store as S, made.context);
  }

  /** Applies an operation and gives its delta; nothing when nothing changed. Throws `OperationError` and changes nothing. */
  update(replica: Replica, operation: unknown): State<S> | undefined {
    const delta = this.prepare(replica, operation);
    if (delta !== undefined) this.join(delta);
    return delta;
  }

  /** The dots that are live. */
  live(): Context {
    const live: Interval[] = [];
    this.store.visit(undefined, (interval) => live.push(interval));
    return Context.collect(live);
  }

  /** What to send when the other side's history is not known. */
  digest(): Digest {
    // The live dots of an unknown part are not known: ask for everything.
    if (this.store.hasUnknown()) return { context: new Context(), live: new Context() };
    const incomplete: Interval[] = [];
    this.store.visitIncomplete((interval) => incomplete.push(interval));
    return { context: this.context.difference(Context.collect(incomplete)), live: this.live() };
  }

  /** The delta that brings the digest's owner up to this state. */
  missing(digest: Digest): State<S> {
    if (this.store.hasUnknown()) return this.clone();
    const context = this.context.difference(digest.context);
    const removed = digest.live.intersection(this.context).difference(this.live());
    let known = digest.context;
    if (!removed.isEmpty) {
      // What is removed may be collected garbage; then the nodes that took its place have to go along.
      const raised: Interval[] = [];
      this.store.visitRaised((interval) => raised.push(interval));
      known = known.difference(Context.collect(raised));
    }
    const store = this.store.unknownTo(known) as S;
    context.join(removed);
    store.visit(undefined, (interval) => context.insertInterval(interval));
    store.visitDeletions((interval) => context.insertInterval(interval));
    return new State(store, context);
  }

  /** Every member has all dots of this and earlier incarnations of the slot, and no more will come. */
  retire(replica: Replica): void {
    this.context.retire(replica);
  }
}

export function encodeDigest(digest: Digest): Uint8Array {
  const to = new Writer();
  encodeContext(digest.context, to);
  encodeContext(digest.live, to);
  return to.bytes();
}

/** Reads what `encodeDigest` wrote; nothing at all is the digest of who has nothing. */
export function decodeDigest(bytes: Uint8Array): Digest {
  const from = new Reader(bytes);
  if (from.isEmpty) return { context: new Context(), live: new Context() };
  const digest = { context: decodeContext(from), live: decodeContext(from) };
  if (!from.isEmpty) throw DecodeError.trailing(from.left);
  return digest;
}
