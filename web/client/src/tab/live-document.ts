import { addAnchors, type Anchored } from '../crdt/anchor.js';
import { Document, type DocumentOperation, type DocumentReading, type Readings, type Schema } from '../crdt/document.js';
import { OperationError } from '../crdt/errors.js';
import { CallError } from '../errors.js';
import type { Failure, HubMessage, PendingOperation, TabMessage } from '../hub/messages.js';

/** Operations that wait for the one before. */
const QUEUE_MAX = 4096;

interface Queued {
  readonly operation: Anchored;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Changed fields; all of them when the whole state is another one. */
export type ChangeListener = (fields: ReadonlySet<string>) => void;

export function errorOf({ kind, status, code, message }: Failure): Error {
  return kind === 'operation' && code !== undefined ? new OperationError(code, message) : new CallError(status, message);
}

/**
 * A document that all tabs share. It reads at once and offline; `apply` resolves when this tab shows the change, and
 * `acknowledged` when the service has it for good.
 */
export class LiveDocument<S extends Schema = Schema> {
  #document: Document<S> | undefined;
  #live = false;
  #queue: Queued[] = [];
  #running: (Queued & { readonly id: number; anchored: Anchored }) | undefined;
  readonly #unacknowledged = new Map<number, PendingOperation>();
  readonly #listeners = new Set<ChangeListener>();
  #idle: (() => void)[] = [];
  #nextId = 1;
  #holders = 1;
  #refused: Error | undefined;
  #opened!: () => void;
  #failed!: (error: Error) => void;
  /** Resolves when the document can be read: from the service, or from what was kept offline. */
  readonly ready: Promise<void>;

  /** Made by `Client.document`. */
  constructor(
    readonly name: string,
    private readonly key: number,
    private readonly declared: S | undefined,
    private readonly post: (message: TabMessage) => void,
    private readonly closed: () => void,
  ) {
    this.ready = new Promise((resolve, reject) => {
      this.#opened = resolve;
      this.#failed = reject;
    });
    // Who does not wait for it hears of a refusal by `apply`.
    this.ready.catch(() => {});
    if (declared !== undefined) this.#document = new Document(declared);
    this.reopen();
  }

  /** Fields and types: those that were declared, or those of the service. */
  get schema(): S | undefined {
    return this.#document?.schema;
  }

  /** Whether changes of others arrive now. */
  get isLive(): boolean {
    return this.#live;
  }

  /** Operations that the service has not acknowledged. */
  get pending(): number {
    return this.#queue.length + (this.#running === undefined ? 0 : 1) + this.#unacknowledged.size;
  }

  /** What every field reads as. */
  read(): DocumentReading<S> {
    return this.#known().read();
  }

  /** What a field reads as. */
  get<F extends keyof S & string>(field: F): Readings[S[F]['type']] {
    return this.#known().get(field);
  }

  #known(): Document<S> {
    if (this.#document === undefined) throw new Error(`document ${this.name} is not here yet; wait for \`ready\``);
    return this.#document;
  }

  /**
   * Changes the document. Resolves when this tab shows it; rejects with `OperationError` when it is not possible. Indexes of
   * lists and texts are those of the document after the operations before.
   */
  apply(operation: DocumentOperation<S>): Promise<void> {
    if (this.#refused !== undefined) return Promise.reject(this.#refused);
    if (this.#queue.length >= QUEUE_MAX) {
      return Promise.reject(new OperationError('limit', `${QUEUE_MAX} operations wait; go on when some are applied`));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ operation: operation as unknown as Anchored, resolve, reject });
      this.#run();
    });
  }

  /** Resolves when the service has acknowledged all that was applied so far. */
  acknowledged(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Calls back after each change; gives what ends that. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One more has it open. */
  share(): void {
    this.#holders += 1;
  }

  /** Ends it in this tab, once all who opened it did. */
  close(): void {
    this.#holders -= 1;
    if (this.#holders !== 0) return;
    this.post({ type: 'close', document: this.key });
    this.closed();
  }

  #run(): void {
    if (this.#running !== undefined || this.#document === undefined) return;
    const next = this.#queue.shift();
    if (next === undefined) return;
    const { field } = next.operation;
    const { schema } = this.#document;
    const store = typeof field === 'string' && Object.hasOwn(schema, field) ? this.#document.field(field) : undefined;
    const anchored = addAnchors(next.operation, store);
    this.#running = { ...next, id: this.#nextId, anchored };
    this.#nextId += 1;
    this.post({ type: 'operation', document: this.key, id: this.#running.id, operation: anchored });
  }

  /** Opens the document at a hub, or at the next one, with all that this tab knows of it. */
  reopen(): void {
    const pending = [...this.#unacknowledged.values()];
    if (this.#running !== undefined) pending.push({ id: this.#running.id, operation: this.#running.anchored });
    const state = this.#document?.state.isBottom === false ? this.#document.state.encode() : undefined;
    this.post({ type: 'open', document: this.key, name: this.name, schema: this.declared ?? this.schema, state, pending });
  }

  /** A message of the hub about this document. */
  receive(message: HubMessage): void {
    switch (message.type) {
      case 'opened':
        this.#join(message.state, message.schema as S);
        this.#opened();
        this.#run();
        break;
      case 'state':
        this.#document = Document.decode(this.#known().schema, message.state);
        this.#changed(new Set(Object.keys(this.#document.schema)));
        break;
      case 'live':
        this.#live = message.live;
        this.#changed(new Set());
        break;
      case 'delta':
        // Before it is opened there is nothing to join it to; what opens it has it.
        if (this.#document !== undefined) this.#join(message.delta);
        break;
      case 'applied':
        this.#applied(message);
        break;
      case 'acknowledged':
        this.#unacknowledged.delete(message.id);
        this.#settle();
        break;
      case 'refused':
        this.#refuse(message.id, errorOf(message.failure));
        break;
      default:
    }
  }

  #join(bytes: Uint8Array, schema?: S): void {
    this.#document ??= new Document(schema as S);
    if (schema !== undefined && this.declared === undefined) this.#document = new Document(schema, this.#document.state);
    const fields = this.#document.join(Document.delta(bytes));
    if (fields.size > 0) this.#changed(fields);
  }

  #changed(fields: ReadonlySet<string>): void {
    for (const listener of [...this.#listeners]) listener(fields);
  }

  #applied({ id, delta, writer }: Extract<HubMessage, { type: 'applied' }>): void {
    const running = this.#running?.id === id ? this.#running : undefined;
    const operation = running?.anchored ?? this.#unacknowledged.get(id)?.operation;
    if (operation !== undefined && delta !== undefined) this.#unacknowledged.set(id, { id, operation, delta, writer });
    if (running === undefined) return;
    this.#running = undefined;
    running.resolve();
    this.#run();
    this.#settle();
  }

  #refuse(id: number, error: Error): void {
    if (id === 0) {
      // The service does not open it; who asks again, perhaps after signing in, gets another try.
      this.post({ type: 'close', document: this.key });
      this.closed();
      this.#refused = error;
      this.#failed(error);
      for (const queued of this.#queue.splice(0)) queued.reject(error);
    }
    this.#unacknowledged.delete(id);
    if (this.#running?.id === id || id === 0) {
      this.#running?.reject(error);
      this.#running = undefined;
      this.#run();
    }
    this.#settle();
  }

  #settle(): void {
    if (this.pending > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
