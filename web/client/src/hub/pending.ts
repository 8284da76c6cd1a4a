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
 * Which operations a server's state has although their acknowledgements were lost. A writer's dots arrive in their order. The
 * context of one that was retired has dots that were never made, so there only what is alive shows that something arrived,
 * and all that the writer made before.
 */
export function arrivedAt(state: State<CrdtMap>, pending: readonly Pending[]): ReadonlySet<Pending> {
  const entries: Interval[] = [];
  state.store.visit(undefined, (interval) => entries.push(interval));
  state.store.visitDeletions((interval) => entries.push(interval));
  const alive = Context.collect(entries);
  const arrived = new Set<Pending>();
  for (const [at, { delta, writer }] of pending.entries()) {
    const newest = delta.context.lastOf(writer);
    const isThere = state.context.isRetired(writer) ? alive.contains(newest) : state.context.contains(newest);
    if (!isThere) continue;
    for (const one of pending.slice(0, at + 1)) if (sameReplica(one.writer, writer)) arrived.add(one);
  }
  return arrived;
}
