import type { Schema } from '../crdt/document.js';
import { CallError } from '../errors.js';
import { hasLocks, holdForLife, whenReleased } from '../hub/locks.js';
import type { HubMessage, LinkState, TabMessage } from '../hub/messages.js';
import type { OfflineStore } from '../hub/store.js';
import type { Fetch } from '../hub/http.js';
import { platformSocket, type SocketMaker, type Timing, realTiming } from '../session/socket.js';
import { errorOf, LiveDocument } from './live-document.js';
import { type Source, TabStreams, type UploadHandle } from './streams.js';
import { LazyWay, LeaderWay, OwnWay, type Sharing, type TabPort, type Way, WorkerWay } from './ways.js';

/**
 * A hub that does not answer within this time is not there. Long, because tabs that give up while the others wait would end
 * with a socket of their own; a worker that is absent or cannot be loaded is known at once.
 */
const WELCOME_WITHIN_MS = 5_000;
/** The name of a worker that just ended may still lead to it: then another try finds the next one. */
const AGAIN_WITHIN_MS = 500;
const AGAIN_TRIES = 3;
const CALL_WITHIN_MS = 30_000;
/** Only for hubs whose end no lock tells. */
const ALIVE_EVERY_MS = 5_000;
/** A hub that begins anew must not use ids that the one before gave to other tabs. */
const IDS_SKIPPED = 2 ** 20;

export interface ClientOptions {
  /** `auto` (the default): the first of worker, leader and none that works. */
  readonly sharing?: Sharing | 'auto';
  /** Tabs that say the same share one socket; the address when absent. Say who is signed in where that matters. */
  readonly group?: string;
  /** Where the application serves `hub-worker.js`; without it there is no worker. */
  readonly worker?: string | URL;
  /** Calls by HTTP go to `/api` below this; the address of the socket as `http:` when absent. */
  readonly http?: string;
  /** Keep edits that are not acknowledged in IndexedDB. */
  readonly offline?: boolean;
  /** Another place to keep them; for tabs that share no hub. */
  readonly store?: OfflineStore;
  /** Resume token of an earlier client. */
  readonly token?: string;
  /** Value of the header `Authorization` of calls by HTTP. */
  readonly authorization?: string;
  readonly socket?: SocketMaker;
  readonly fetch?: Fetch;
  readonly timing?: Timing;
}

interface Call {
  readonly method: string;
  readonly args: unknown;
  readonly resolve: (value: any) => void;
  readonly reject: (error: Error) => void;
  readonly timer: unknown;
  wireId: number | undefined;
}

/** What an event tells. */
export type EventListener = (data: any, name: string) => void;

/** `http:` for `ws:`, without path and query. */
function httpOf(url: string): string {
  const address = new URL(url);
  return `${address.protocol === 'wss:' ? 'https:' : 'http:'}//${address.host}`;
}

/** A tab's client. All tabs of one service share one socket where the browser can. */
export class Client {
  readonly #options: ClientOptions;
  readonly #timing: Timing;
  readonly #ways: Way[];
  readonly #streams = new TabStreams((message) => this.#post(message));
  readonly #calls = new Map<number, Call>();
  readonly #documents = new Map<number, LiveDocument<any>>();
  readonly #events = new Map<string, Set<EventListener>>();
  readonly #stateListeners = new Set<(state: LinkState) => void>();
  readonly #lock: Promise<string | undefined>;
  #port: TabPort | undefined;
  #outbox: TabMessage[] = [];
  #state: LinkState = 'connecting';
  #token: string;
  #revision = '';
  #nextWireId = 1;
  #nextId = 1;
  #welcomed = false;
  #attempt = 0;
  /** Tries that are left for a way that worked before. */
  #tries = 0;
  #alive: unknown;
  #watch: AbortController | undefined;
  #closed = false;

  constructor(
    readonly url: string,
    options: ClientOptions = {},
  ) {
    this.#options = options;
    this.#timing = options.timing ?? realTiming;
    this.#token = options.token ?? '';
    this.#ways = this.#possibleWays();
    this.#lock = this.#ways[0]?.sharing === 'none' ? Promise.resolve(undefined) : holdForLife('pointsman-tab-');
    void this.#connect();
    this.#keepAlive();
  }

  #possibleWays(): Way[] {
    const { sharing = 'auto', worker, fetch, store } = this.#options;
    const socket = this.#options.socket ?? platformSocket;
    const hub = { socket, timing: this.#timing, store, whenReleased, ...(fetch === undefined ? {} : { fetch }) };
    const wanted = (one: Sharing): boolean => sharing === 'auto' || sharing === one;
    const ways: Way[] = [];
    const name = `pointsman:${this.#options.group ?? this.url}`;
    if (wanted('worker') && worker !== undefined && WorkerWay.isPossible()) ways.push(new WorkerWay(worker, name));
    const inBrowser = typeof (globalThis as { document?: unknown }).document === 'object';
    if (wanted('leader') && (inBrowser || sharing === 'leader') && hasLocks() && LeaderWay.isPossible()) {
      ways.push(new LazyWay('leader', () => new LeaderWay(name, hub)));
    }
    if (wanted('none') || ways.length === 0) ways.push(new OwnWay(hub));
    return ways;
  }

  /** What is known of the link to the service. */
  get state(): LinkState {
    return this.#state;
  }

  /** How this tab reaches its hub. */
  get sharing(): Sharing {
    return (this.#ways[0] as Way).sharing;
  }

  /** Resume token; a secret. */
  get token(): string {
    return this.#token;
  }

  /** Revision of the service that has the session. */
  get revision(): string {
    return this.#revision;
  }

  /** Calls back on each change of `state`, `revision` or `token`; gives what ends that. */
  onState(listener: (state: LinkState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Resolves once the state is one of these. */
  until(...states: readonly LinkState[]): Promise<LinkState> {
    if (states.includes(this.#state)) return Promise.resolve(this.#state);
    return new Promise((resolve) => {
      const end = this.onState((state) => {
        if (!states.includes(state)) return;
        end();
        resolve(state);
      });
    });
  }

  /**
   * Calls `unit/method`. A call that was cut is sent again on the next connection under the same id, and the service answers
   * it from its record instead of doing it twice. Rejects with `CallError`.
   */
  call<T = unknown>(method: string, args: unknown = [], options: { withinMs?: number } = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId += 1;
      const timer = this.#timing.after(options.withinMs ?? CALL_WITHIN_MS, () => {
        this.#calls.delete(id);
        this.#post({ type: 'cancel', id });
        reject(new CallError(408, `${method}: no answer in time; it may have been done`));
      });
      this.#calls.set(id, { method, args, resolve, reject, timer, wireId: undefined });
      this.#post({ type: 'call', id, method, args });
    });
  }

  /**
   * Calls again and again, and tells each result that differs from the one before: for what no event tells, as in the state
   * `polling`. Waits `everyMs` after each answer; errors are passed over. Gives what ends it.
   */
  poll(method: string, args: unknown, everyMs: number, listener: (result: any) => void): () => void {
    let ended = false;
    let last: string | undefined;
    const ask = async (): Promise<void> => {
      try {
        const result = await this.call(method, args);
        const text = JSON.stringify(result);
        if (!ended && text !== last) listener(result);
        last = text;
      } catch {
        // The next one may have an answer.
      }
      if (!ended && !this.#closed) this.#timing.after(everyMs, () => void ask());
    };
    void ask();
    return () => {
      ended = true;
    };
  }

  /** Listens to events of that name, or of all with `*`; gives what ends that. */
  on(name: string, listener: EventListener): () => void {
    const listeners = this.#events.get(name) ?? new Set();
    this.#events.set(name, listeners);
    if (listeners.size === 0) this.#post({ type: 'subscribe', name });
    listeners.add(listener);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      this.#events.delete(name);
      this.#post({ type: 'unsubscribe', name });
    };
  }

  /**
   * Opens a document; who opens it twice gets the same one, and closes it twice. With a schema it can be changed before the
   * service was ever reached.
   */
  document<S extends Schema = Schema>(name: string, schema?: S): LiveDocument<S> {
    const open = [...this.#documents.values()].find((one) => one.name === name);
    if (open !== undefined) {
      open.share();
      return open as LiveDocument<S>;
    }
    const key = this.#nextId;
    this.#nextId += 1;
    const document = new LiveDocument<S>(
      name, key, schema,
      // Opening is repeated by the link itself, which knows when there is one.
      (message) => (message.type === 'open' && this.#port === undefined ? undefined : this.#post(message)),
      () => this.#documents.delete(key),
    );
    this.#documents.set(key, document);
    return document;
  }

  /** Begins an upload: pass its `streamId` to a call, then `send`. */
  async upload(source: Source, name = ''): Promise<UploadHandle> {
    const state = await this.until('open', 'moving', 'polling', 'closed');
    if (state === 'polling' || state === 'closed') throw new CallError(503, 'streams need a socket; try again when there is one');
    return this.#streams.begin(source, name);
  }

  /** The bytes of a stream that a call named. */
  download(streamId: number): ReadableStream<Uint8Array> {
    return this.#streams.download(streamId);
  }

  /** Ends the client of this tab; the others go on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timing.cancel(this.#alive);
    this.#port?.post({ type: 'bye' });
    this.#watch?.abort();
    for (const call of this.#calls.values()) {
      this.#timing.cancel(call.timer);
      call.reject(new CallError(499, 'the client was closed'));
    }
    this.#calls.clear();
    this.#streams.lost();
    // The farewell is on its way by then.
    queueMicrotask(() => queueMicrotask(() => this.#ways.forEach((way) => way.stop())));
    this.#tellState('closed');
  }

  #tellState(state: LinkState): void {
    this.#state = state;
    for (const listener of [...this.#stateListeners]) listener(state);
  }

  #post(message: TabMessage): void {
    if (this.#port !== undefined) this.#port.post(message);
    // What is not said here is said anew to the next hub.
    else if (message.type === 'upload') this.#outbox.push(message);
  }

  /** Reaches a hub and tells it all that this tab wants. */
  async #connect(): Promise<void> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    const way = this.#ways[0] as Way;
    const isOver = (): boolean => this.#closed || attempt !== this.#attempt;
    const again = (): void => {
      if (!isOver()) this.#lostHub(way);
    };
    this.#welcomed = false;
    if (way.sharing !== 'none') {
      this.#timing.after(this.#tries > 0 ? AGAIN_WITHIN_MS : WELCOME_WITHIN_MS, () => {
        if (!isOver() && !this.#welcomed) this.#lostHub(way);
      });
    }
    try {
      const port = await way.open(again);
      const lock = await this.#lock;
      if (isOver()) {
        port.close();
        return;
      }
      this.#port = port;
      port.onMessage = (message) => this.#receive(message);
      this.#introduce(port, lock);
    } catch {
      again();
    }
  }

  #introduce(port: TabPort, lock: string | undefined): void {
    const { http = httpOf(this.url), offline = false, authorization } = this.#options;
    port.post({
      type: 'hello', url: this.url, http, token: this.#token, nextId: this.#nextWireId, lock, isPersistent: offline, authorization,
      beats: lock === undefined && this.sharing !== 'none',
    });
    for (const name of this.#events.keys()) port.post({ type: 'subscribe', name });
    for (const [id, { method, args, wireId }] of this.#calls) port.post({ type: 'call', id, method, args, wireId });
    for (const document of this.#documents.values()) document.reopen();
    for (const message of this.#outbox.splice(0)) port.post(message);
  }

  /** The hub is gone, or never was there: another one, by the next way when this one never worked. */
  #lostHub(way: Way): void {
    const wasWelcomed = this.#welcomed;
    this.#port?.close();
    this.#port = undefined;
    this.#watch?.abort();
    this.#streams.lost();
    if (wasWelcomed) {
      this.#tries = AGAIN_TRIES;
      if (this.#nextWireId > 1) this.#nextWireId += IDS_SKIPPED;
    } else if (this.#tries > 1) {
      this.#tries -= 1;
    } else if (this.#ways.length > 1) {
      way.stop();
      this.#ways.shift();
    }
    this.#tellState('connecting');
    void this.#connect();
  }

  #keepAlive(): void {
    this.#alive = this.#timing.after(ALIVE_EVERY_MS, () => {
      if (this.#closed) return;
      const way = this.#ways[0] as Way;
      // A lock tells of the end of the hub, and one of this tab's; without them both say that they are alive.
      if (this.#port !== undefined && way.sharing !== 'none' && this.#watch === undefined) {
        this.#welcomed = false;
        this.#port.post({ type: 'alive' });
        const attempt = this.#attempt;
        this.#timing.after(ALIVE_EVERY_MS / 2, () => {
          if (this.#closed || attempt !== this.#attempt || this.#welcomed) return;
          this.#welcomed = true;
          this.#lostHub(way);
        });
      }
      this.#keepAlive();
    });
  }

  #receive(message: HubMessage): void {
    switch (message.type) {
      case 'welcome':
        this.#welcome(message.lock);
        break;
      case 'link':
        this.#token = message.token === '' ? this.#token : message.token;
        this.#revision = message.revision;
        this.#nextWireId = Math.max(this.#nextWireId, message.nextId);
        this.#tellState(message.state);
        break;
      case 'called':
        this.#called(message.id, message.wireId);
        break;
      case 'result':
        this.#settle(message.id)?.resolve(message.value);
        break;
      case 'failure':
        this.#settle(message.id)?.reject(errorOf(message.failure));
        break;
      case 'event':
        for (const name of [message.name, '*']) {
          for (const listener of this.#events.get(name) ?? []) listener(message.data, message.name);
        }
        break;
      default:
        if ('document' in message) this.#documents.get(message.document)?.receive(message);
        else this.#streams.receive(message);
    }
  }

  #welcome(lock: string | undefined): void {
    this.#welcomed = true;
    this.#tries = 0;
    if (lock === undefined || this.#watch?.signal.aborted === false) return;
    this.#watch = new AbortController();
    const way = this.#ways[0] as Way;
    const attempt = this.#attempt;
    whenReleased(lock, () => {
      if (!this.#closed && attempt === this.#attempt) this.#lostHub(way);
    }, this.#watch.signal);
  }

  #called(id: number, wireId: number): void {
    this.#nextWireId = Math.max(this.#nextWireId, wireId + 1);
    const call = this.#calls.get(id);
    if (call !== undefined) call.wireId = wireId;
  }

  #settle(id: number): Call | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (call !== undefined) this.#timing.cancel(call.timer);
    return call;
  }
}
