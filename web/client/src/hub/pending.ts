import type { Anchored } from '../crdt/anchor.js';
import { Context, type Interval } from '../crdt/context.js';
import { type Dot, distance, type Replica } from '../crdt/dot.js';
import { OperationError } from '../crdt/errors.js';
import type { CrdtMap } from '../crdt/map.js';
import type { State } from '../crdt/state.js';
import type { Failure, HubMessage } from './messages.js';

/** A tab that has a document open. */
export interface DocumentTab {
  post(message: HubMessage): void;
}

/** An operation that is not acknowledged. */
export interface Pending {
  readonly operation: Anchored;
  delta: State<CrdtMap>;
  writer: Replica;
  made: { from: Dot; count: number } | undefined;
  tries: number;
  /** Who asked; nothing after a restart. */
  readonly asked: { readonly tab: DocumentTab; readonly id: number } | undefined;
}

export function sameReplica(a: Replica, b: Replica): boolean {
  return a.slot === b.slot && a.incarnation === b.incarnation;
}

export function failureOf(error: unknown): Failure {
  const code = error instanceof OperationError ? error.code : undefined;
  const status = code === undefined ? 500 : 400;
  return { kind: 'operation', status, code, message: (error as Error).message };
}

/** The new elements of an insertion. */
export function insertedBy(operation: Anchored, delta: State<CrdtMap>): { from: Dot; count: number } | undefined {
  const inner = operation['operation'];
  if (typeof inner === 'object' && inner !== null) return insertedBy(inner as Anchored, delta);
  const interval = operation['insert'] === undefined ? undefined : delta.context.intervals[0];
  return interval && { from: interval.first, count: distance(interval.first, interval.last) + 1 };
}

/**
 * Which operations a server's state has although their acknowledgements were lost. The context of a writer that was retired
 * has dots that were never made, so there only what is alive shows that something arrived, and all that the writer made
 * before, because batches go out one after the other.
 */
export function arrivedAt(state: State<CrdtMap>, pending: readonly Pending[]): ReadonlySet<Pending> {
  const entries: Interval[] = [];
  state.store.visit(undefined, (interval) => entries.push(interval));
  state.store.visitDeletions((interval) => entries.push(interval));
  const alive = Context.collect(entries);
  const arrived = new Set<Pending>();
  for (const [at, one] of pending.entries()) {
    const { delta, writer } = one;
    const newest = delta.context.lastOf(writer);
    if (!state.context.isRetired(writer)) {
      if (state.context.contains(newest)) arrived.add(one);
    } else if (alive.contains(newest)) {
      for (const before of pending.slice(0, at + 1)) if (sameReplica(before.writer, writer)) arrived.add(before);
    }
  }
  return arrived;
}

/** The first operations as one delta: at most so many, and so many bytes unless a single one has more. */
export function batchOf(
  pending: readonly Pending[], countMax: number, bytesMax: number,
): { batch: readonly Pending[]; payload: Uint8Array } {
  let count = 0;
  let bytes = 0;
  for (const { delta } of pending.slice(0, countMax)) {
    bytes += delta.encode().length;
    if (count > 0 && bytes > bytesMax) break;
    count += 1;
  }
  const batch = pending.slice(0, count);
  const [first, ...rest] = batch.map(({ delta }) => delta);
  const joined = rest.length === 0 || first === undefined ? first : first.clone();
  for (const delta of rest) joined?.join(delta);
  return { batch, payload: joined?.encode() ?? new Uint8Array() };
}
