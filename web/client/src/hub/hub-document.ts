import { type Anchored, type Renaming, resolveAnchors } from '../crdt/anchor.js';
import { Document, type DocumentOperation, parseSchema, type Schema } from '../crdt/document.js';
import { INCARNATION_MAX, type Replica } from '../crdt/dot.js';
import { OperationError } from '../crdt/errors.js';
import type { CrdtMap } from '../crdt/map.js';
import { encodeDigest, type State } from '../crdt/state.js';
import type { Connection } from '../session/connection.js';
import type { Timing } from '../session/socket.js';
import { errorText, fromPayload, PACKET_BYTES_MAX, toPayload } from '../wire/packet.js';
import { type DocumentRecord, decodeRecord, encodeRecord } from './document-record.js';
import type { Failure, HubMessage, PendingOperation } from './messages.js';
import { arrivedAt, type DocumentTab, failureOf, insertedBy, type Pending, sameReplica } from './pending.js';
import { ConnectionLost, type Requests } from './requests.js';
import type { OfflineStore } from './store.js';

/** Operations of one document that wait to be acknowledged. */
const PENDING_MAX = 4096;
/** A packet has a head beside the delta. */
const DELTA_BYTES_MAX = PACKET_BYTES_MAX - 64;
const AGAIN_MS = 250;
const AGAIN_MAX = 20;
const SAVE_AGAIN_MS = 1_000;
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
  /** Why the service does not open it on this connection. */
  #refusal: Failure | undefined;
  /** Counts openings: a later one makes those before stop. */
  #attempt = 0;
  #saving: Promise<void> | undefined;
  #unsaved = false;

  constructor(
    readonly name: string,
    private readonly host: DocumentHost,
  ) {
    const incarnation = 1 + Math.floor(host.timing.random() * (INCARNATION_MAX - 1));
    this.#writer = { slot: PROVISIONAL_SLOT, incarnation };
    // What cannot be read is as good as absent: the service has all but what was not acknowledged.
    this.restored = this.#restore().catch(() => {});
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
    if (this.host.store === undefined) return;
    const bytes = await this.host.store.load(`document/${this.name}`);
    if (bytes === undefined || this.#document !== undefined) return;
    const record = decodeRecord<DocumentRecord>(bytes);
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
    if (state !== undefined) this.#joinAndTell(Document.delta(state), tab);
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
    if (this.#document === undefined) return;
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
    const isRebase = this.#pending.some((pending) => !sameReplica(pending.writer, writer));
    if (this.#document === undefined || isRebase) {
      this.#document = new Document(known);
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
    if (this.host.store !== undefined) void this.#save();
  }

  /** The connection ended. */
  detach(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#live = false;
    this.#tell((document) => ({ type: 'live', document, live: false }));
  }

  #sent = new WeakMap<Pending, Connection>();

  /** Sends what this connection has not seen yet; what is to be kept is kept before. */
  async #flush(): Promise<void> {
    if (this.host.store !== undefined) await this.#save();
    const connection = this.#connection;
    if (connection === undefined || !this.#live) return;
    for (const pending of [...this.#pending]) {
      if (this.#sent.get(pending) === connection) continue;
      this.#sent.set(pending, connection);
      void this.#deliver(pending, connection);
    }
  }

  async #deliver(pending: Pending, connection: Connection): Promise<void> {
    const payload = pending.delta.encode();
    try {
      const document = this.#index;
      const answer = await this.host.requests.ask(connection, (id) => ({ kind: 'delta', id, document, payload }));
      if (!this.#pending.includes(pending)) return;
      if (answer.status === 0) {
        this.#acknowledge(pending);
        return;
      }
      const message = errorText(answer.payload);
      if (answer.status === 410) {
        // The first of several deltas that hear it opens the document again for all.
        if (this.#live && this.#connection === connection) await this.attach(connection);
      } else if (answer.status >= 500 || answer.status === 429 || (answer.status === 400 && pending.tries < AGAIN_MAX)) {
        // A replica that was reached just now may still lack dots that the delta refers to.
        pending.tries += 1;
        await this.#pause(AGAIN_MS * Math.min(pending.tries, 8));
        this.#sent.delete(pending);
        await this.#flush();
      } else {
        await this.#refused(pending, { kind: 'operation', status: answer.status, message }, connection);
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost)) this.#refuse(pending, failureOf(error));
    }
  }

  /** The server does not take it: the document is what the server has, and what else waits. */
  async #refused(pending: Pending, failure: Failure, connection: Connection): Promise<void> {
    this.#refuse(pending, failure);
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
    if (this.host.store !== undefined) void this.#save();
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.host.timing.after(delayMs, resolve));
  }

  /** Keeps the document; resolves once what is here now is durable. */
  #save(): Promise<void> {
    if (this.#saving !== undefined) {
      this.#unsaved = true;
      return this.#saving.then(() => (this.#unsaved ? this.#save() : undefined));
    }
    this.#unsaved = false;
    const { store } = this.host;
    const document = this.#document;
    if (store === undefined || document === undefined) return Promise.resolve();
    const pending = this.#pending.map(({ operation, delta, writer, made }) => ({ operation, delta: delta.encode(), writer, made }));
    const record: DocumentRecord = { schema: document.schema, writer: this.#writer, state: document.state.encode(), pending };
    this.#saving = store.save(`document/${this.name}`, encodeRecord(record)).then(
      () => {
        this.#saving = undefined;
      },
      // Nothing is sent that is not kept: a full disk holds edits back until there is room.
      () => this.#pause(SAVE_AGAIN_MS).then(() => {
        this.#saving = undefined;
        return this.#save();
      }),
    );
    return this.#saving;
  }
}
