import type { Anchored } from '../crdt/anchor.js';
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
