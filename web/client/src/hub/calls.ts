import { CallError } from '../errors.js';
import type { Connection } from '../session/connection.js';
import { errorText, fromPayload, toPayload } from '../wire/packet.js';
import type { Answer, Requests } from './requests.js';

interface Call {
  readonly id: number;
  readonly method: string;
  readonly args: unknown;
  readonly done: (result: CallResult) => void;
  /** Went out by HTTP: sending it by socket too would do it twice. */
  byHttp: boolean;
}

/** How a call ended. */
export type CallResult = { readonly value: unknown } | { readonly error: CallError };

/** What a CALLBACK says. */
export function resultOf({ status, payload }: Answer): CallResult {
  try {
    if (status === 0) return { value: fromPayload(payload) };
  } catch {
    return { error: new CallError(502, 'the result is not JSON') };
  }
  return { error: new CallError(status, errorText(payload)) };
}

/** Calls by HTTP, while sockets do not get through. */
export type HttpCaller = (method: string, args: unknown) => Promise<CallResult | undefined>;

/** Calls that have no answer yet. They outlive connections: each goes out again on the next one, under its own id. */
export class Calls {
  readonly #calls = new Map<number, Call>();
  #http: HttpCaller | undefined;

  constructor(private readonly requests: Requests) {}

  /** Calls; sends it at once where that is possible. Gives the id and what forgets the call. */
  call(
    { method, args, wireId }: { method: string; args: unknown; wireId?: number | undefined },
    connection: Connection | undefined, done: (result: CallResult) => void,
  ): { id: number; forget: () => void } {
    let id: number;
    try {
      id = this.requests.reserve(undefined, (answer) => {
        this.#calls.delete(id);
        if (answer !== undefined) done(resultOf(answer));
      }, wireId);
    } catch (error) {
      done({ error: new CallError(503, (error as Error).message) });
      return { id: 0, forget: () => {} };
    }
    const call: Call = { id, method, args, done, byHttp: false };
    this.#calls.set(id, call);
    if (connection !== undefined) this.#send(call, connection);
    else if (this.#http !== undefined) void this.#sendByHttp(call, this.#http);
    return { id, forget: () => this.#forget(call) };
  }

  /** Sends all again, in order. */
  resend(connection: Connection): void {
    this.#http = undefined;
    for (const call of this.#calls.values()) if (!call.byHttp) this.#send(call, connection);
  }

  /** From now on calls go by HTTP, those that wait too; until the next `resend`. */
  useHttp(http: HttpCaller): void {
    this.#http = http;
    for (const call of this.#calls.values()) if (!call.byHttp) void this.#sendByHttp(call, http);
  }

  #forget(call: Call): void {
    this.#calls.delete(call.id);
    this.requests.forget(call.id);
  }

  #send(call: Call, connection: Connection): void {
    try {
      connection.send({ kind: 'call', id: call.id, method: call.method, payload: toPayload(call.args) });
    } catch (error) {
      this.#forget(call);
      call.done({ error: new CallError(413, `the arguments do not fit: ${(error as Error).message}`) });
    }
  }

  async #sendByHttp(call: Call, http: HttpCaller): Promise<void> {
    call.byHttp = true;
    const result = await http(call.method, call.args);
    call.byHttp = false;
    // Nothing came through: it waits for the next way out.
    if (result === undefined || !this.#calls.has(call.id)) return;
    this.#forget(call);
    call.done(result);
  }
}
