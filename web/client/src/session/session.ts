import type { Packet, PacketOf } from '../wire/packet.js';
import { revisionToAsk, waitMaxMs } from './backoff.js';
import { Connection, type Greeting } from './connection.js';
import { Points } from './points.js';
import type { SocketMaker, Timing } from './socket.js';

/** A moved client leaves its old socket open for what is under way there, so long; the server ends it after 30 s. */
const LINGER_MS = 20_000;
const LINGER_CHECK_MS = 250;

/** What a session tells its owner. */
export interface SessionEvents {
  /** A connection is ready. What is not acknowledged has to be sent on it now; the one of before is closed afterwards. */
  opened(connection: Connection, greeting: Greeting): void;
  /** A packet, of the connection in use or of one that is being left. */
  packet(connection: Connection, packet: Packet): void;
  /** A connection ended that had been opened. `last` when no other one is in use. */
  lost(connection: Connection, last: boolean): void;
  /** Told to move. */
  moving(): void;
  /** A try failed. */
  failed(failures: number): void;
  /** Whether something is under way on a connection that is being left. */
  isBusy(connection: Connection): boolean;
}

/** Address and identity of a session. */
export interface SessionOptions {
  /** `ws:` or `wss:`; a query stays. */
  readonly url: string;
  readonly socket: SocketMaker;
  readonly timing: Timing;
  /** Resume token of before. */
  readonly token?: string | undefined;
  /** Calls below this id may have been sent before; another replica is asked for them then. */
  readonly nextId?: () => number;
}

/**
 * Keeps one connection: dials, waits by chance between tries, moves when told, new socket before old. The connection in
 * use stays in use until the next one is greeted.
 */
export class Session {
  #current: Connection | undefined;
  #dialing: Connection | undefined;
  readonly #leaving = new Set<Connection>();
  #timer: unknown;
  #token: string;
  #revision = '';
  #told: string | undefined;
  #failures = 0;
  #stopped = false;
  readonly #points = new Points();
  #known = false;

  constructor(
    private readonly options: SessionOptions,
    private readonly events: SessionEvents,
  ) {
    this.#token = options.token ?? '';
  }

  get current(): Connection | undefined {
    return this.#current;
  }

  get token(): string {
    return this.#token;
  }

  get revision(): string {
    return this.#revision;
  }

  /** Whether a DRAIN is being followed. */
  get isMoving(): boolean {
    return this.#told !== undefined;
  }

  start(): void {
    this.#dial();
  }

  /** Dials now, for example when the network is back. */
  hurry(): void {
    if (this.#stopped || this.#current !== undefined || this.#dialing !== undefined) return;
    this.options.timing.cancel(this.#timer);
    this.#dial();
  }

  stop(): void {
    this.#stopped = true;
    this.options.timing.cancel(this.#timer);
    for (const connection of [this.#current, this.#dialing, ...this.#leaving]) connection?.close(1000);
  }

  #address(): string {
    const url = new URL(this.options.url);
    const revision = revisionToAsk({ revision: this.#revision, told: this.#told, failures: this.#failures });
    if (this.#token !== '') url.searchParams.set('token', this.#token);
    // The first time there is nothing to take up.
    if (this.#known) url.searchParams.set('points', `${this.#points}`);
    if (this.#known && this.options.nextId !== undefined) url.searchParams.set('calls', `${this.options.nextId()}`);
    if (revision !== '') url.searchParams.set('pointsman-revision', revision);
    return url.href;
  }

  #dial(): void {
    if (this.#stopped || this.#dialing !== undefined) return;
    this.#dialing = new Connection(this.#address(), this.options.socket, this.options.timing, {
      greeted: (connection, greeting) => this.#greeted(connection, greeting),
      packet: (connection, packet) => this.#packet(connection, packet),
      closed: (connection) => this.#closed(connection),
    });
  }

  #later(delayMs: number): void {
    this.options.timing.cancel(this.#timer);
    this.#timer = this.options.timing.after(delayMs, () => this.#dial());
  }

  #retry(): void {
    this.#later(this.options.timing.random() * waitMaxMs(this.#failures));
  }

  #greeted(connection: Connection, greeting: Greeting): void {
    const old = this.#current;
    this.#dialing = undefined;
    this.#current = connection;
    this.#failures = 0;
    this.#told = undefined;
    this.#token = greeting.token;
    this.#revision = greeting.revision;
    this.#points.begin(greeting.points ?? '');
    this.#known = true;
    this.events.opened(connection, greeting);
    if (old !== undefined) this.#leave(old, this.options.timing.now() + LINGER_MS);
  }

  #leave(connection: Connection, untilMs: number): void {
    this.#leaving.add(connection);
    const check = (): void => {
      if (!this.#leaving.has(connection)) return;
      if (!this.events.isBusy(connection) || this.options.timing.now() >= untilMs) connection.close(1000);
      else this.options.timing.after(LINGER_CHECK_MS, check);
    };
    check();
  }

  #closed(connection: Connection): void {
    if (connection === this.#dialing) {
      this.#dialing = undefined;
      if (this.#stopped) return;
      this.#failures += 1;
      this.#retry();
      this.events.failed(this.#failures);
      return;
    }
    this.#leaving.delete(connection);
    const isCurrent = connection === this.#current;
    if (isCurrent) this.#current = undefined;
    this.events.lost(connection, isCurrent);
    // A move that is under way goes on by itself.
    if (isCurrent && !this.#stopped && this.#dialing === undefined && this.#told === undefined) this.#retry();
  }

  #packet(connection: Connection, packet: Packet): void {
    // Of two connections both tell what everybody hears.
    if (packet.kind === 'event' && packet.origin !== undefined && !this.#points.isNew(packet.origin)) return;
    if (packet.kind !== 'drain') this.events.packet(connection, packet);
    else if (connection === this.#current) this.#drain(packet);
  }

  #drain(packet: PacketOf<'drain'>): void {
    this.#told = packet.next;
    if (packet.token !== '') this.#token = packet.token;
    this.#failures = 0;
    this.#later(packet.delayMs);
    this.events.moving();
  }
}
