import type { Connection } from '../session/connection.js';
import type { Packet, PacketOf } from '../wire/packet.js';

/** Calls, deltas and digests that wait for their CALLBACK at once. */
const WAITING_MAX = 4096;

/** The connection ended before the answer came. What was asked may have been done. */
export class ConnectionLost extends Error {
  constructor() {
    super('the connection ended before the answer came');
    this.name = 'ConnectionLost';
  }
}

/** Too many wait for answers. */
export class TooMany extends Error {
  constructor() {
    super(`${WAITING_MAX} requests wait for their answers; try again later`);
    this.name = 'TooMany';
  }
}

/** The answer to a request. */
export type Answer = PacketOf<'callback'>;

interface Waiting {
  /** Where it was asked; nothing for what goes out again on the next connection. */
  readonly connection: Connection | undefined;
  readonly settle: (answer: Answer | undefined) => void;
}

/**
 * One count of ids for a whole session, over all its sockets: the service answers a call that is sent again from its record,
 * by token and id.
 */
export class Requests {
  readonly #waiting = new Map<number, Waiting>();

  constructor(public nextId = 1) {}

  get size(): number {
    return this.#waiting.size;
  }

  /** Asks on one connection; rejects with `ConnectionLost` when that ends. */
  ask(connection: Connection, make: (id: number) => Packet): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const id = this.reserve(connection, (answer) => {
        if (answer === undefined) reject(new ConnectionLost());
        else resolve(answer);
      });
      try {
        connection.send(make(id));
      } catch (error) {
        this.forget(id);
        reject(error as Error);
      }
    });
  }

  /** An id whose answer is waited for; without a connection it outlives all. `again`: the id that it had before. */
  reserve(connection: Connection | undefined, settle: (answer: Answer | undefined) => void, again?: number): number {
    if (this.#waiting.size >= WAITING_MAX) throw new TooMany();
    const id = again ?? this.nextId;
    this.nextId = Math.max(this.nextId, id + 1);
    this.#waiting.set(id, { connection, settle });
    return id;
  }

  forget(id: number): void {
    this.#waiting.delete(id);
  }

  answered(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    // The answer to a call that was sent twice may come twice.
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    waiting.settle(answer);
  }

  lost(connection: Connection): void {
    for (const [id, waiting] of [...this.#waiting]) {
      if (waiting.connection !== connection) continue;
      this.#waiting.delete(id);
      waiting.settle(undefined);
    }
  }
}
