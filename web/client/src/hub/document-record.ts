import type { Anchored } from '../crdt/anchor.js';
import { Reader, Writer } from '../crdt/codec.js';
import type { Schema } from '../crdt/document.js';
import type { Dot, Replica } from '../crdt/dot.js';
import { checkValue, decodeValue, encodeValue, type Value } from '../crdt/value.js';

/** What is kept of an operation that is not acknowledged. */
export interface RecordedOperation {
  readonly operation: Anchored;
  readonly delta: Uint8Array;
  readonly writer: Replica;
  readonly made?: { readonly from: Dot; readonly count: number } | undefined;
}

/** What outlives the hub of a document. */
export interface DocumentRecord {
  readonly schema: Schema;
  readonly writer: Replica;
  readonly state: Uint8Array;
  readonly pending: readonly RecordedOperation[];
}

/** Without what is undefined, which has no encoding. */
function defined(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(defined);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.fromEntries(entries.map(([name, inner]) => [name, defined(inner)]));
}

/** As one value in bytes, as documents hold them. */
export function encodeRecord(record: object): Uint8Array {
  const value = defined(record);
  checkValue(value, 'record');
  const to = new Writer();
  encodeValue(value as Value, to);
  return to.bytes();
}

/** Reads what `encodeRecord` wrote: the caller knows what it was. */
export function decodeRecord<T>(bytes: Uint8Array): T {
  return decodeValue(new Reader(bytes)) as T;
}
