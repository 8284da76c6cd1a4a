import type { Anchored } from '../crdt/anchor.js';
import { Reader, Writer } from '../crdt/codec.js';
import type { Schema } from '../crdt/document.js';
import type { Dot, Replica } from '../crdt/dot.js';
import type { Timing } from '../session/socket.js';
import type { OfflineStore } from './store.js';
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

const AGAIN_MS = 1_000;

/** Keeps a document in a store: the newest state, one write at a time. */
export class DocumentKeeper {
  #saving: Promise<void> | undefined;
  #isOld = false;

  constructor(
    private readonly key: string,
    private readonly store: OfflineStore,
    private readonly timing: Timing,
    private readonly record: () => DocumentRecord | undefined,
  ) {}

  /** What was kept. What cannot be read is as good as absent: the service has all but what was not acknowledged. */
  async load(): Promise<DocumentRecord | undefined> {
    try {
      const bytes = await this.store.load(this.key);
      return bytes && decodeRecord<DocumentRecord>(bytes);
    } catch {
      return undefined;
    }
  }

  /** Resolves once what is there now is durable. Never rejects: a full disk holds edits back until there is room. */
  save(): Promise<void> {
    if (this.#saving !== undefined) {
      this.#isOld = true;
      return this.#saving.then(() => (this.#isOld ? this.save() : undefined));
    }
    this.#isOld = false;
    const record = this.record();
    if (record === undefined) return Promise.resolve();
    this.#saving = this.store.save(this.key, encodeRecord(record)).then(
      () => {
        this.#saving = undefined;
      },
      () => new Promise<void>((resolve) => this.timing.after(AGAIN_MS, resolve)).then(() => {
        this.#saving = undefined;
        return this.save();
      }),
    );
    return this.#saving;
  }
}
