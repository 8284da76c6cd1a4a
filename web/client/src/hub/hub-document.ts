import { type Anchored, type Renaming, resolveAnchors } from '../crdt/anchor.js';
import { Document, type DocumentOperation, parseSchema, type Schema } from '../crdt/document.js';
import { INCARNATION_MAX, type Replica } from '../crdt/dot.js';
import { OperationError } from '../crdt/errors.js';
import type { CrdtMap } from '../crdt/map.js';
import { encodeDigest, type State } from '../crdt/state.js';
import type { Connection } from '../session/connection.js';
import type { Timing } from '../session/socket.js';
import { errorText, fromPayload, PACKET_BYTES_MAX, toPayload } from '../wire/packet.js';
import { DocumentKeeper, type DocumentRecord } from './document-record.js';
import type { Failure, HubMessage, PendingOperation } from './messages.js';
import { arrivedAt, batchOf, type DocumentTab, failureOf, insertedBy, type Pending, sameReplica } from './pending.js';
import { ConnectionLost, type Requests } from './requests.js';
import type { OfflineStore } from './store.js';

/** Operations of one document that wait to be acknowledged. */
const PENDING_MAX = 4096;
/** A packet has a head beside the delta. */
const DELTA_BYTES_MAX = PACKET_BYTES_MAX - 64;
const AGAIN_MS = 250;
const AGAIN_MAX = 20;
/** Operations that go out together. */
const BATCH_MAX = 256;
/** The slot of edits before any server gave a writer; nobody leases it, and they get a real writer once there is one. */
const PROVISIONAL_SLOT = 65_535;

/** What a document needs of its hub. */
export interface DocumentHost {
  readonly requests: Requests;
  readonly timing: Timing;
  readonly store: OfflineStore | undefined;
  /** Which document of a connection an index means. */
  route(connection: Connection, index: number, document: HubDocument): void;
}

/**
 * A document of all tabs: mints the dots of their operations, sends deltas until they are acknowledged, and joins what comes.
 * When the writer changes, what was not acknowledged gets new dots on top of the server's state.
 */
export class HubDocument {
  readonly tabs = new Map<DocumentTab, number>();
  /** Resolves once what was kept is here. */
  readonly restored: Promise<void>;
  #document: Document | undefined;
  #writer: Replica;
  #pending: Pending[] = [];
  #waiting: { tab: DocumentTab; id: number; operation: Anchored }[] = [];
  #connection: Connection | undefined;
  #index = -1;
  #live = false;
  /** The document is being built anew: what is applied to half of it would be minted twice. */
  #isRebasing = false;
  /** Why the service does not open it on this connection. */
  #refusal: Failure | undefined;
  /** Counts openings: a later one makes those before stop. */
  #attempt = 0;
  readonly #keeper: DocumentKeeper | undefined;

  constructor(
    readonly name: string,
    private readonly host: DocumentHost,
  ) {
    const incarnation = 1 + Math.floor(host.timing.random() * (INCARNATION_MAX - 1));
    this.#writer = { slot: PROVISIONAL_SLOT, incarnation };
    const { store, timing } = host;
    if (store !== undefined) this.#keeper = new DocumentKeeper(`document/${name}`, store, timing, () => this.#record());
    this.restored = this.#restore();
  }

  /** Whether it is being opened on a connection, or was. */
  get isAttached(): boolean {
    return this.#connection !== undefined;
  }

  /** Whether nobody has it open and everything is acknowledged. */
  get isIdle(): boolean {
    return this.tabs.size === 0 && this.#pending.length === 0 && this.#waiting.length === 0;
  }

  get index(): number {
    return this.#index;
  }

  /** Takes up what was kept. */
  async #restore(): Promise<void> {
    const record = await this.#keeper?.load();
    if (record === undefined || this.#document !== undefined) return;
    this.#document = Document.decode(parseSchema(record.schema), record.state);
    this.#writer = record.writer;
    this.#pending = record.pending.map(({ operation, delta, writer, made }) => ({
      operation, delta: Document.delta(delta), writer, made, tries: 0, asked: undefined,
    }));
  }

  open(tab: DocumentTab, key: number, schema: Schema | undefined, state: Uint8Array | undefined, pending: readonly PendingOperation[]): void {
    this.tabs.set(tab, key);
    if (this.#document === undefined && schema !== undefined) this.#document = new Document(schema);
    // A tab that outlived its hub has what that hub had.
    if (state !== undefined && !this.#isRebasing) this.#joinAndTell(Document.delta(state), tab);
    for (const { id, operation, delta, writer } of pending) this.#adopt(tab, id, operation, delta, writer);
    this.#tellState(tab);
    if (this.#refusal !== undefined) this.#refuseAll(this.#refusal);
    this.#runWaiting();
    void this.#flush();
  }

  #adopt(tab: DocumentTab, id: number, operation: Anchored, delta: Uint8Array | undefined, writer: Replica | undefined): void {
    if (delta === undefined || writer === undefined) {
      this.#waiting.push({ tab, id, operation });
      return;
    }
    const made = Document.delta(delta);
    const known = this.#pending.find((pending) => pending.delta.equals(made));
    if (known !== undefined) this.#pending.splice(this.#pending.indexOf(known), 1);
    if (this.#pending.length === 0) this.#writer = writer;
    this.#joinAndTell(made, tab);
    this.#pending.push({ operation, delta: made, writer, made: insertedBy(operation, made), tries: 0, asked: { tab, id } });
  }

  #tellState(tab: DocumentTab): void {
    const document = this.tabs.get(tab);
    if (this.#document === undefined || document === undefined) return;
    tab.post({ type: 'opened', document, schema: this.#document.schema, state: this.#document.state.encode() });
    tab.post({ type: 'live', document, live: this.#live });
  }

  #tell(make: (document: number) => HubMessage, but?: DocumentTab): void {
    for (const [tab, document] of this.tabs) if (tab !== but) tab.post(make(document));
  }

  #joinAndTell(delta: State<CrdtMap>, but?: DocumentTab): void {
    if (this.#document === undefined || this.#document.join(delta).size === 0) return;
    const bytes = delta.encode();
    this.#tell((document) => ({ type: 'delta', document, delta: bytes }), but);
  }

  /** Applies an operation of a tab, or keeps it until the schema is known. */
  operate(tab: DocumentTab, id: number, operation: Anchored): void {
    this.#waiting.push({ tab, id, operation });
    this.#runWaiting();
    void this.#flush();
  }

  #runWaiting(): void {
    if (this.#document === undefined || this.#isRebasing) return;
    for (const { tab, id, operation } of this.#waiting.splice(0)) {
      const document = this.tabs.get(tab) ?? -1;
      try {
        const delta = this.#apply(operation, []);
        const writer = this.#writer;
        tab.post({ type: 'applied', document, id, delta: delta?.encode(), writer });
        if (delta === undefined) tab.post({ type: 'acknowledged', document, id });
        else this.#pending.push({ operation, delta, writer, made: insertedBy(operation, delta), tries: 0, asked: { tab, id } });
      } catch (error) {
        tab.post({ type: 'refused', document, id, failure: failureOf(error) });
      }
    }
  }

  /** Mints; tells all tabs. */
  #apply(operation: Anchored, renamings: readonly Renaming[]): State<CrdtMap> | undefined {
    const document = this.#document as Document;
    if (this.#pending.length >= PENDING_MAX) {
      throw new OperationError('limit', `${PENDING_MAX} operations wait to be acknowledged; go on when some are`);
    }
    const { field } = operation;
    const store = typeof field === 'string' && Object.hasOwn(document.schema, field) ? document.field(field) : undefined;
    let made: State<CrdtMap> | undefined;
    for (const resolved of resolveAnchors(operation, store, renamings)) {
      const delta = document.prepare(resolved as unknown as DocumentOperation, this.#writer, this.host.timing.now());
      if (delta === undefined) continue;
      const size = delta.encode().length;
      if (size > DELTA_BYTES_MAX) {
        throw new OperationError('limit', `the operation has ${size} bytes, ${DELTA_BYTES_MAX} fit; split it`);
      }
      document.join(delta);
      if (made === undefined) made = delta;
      else made.join(delta);
    }
    if (made === undefined) return undefined;
    const bytes = made.encode();
    this.#tell((key) => ({ type: 'delta', document: key, delta: bytes }));
    return made;
  }

  /** Opens the document on a connection and brings both ends up to date. */
  async attach(connection: Connection): Promise<void> {
    this.#connection = connection;
    this.#index = -1;
    this.#live = false;
    this.#refusal = undefined;
    this.#attempt += 1;
    const attempt = this.#attempt;
    try {
      await this.restored;
      for (let tries = 0; attempt === this.#attempt && this.#connection === connection; tries += 1) {
        const opened = await this.host.requests.ask(connection, (id) => ({
          kind: 'call', id, method: 'document/open', payload: toPayload({ name: this.name }),
        }));
        if (attempt !== this.#attempt) return;
        if (opened.status === 0) {
          await this.#opened(connection, fromPayload(opened.payload), attempt);
          return;
        }
        if (opened.status < 500 && opened.status !== 429) {
          this.#refuseAll({ kind: 'operation', status: opened.status, message: errorText(opened.payload) });
          return;
        }
        await this.#pause(AGAIN_MS * 2 ** Math.min(tries, 5));
      }
    } catch (error) {
      // The next connection begins anew.
      if (!(error instanceof ConnectionLost)) connection.close(4002);
    }
  }

  async #opened(connection: Connection, answer: unknown, attempt: number): Promise<void> {
    const { document: index, schema, writer } = answer as { document: number; schema: unknown; writer: Replica };
    this.#index = index;
    this.host.route(connection, index, this);
    const known = parseSchema(schema);
    // One that a cut interrupted begins again.
    const isRebase = this.#isRebasing || this.#pending.some((pending) => !sameReplica(pending.writer, writer));
    if (this.#document === undefined || isRebase) {
      this.#document = new Document(known);
      this.#isRebasing = isRebase;
      // Without its own dots of before, the writer would mint them again.
      if (!isRebase) for (const pending of this.#pending) this.#document.join(pending.delta);
    } else {
      // What a tab declared may be less, or of before.
      this.#document = new Document({ ...this.#document.schema, ...known }, this.#document.state);
    }
    this.#writer = writer;
    const digest = this.#document.state.isBottom ? new Uint8Array() : encodeDigest(this.#document.state.digest());
    const answered = await this.host.requests.ask(connection, (id) => ({ kind: 'digest', id, document: index, payload: digest }));
    if (answered.status !== 0) throw new Error(`the digest was refused: ${answered.status}`);
    if (attempt !== this.#attempt || this.#connection !== connection) return;
    if (isRebase) this.#rebase();
    this.#isRebasing = false;
    this.#live = true;
    if (isRebase) this.#tell((document) => ({ type: 'state', document, state: (this.#document as Document).state.encode() }));
    for (const tab of this.tabs.keys()) this.#tellState(tab);
    this.#runWaiting();
    await this.#flush();
  }

  /** Gives what is not acknowledged to the new writer, on top of what the server has. */
  #rebase(): void {
    const renamings: Renaming[] = [];
    const before = this.#pending;
    const arrived = arrivedAt((this.#document as Document).state, before);
    this.#pending = [];
    for (const pending of before) {
      const { operation, made, asked } = pending;
      if (arrived.has(pending)) {
        // Only the acknowledgement was lost.
        this.#acknowledge(pending);
        continue;
      }
      try {
        const delta = this.#apply(operation, renamings);
        if (delta === undefined) {
          this.#acknowledge(pending);
          continue;
        }
        const now = insertedBy(operation, delta);
        if (made !== undefined && now !== undefined) renamings.push({ from: made.from, to: now.from, count: made.count });
        this.#pending.push({ operation, delta, writer: this.#writer, made: now, tries: 0, asked });
        if (asked !== undefined) {
          const message = { type: 'applied', document: this.tabs.get(asked.tab) ?? -1, id: asked.id, delta: delta.encode(), writer: this.#writer } as const;
          asked.tab.post(message);
        }
      } catch (error) {
        this.#refuse(pending, failureOf(error));
      }
    }
  }

  /** A DELTA of the server. */
  received(bytes: Uint8Array): void {
    const delta = Document.delta(bytes.slice());
    this.#joinAndTell(delta);
    void this.#save();
  }

  /** The connection ended. */
  detach(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#live = false;
    this.#tell((document) => ({ type: 'live', document, live: false }));
  }

  /** Opening whose sending is under way. */
  #sending = 0;
  /** One operation at a time, to find the one that the server does not take. */
  #isSingle = false;

  /**
   * Sends what is not acknowledged, one batch after the other: so a server that has a batch has all before it, and it is known
   * what arrived when an acknowledgement gets lost. (A later total of a counter holds earlier ones: out of their order, one
   * that is missing could not be told from one that was counted.) What is to be kept is kept before it goes out.
   */
  async #flush(): Promise<void> {
    if (this.#keeper !== undefined) await this.#save();
    const attempt = this.#attempt;
    if (this.#sending === attempt) return;
    this.#sending = attempt;
    try {
      for (;;) {
        const connection = this.#connection;
        if (connection === undefined || !this.#live || attempt !== this.#attempt || this.#pending.length === 0) break;
        await this.#sendBatch(connection);
        if (this.#keeper !== undefined) await this.#save();
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost)) this.#connection?.close(4002);
    }
    if (this.#sending === attempt) this.#sending = 0;
  }

  async #sendBatch(connection: Connection): Promise<void> {
    const { batch, payload } = batchOf(this.#pending, this.#isSingle ? 1 : BATCH_MAX, DELTA_BYTES_MAX);
    const document = this.#index;
    const answer = await this.host.requests.ask(connection, (id) => ({ kind: 'delta', id, document, payload }));
    const [first] = batch;
    if (answer.status === 0) {
      this.#isSingle = false;
      for (const pending of batch) if (this.#pending.includes(pending)) this.#acknowledge(pending);
      return;
    }
    if (first === undefined || !this.#pending.includes(first)) return;
    const failure: Failure = { kind: 'operation', status: answer.status, message: errorText(answer.payload) };
    if (answer.status === 410) {
      if (this.#connection === connection) void this.attach(connection);
    } else if (answer.status >= 500 || answer.status === 429 || (answer.status === 400 && first.tries < AGAIN_MAX)) {
      // A replica that was reached just now may still lack dots that the delta refers to.
      first.tries += 1;
      await this.#pause(AGAIN_MS * Math.min(first.tries, 8));
    } else if (batch.length > 1 && answer.status !== 403) {
      this.#isSingle = true;
    } else {
      await this.#refused(batch, failure, connection);
    }
  }

  /** The server does not take it: the document is what the server has, and what else waits. */
  async #refused(batch: readonly Pending[], failure: Failure, connection: Connection): Promise<void> {
    for (const pending of batch) this.#refuse(pending, failure);
    // Another writer's name makes `attach` begin from nothing.
    for (const other of this.#pending) other.writer = { slot: PROVISIONAL_SLOT, incarnation: INCARNATION_MAX };
    if (this.#pending.length === 0) this.#document = new Document((this.#document as Document).schema);
    if (this.#connection !== connection) return;
    await this.attach(connection);
    this.#tell((document) => ({ type: 'state', document, state: (this.#document as Document).state.encode() }));
  }

  #refuse(pending: Pending, failure: Failure): void {
    this.#pending = this.#pending.filter((other) => other !== pending);
    const { asked } = pending;
    asked?.tab.post({ type: 'refused', document: this.tabs.get(asked.tab) ?? -1, id: asked.id, failure });
  }

  #refuseAll(failure: Failure): void {
    this.#refusal = failure;
    for (const pending of this.#pending) this.#refuse(pending, failure);
    for (const { tab, id } of this.#waiting.splice(0)) {
      tab.post({ type: 'refused', document: this.tabs.get(tab) ?? -1, id, failure });
    }
    this.#tell((document) => ({ type: 'refused', document, id: 0, failure }));
  }

  #acknowledge(pending: Pending): void {
    this.#pending = this.#pending.filter((other) => other !== pending);
    const { asked } = pending;
    asked?.tab.post({ type: 'acknowledged', document: this.tabs.get(asked.tab) ?? -1, id: asked.id });
    void this.#save();
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.host.timing.after(delayMs, resolve));
  }

  /** Keeps the document where it is to be kept; resolves once what is here now is durable. */
  #save(): Promise<void> {
    return this.#keeper?.save() ?? Promise.resolve();
  }

  #record(): DocumentRecord | undefined {
    if (this.#document === undefined) return undefined;
    const pending = this.#pending.map(({ operation, delta, writer, made }) => ({ operation, delta: delta.encode(), writer, made }));
    return { schema: this.#document.schema, writer: this.#writer, state: this.#document.state.encode(), pending };
  }
}
