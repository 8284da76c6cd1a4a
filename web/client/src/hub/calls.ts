import { CallError } from '../errors.js';
import type { Connection } from '../session/connection.js';
import { errorText, fromPayload, toPayload } from '../wire/packet.js';
import { type Answer, type Requests, TooMany } from './requests.js';

interface Call {
  /** Given when it is sent for the first time: only then is it known how far ids went before. */
  id: number | undefined;
  readonly method: string;
  readonly args: unknown;
  readonly done: (result: CallResult) => void;
  readonly sent: (id: number) => void;
  /** Where it went out last. */
  on: Connection | undefined;
  /** Went out by HTTP: sending it by socket too would do it twice. */
  byHttp: boolean;
}

/** Calls that wait to be sent. */
const UNSENT_MAX = 1024;

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
  readonly #calls = new Set<Call>();
  #http: HttpCaller | undefined;

  constructor(private readonly requests: Requests) {}

  /**
   * Calls; sends it at once where that is possible, and tells its id then. `wireId`: the id that an earlier hub gave it. Gives
   * what forgets the call.
   */
  call(
    { method, args, wireId }: { method: string; args: unknown; wireId?: number | undefined },
    connection: Connection | undefined, done: (result: CallResult) => void, sent: (id: number) => void = () => {},
  ): () => void {
    if (this.#calls.size >= UNSENT_MAX) {
      done({ error: new CallError(503, `${UNSENT_MAX} calls wait for their answers; try again later`) });
      return () => {};
    }
    const call: Call = { id: wireId, method, args, done, sent, on: undefined, byHttp: false };
    this.#calls.add(call);
    if (wireId !== undefined) this.#reserve(call, wireId);
    if (connection !== undefined) this.#send(call, connection);
    else if (this.#http !== undefined) void this.#sendByHttp(call, this.#http);
    return () => this.#forget(call);
  }

  /**
   * Sends what has no answer, in order: all but what went out on a connection that is still open. That one answers before it
   * is left, and another replica would not know that the call was done.
   */
  resend(connection: Connection): void {
    this.#http = undefined;
    for (const call of this.#calls) {
      if (!call.byHttp && call.on !== connection && call.on?.isOpen !== true) this.#send(call, connection);
    }
  }

  /** Whether a call waits for an answer on the connection. */
  isBusy(connection: Connection): boolean {
    return [...this.#calls].some((call) => call.on === connection);
  }

  /** From now on calls go by HTTP, those that wait too; until the next `resend`. */
  useHttp(http: HttpCaller): void {
    this.#http = http;
    for (const call of this.#calls) if (!call.byHttp) void this.#sendByHttp(call, http);
  }

  #forget(call: Call): void {
    this.#calls.delete(call);
    if (call.id !== undefined) this.requests.forget(call.id);
  }

  #reserve(call: Call, again?: number): number {
    const id = this.requests.reserve(undefined, (answer) => {
      this.#calls.delete(call);
      if (answer !== undefined) call.done(resultOf(answer));
    }, again);
    call.id = id;
    call.sent(id);
    return id;
  }

  #send(call: Call, connection: Connection): void {
    try {
      const id = call.id ?? this.#reserve(call);
      call.on = connection;
      connection.send({ kind: 'call', id, method: call.method, payload: toPayload(call.args) });
    } catch (error) {
      this.#forget(call);
      const status = error instanceof TooMany ? 503 : 413;
      call.done({ error: new CallError(status, `the call cannot be sent: ${(error as Error).message}`) });
    }
  }

  async #sendByHttp(call: Call, http: HttpCaller): Promise<void> {
    call.byHttp = true;
    const result = await http(call.method, call.args);
    call.byHttp = false;
    // Nothing came through: it waits for the next way out.
    if (result === undefined || !this.#calls.has(call)) return;
    this.#forget(call);
    call.done(result);
  }
}
