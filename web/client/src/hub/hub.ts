import type { Connection, Greeting } from '../session/connection.js';
import { Session } from '../session/session.js';
import { realTiming, type SocketMaker, type Timing } from '../session/socket.js';
import { fromPayload, type Packet, type PacketOf } from '../wire/packet.js';
import { Calls, type CallResult } from './calls.js';
import { decodeRecord, encodeRecord } from './document-record.js';
import { callByHttp, type Fetch, type HttpOptions, probe } from './http.js';
import { HubDocument } from './hub-document.js';
import { HubStreams } from './hub-streams.js';
import type { HubMessage, LinkState, Port, TabMessage } from './messages.js';
import { Requests } from './requests.js';
import { IndexedDbStore, type OfflineStore } from './store.js';

/** Tries that fail before HTTP is tried. */
const FAILURES_BEFORE_HTTP = 2;
/** Events that are remembered, so that one which comes on the old and on the new socket is told once. */
const REMEMBERED_EVENTS = 2048;
/** A tab that should say that it is alive and did not for so long is gone; browsers let hidden tabs run once a minute. */
const SILENT_MAX_MS = 150_000;
/** Ids that are set aside at a time, so that a restart does not use one twice. */
const IDS_RESERVED = 1024;

/** What a hub needs of its surroundings. */
export interface HubOptions {
  readonly socket: SocketMaker;
  readonly timing?: Timing;
  readonly fetch?: Fetch;
  /** Where unacknowledged edits are kept; IndexedDB when a tab asks for it and this is absent. */
  readonly store?: OfflineStore | undefined;
  /** Calls `gone` once the holder of that Web Lock is gone. */
  readonly whenReleased?: ((lock: string, gone: () => void) => void) | undefined;
  /** Name of the Web Lock that this hub holds. */
  readonly lock?: string | undefined;
}

interface Tab {
  readonly port: Port<HubMessage, TabMessage>;
  post(message: HubMessage): void;
  readonly events: Set<string>;
  /** Documents by the tab's own numbers. */
  readonly documents: Map<number, HubDocument>;
  readonly calls: Map<number, () => void>;
  /** When it was heard last; nothing when a lock tells of its end. */
  heardAt: number | undefined;
}

/** One session for many tabs. */
export class Hub {
  readonly #tabs = new Set<Tab>();
  readonly #documents = new Map<string, HubDocument>();
  readonly #routes = new WeakMap<Connection, Map<number, HubDocument>>();
  readonly #requests = new Requests();
  readonly #calls = new Calls(this.#requests);
  readonly #streams: HubStreams;
  readonly #timing: Timing;
  readonly #remembered = new Set<string>();
  #session: Session | undefined;
  #http: HttpOptions | undefined;
  #store: OfflineStore | undefined;
  #state: LinkState = 'connecting';
  #reservedTo = 0;

  constructor(private readonly options: HubOptions) {
    this.#timing = options.timing ?? realTiming;
    this.#streams = new HubStreams(this.#timing);
  }

  /** How many tabs are there. */
  get tabs(): number {
    return this.#tabs.size;
  }

  attach(port: Port<HubMessage, TabMessage>): void {
    const tab: Tab = {
      port, post: (message) => port.post(message), events: new Set(), documents: new Map(), calls: new Map(), heardAt: undefined,
    };
    this.#tabs.add(tab);
    port.onMessage = (message) => this.#receive(tab, message);
  }

  /** Ends the session. */
  stop(): void {
    for (const tab of [...this.#tabs]) this.#leave(tab);
    this.#session?.stop();
    this.#state = 'closed';
  }

  #receive(tab: Tab, message: TabMessage): void {
    if (tab.heardAt !== undefined) tab.heardAt = this.#timing.now();
    switch (message.type) {
      case 'hello':
        this.#hello(tab, message);
        break;
      case 'alive':
        tab.post({ type: 'welcome', lock: this.options.lock });
        break;
      case 'bye':
        this.#leave(tab);
        break;
      case 'call':
        this.#call(tab, message);
        break;
      case 'cancel':
        tab.calls.get(message.id)?.();
        tab.calls.delete(message.id);
        break;
      case 'subscribe':
        tab.events.add(message.name);
        break;
      case 'unsubscribe':
        tab.events.delete(message.name);
        break;
      case 'open':
        void this.#open(tab, message);
        break;
      case 'close':
        this.#closeDocument(tab, message.document);
        break;
      case 'operation':
        tab.documents.get(message.document)?.operate(tab, message.id, message.operation);
        break;
      default:
        this.#receiveStream(tab, message);
    }
  }

  #receiveStream(tab: Tab, message: TabMessage): void {
    const connection = this.#session?.current;
    switch (message.type) {
      case 'upload':
        this.#streams.begin(tab, message, connection);
        break;
      case 'chunk':
        this.#streams.chunk(tab, message.upload, message.bytes);
        break;
      case 'download':
        this.#streams.claim(tab, message.stream, connection);
        break;
      case 'credit':
        this.#streams.credit(tab, message.stream, message.bytes);
        break;
      case 'abort':
        this.#streams.abort(tab, message.stream, message.upload);
        break;
      default:
    }
  }

  #hello(tab: Tab, hello: Extract<TabMessage, { type: 'hello' }>): void {
    if (hello.lock !== undefined) this.options.whenReleased?.(hello.lock, () => this.#leave(tab));
    if (hello.beats) {
      tab.heardAt = this.#timing.now();
      this.#watchSilence(tab);
    }
    // A tab that outlived its hub knows how far the ids went.
    if (hello.nextId > this.#requests.nextId) this.#requests.nextId = hello.nextId;
    if (this.#http === undefined) {
      const fetch = this.options.fetch ?? ((url, init) => globalThis.fetch(url, init));
      this.#http = { base: hello.http, fetch, authorization: hello.authorization };
      this.#store = this.options.store ?? (hello.isPersistent && 'indexedDB' in globalThis ? new IndexedDbStore() : undefined);
      void this.#begin(hello.url, hello.token);
    } else {
      this.#session?.hurry();
    }
    tab.post({ type: 'welcome', lock: this.options.lock });
    this.#tellLink(tab);
  }

  #watchSilence(tab: Tab): void {
    this.#timing.after(SILENT_MAX_MS / 2, () => {
      if (!this.#tabs.has(tab) || tab.heardAt === undefined) return;
      if (this.#timing.now() - tab.heardAt >= SILENT_MAX_MS) this.#leave(tab);
      else this.#watchSilence(tab);
    });
  }

  async #begin(url: string, token: string): Promise<void> {
    let kept: { token: string; nextId: number } | undefined;
    try {
      const bytes = await this.#store?.load('session');
      if (bytes !== undefined) kept = decodeRecord(bytes);
    } catch {
      // What cannot be read is as good as absent: a new session gets a new token.
    }
    if (kept !== undefined) {
      this.#requests.nextId = Math.max(this.#requests.nextId, kept.nextId);
      this.#reservedTo = kept.nextId;
    }
    this.#session = new Session(
      {
        url,
        socket: this.options.socket,
        timing: this.#timing,
        token: token === '' ? kept?.token : token,
        nextId: () => this.#requests.nextId,
      },
      {
        opened: (connection, greeting) => this.#opened(connection, greeting),
        packet: (connection, packet) => this.#packet(connection, packet),
        lost: (connection, last) => this.#lost(connection, last),
        moving: () => this.#setState('moving'),
        failed: (failures) => void this.#failed(failures),
        isBusy: (connection) => this.#streams.isBusy(connection) || this.#calls.isBusy(connection),
      },
    );
    this.#session.start();
  }

  #setState(state: LinkState): void {
    this.#state = state;
    for (const tab of this.#tabs) this.#tellLink(tab);
  }

  #tellLink(tab: Tab): void {
    tab.post({
      type: 'link', state: this.#state, token: this.#session?.token ?? '', nextId: this.#requests.nextId,
      revision: this.#session?.revision ?? '',
    });
  }

  #opened(connection: Connection, greeting: Greeting): void {
    // Whoever used the token before may have gone further.
    if (Number.isSafeInteger(greeting.lastCall)) {
      this.#requests.nextId = Math.max(this.#requests.nextId, (greeting.lastCall as number) + 1);
    }
    this.#keepIds(greeting.token);
    this.#calls.resend(connection);
    for (const document of this.#documents.values()) void document.attach(connection);
    this.#setState('open');
  }

  /** Keeps how far ids may go before they are used: a token with an id of before would get the answer of before. */
  #keepIds(token: string): void {
    if (this.#store === undefined || this.#requests.nextId + IDS_RESERVED / 2 < this.#reservedTo) return;
    this.#reservedTo = this.#requests.nextId + IDS_RESERVED;
    // If it fails, `lastCall` of the next greeting tells how far ids went, on the same replica.
    this.#store.save('session', encodeRecord({ token, nextId: this.#reservedTo })).catch(() => {});
  }

  #lost(connection: Connection, last: boolean): void {
    this.#requests.lost(connection);
    this.#streams.lost(connection);
    for (const document of this.#documents.values()) document.detach(connection);
    const current = this.#session?.current;
    if (current !== undefined) this.#calls.resend(current);
    if (last) this.#setState('connecting');
  }

  async #failed(failures: number): Promise<void> {
    if (failures < FAILURES_BEFORE_HTTP || this.#state === 'polling' || this.#http === undefined) return;
    const http = this.#http;
    if (!(await probe(http)) || this.#session?.current !== undefined || this.#state === 'closed') return;
    this.#setState('polling');
    this.#calls.useHttp(async (method, args) => {
      const result = await callByHttp(http, method, args);
      if (result === undefined && this.#state === 'polling') this.#setState('connecting');
      return result;
    });
  }

  #packet(connection: Connection, packet: Packet): void {
    switch (packet.kind) {
      case 'callback':
        this.#requests.answered(packet);
        break;
      case 'event':
        this.#event(packet);
        break;
      case 'delta':
        this.#routes.get(connection)?.get(packet.document)?.received(packet.payload);
        break;
      case 'stream-init':
      case 'stream-chunk':
      case 'stream-end':
      case 'stream-abort':
      case 'credit':
        this.#streams.received(connection, packet);
        break;
      default:
    }
  }

  #event({ name, origin, payload }: PacketOf<'event'>): void {
    if (origin !== undefined && this.#isRepeated(`${origin.slot}:${origin.position}`)) return;
    const data = fromPayload(payload);
    for (const tab of this.#tabs) {
      if (tab.events.has(name) || tab.events.has('*')) tab.post({ type: 'event', name, data });
    }
  }

  #isRepeated(place: string): boolean {
    if (this.#remembered.has(place)) return true;
    this.#remembered.add(place);
    for (const oldest of this.#remembered) {
      if (this.#remembered.size <= REMEMBERED_EVENTS) break;
      this.#remembered.delete(oldest);
    }
    return false;
  }

  #call(tab: Tab, message: Extract<TabMessage, { type: 'call' }>): void {
    const { id } = message;
    const done = (result: CallResult): void => {
      tab.calls.delete(id);
      if ('value' in result) {
        tab.post({ type: 'result', id, value: result.value });
      } else {
        const { status, message } = result.error;
        tab.post({ type: 'failure', id, failure: { kind: 'call', status, message } });
      }
    };
    const sent = (wireId: number): void => {
      this.#keepIds(this.#session?.token ?? '');
      tab.post({ type: 'called', id, wireId });
    };
    tab.calls.set(id, this.#calls.call(message, this.#session?.current, done, sent));
  }

  async #open(tab: Tab, message: Extract<TabMessage, { type: 'open' }>): Promise<void> {
    const { name } = message;
    let document = this.#documents.get(name);
    const isNew = document === undefined;
    if (document === undefined) {
      document = new HubDocument(name, {
        requests: this.#requests,
        timing: this.#timing,
        store: this.#store,
        route: (connection, index, routed) => this.#route(connection, index, routed),
      });
      this.#documents.set(name, document);
    }
    tab.documents.set(message.document, document);
    if (isNew && this.#store !== undefined) await document.restored;
    document.open(tab, message.document, message.schema, message.state, message.pending);
    const connection = this.#session?.current;
    if (isNew && connection !== undefined && !document.isAttached) void document.attach(connection);
  }

  #route(connection: Connection, index: number, document: HubDocument): void {
    const routes = this.#routes.get(connection) ?? new Map<number, HubDocument>();
    routes.set(index, document);
    this.#routes.set(connection, routes);
  }

  #closeDocument(tab: Tab, key: number): void {
    const document = tab.documents.get(key);
    if (document === undefined) return;
    tab.documents.delete(key);
    document.tabs.delete(tab);
    if (!document.isIdle) return;
    this.#documents.delete(document.name);
    const connection = this.#session?.current;
    if (connection === undefined || document.index < 0) return;
    this.#routes.get(connection)?.delete(document.index);
    this.#calls.call({ method: 'document/close', args: { document: document.index } }, connection, () => {});
  }

  #leave(tab: Tab): void {
    if (!this.#tabs.delete(tab)) return;
    for (const forget of tab.calls.values()) forget();
    for (const key of [...tab.documents.keys()]) this.#closeDocument(tab, key);
    this.#streams.left(tab);
    tab.port.close();
  }
}
