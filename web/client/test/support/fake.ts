import type { Socket, SocketMaker, Timing } from '../../src/session/socket.js';
import { decodePacket, encodePacket, type Packet, toPayload } from '../../src/wire/packet.js';

/** Time that passes when the test says so, and chance that it chooses. */
export class FakeTiming implements Timing {
  #now = 0;
  chance = 0.5;
  #nextId = 1;
  readonly #timers = new Map<number, { at: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.chance;
  }

  after(delayMs: number, run: () => void): unknown {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#timers.set(id, { at: this.#now + delayMs, run });
    return id;
  }

  cancel(timer: unknown): void {
    this.#timers.delete(timer as number);
  }

  /** Lets time pass; timers run in their order. */
  pass(durationMs: number): void {
    const end = this.#now + durationMs;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].run();
    }
    this.#now = end;
  }
}

/** A socket whose other end is the test. */
export class FakeSocket implements Socket {
  binaryType = '';
  bufferedAmount = 0;
  onopen = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror = null;
  closed: number | undefined;
  readonly sent: Packet[] = [];

  constructor(
    readonly url: URL,
    readonly subprotocol: string,
    readonly dialledAt: number,
  ) {}

  send(data: Uint8Array): void {
    this.sent.push(decodePacket(data) as Packet);
  }

  close(code?: number): void {
    this.closed = code ?? 1005;
  }

  receive(packet: Packet): void {
    this.onmessage?.({ data: encodePacket(packet).slice().buffer });
  }

  greet(revision = 'blue', more: object = {}): void {
    const greeting = { revision, replica: 1, token: 'secret', writer: 'w', resumed: false, ...more };
    this.receive({ kind: 'event', sequence: 1, name: 'session/greeting', origin: undefined, payload: toPayload(greeting) });
  }

  drain(delayMs: number, next: string): void {
    this.receive({ kind: 'drain', delayMs, next, token: 'moved', slot: 1 });
  }

  /** The other end is gone. */
  cut(): void {
    this.closed ??= 1006;
    this.onclose?.({});
  }

  get revision(): string | null {
    return this.url.searchParams.get('pointsman-revision');
  }

  get token(): string | null {
    return this.url.searchParams.get('token');
  }
}

/** Makes fake sockets and keeps them, the newest last. */
export function fakeSockets(timing: FakeTiming): { sockets: FakeSocket[]; maker: SocketMaker } {
  const sockets: FakeSocket[] = [];
  const maker: SocketMaker = (url, subprotocol) => {
    const socket = new FakeSocket(new URL(url), subprotocol, timing.now());
    sockets.push(socket);
    return socket;
  };
  return { sockets, maker };
}
