import { decodePacket, encodePacket, fromPayload, type Packet, SUBPROTOCOL } from '../wire/packet.js';
import type { Socket, SocketMaker, Timing } from './socket.js';

/** After so long without a packet the client asks whether the server is there. */
const SILENCE_MS = 40_000;
/** After so long it takes the connection for dead. */
const DEAD_MS = 60_000;
const GREETED_WITHIN_MS = 10_000;

/** The server's first event. */
export interface Greeting {
  readonly revision: string;
  readonly replica: number;
  readonly token: string;
  readonly writer: string;
  readonly resumed: boolean;
  /** The largest id of a call that the service knows of this session. */
  readonly lastCall?: number;
  /** Up to where events were heard when the session began: `slot.position,…`. */
  readonly points?: string;
}

/** What a connection tells its owner. After `closed` it tells nothing. */
export interface ConnectionEvents {
  greeted(connection: Connection, greeting: Greeting): void;
  packet(connection: Connection, packet: Packet): void;
  closed(connection: Connection): void;
}

function isGreeting(json: unknown): json is Greeting {
  const { revision, token } = Object(json) as Partial<Greeting>;
  return typeof revision === 'string' && typeof token === 'string';
}

/** One WebSocket in the binary dialect: greeting, liveness, packets. */
export class Connection {
  readonly #socket: Socket;
  #greeting: Greeting | undefined;
  #closed = false;
  #seen = 0;
  #heardAt: number;
  #timer: unknown;

  constructor(
    url: string,
    maker: SocketMaker,
    private readonly timing: Timing,
    private readonly events: ConnectionEvents,
  ) {
    this.#heardAt = timing.now();
    this.#socket = maker(url, SUBPROTOCOL);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = (event: { data: unknown }) => this.#received(event.data);
    this.#socket.onclose = () => this.#lost();
    // An error is always followed by a close; some platforms complain when nobody listens.
    this.#socket.onerror = () => {};
    this.#timer = timing.after(GREETED_WITHIN_MS, () => this.close(1000));
  }

  get isOpen(): boolean {
    return this.#greeting !== undefined && !this.#closed;
  }

  get greeting(): Greeting | undefined {
    return this.#greeting;
  }

  /** Bytes that the socket has not sent yet. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Says whether it was handed to the socket. Throws `RangeError` when the packet is too large. */
  send(packet: Packet): boolean {
    const bytes = encodePacket(packet);
    if (this.#closed) return false;
    try {
      this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
      return true;
    } catch {
      // The socket is closing; what is not acknowledged goes out on the next one.
      return false;
    }
  }

  close(code: number): void {
    if (this.#closed) return;
    try {
      this.#socket.close(code);
    } catch {
      // Not open yet on some platforms: it is dropped all the same.
    }
    this.#lost();
  }

  #lost(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.timing.cancel(this.#timer);
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.events.closed(this);
  }

  #received(data: unknown): void {
    if (this.#closed) return;
    this.#heardAt = this.timing.now();
    let packet: Packet | undefined;
    try {
      if (!(data instanceof ArrayBuffer)) throw new TypeError('a text message');
      packet = decodePacket(new Uint8Array(data));
      if (packet === undefined) return;
      this.#take(packet);
    } catch {
      // 1002 may not be sent by browsers: 3000 to 4999 are theirs to use.
      this.close(4002);
    }
  }

  #take(packet: Packet): void {
    if (packet.kind === 'ping') {
      this.send({ kind: 'pong', seen: this.#seen });
      return;
    }
    if (packet.kind === 'event') this.#seen = packet.sequence;
    if (packet.kind === 'delta' && packet.id < 0) this.#seen = -packet.id;
    if (this.#greeting === undefined) {
      this.#greet(packet);
      return;
    }
    if (packet.kind !== 'pong') this.events.packet(this, packet);
  }

  #greet(packet: Packet): void {
    const greeting = packet.kind === 'event' && packet.name === 'session/greeting' ? fromPayload(packet.payload) : undefined;
    if (!isGreeting(greeting)) throw new TypeError('the first packet is no greeting');
    this.#greeting = greeting;
    this.timing.cancel(this.#timer);
    this.#watch();
    this.events.greeted(this, greeting);
  }

  #watch(): void {
    this.#timer = this.timing.after(SILENCE_MS / 2, () => {
      const silence = this.timing.now() - this.#heardAt;
      if (silence >= DEAD_MS) {
        this.close(1000);
        return;
      }
      if (silence >= SILENCE_MS) this.send({ kind: 'ping', seen: this.#seen });
      this.#watch();
    });
  }
}
