import { CallError } from '../errors.js';
import type { CallResult } from './calls.js';

const PROBE_WITHIN_MS = 3_000;
const CALL_WITHIN_MS = 30_000;

/** What is used of `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Address and identity of calls by HTTP. */
export interface HttpOptions {
  /** `http:` or `https:`, without `/api`. */
  readonly base: string;
  readonly fetch: Fetch;
  /** Value of the header `Authorization`. */
  readonly authorization?: string | undefined;
}

function address(base: string, path: string): string {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/api${path}`;
  return url.href;
}

function headers(options: HttpOptions): Record<string, string> {
  return options.authorization === undefined ? {} : { authorization: options.authorization };
}

/** Whether the service answers at all. */
export async function probe(options: HttpOptions): Promise<boolean> {
  try {
    const init = { headers: headers(options), signal: AbortSignal.timeout(PROBE_WITHIN_MS) };
    const response = await options.fetch(address(options.base, ''), init);
    await response.body?.cancel();
    return response.status < 500;
  } catch {
    return false;
  }
}

/** `{unit: {method: [argument]}}` of all units. */
export async function introspect(options: HttpOptions): Promise<unknown> {
  const init = { headers: headers(options), signal: AbortSignal.timeout(CALL_WITHIN_MS) };
  let response: Response;
  try {
    response = await options.fetch(address(options.base, ''), init);
  } catch (error) {
    throw new CallError(503, `the service was not reached: ${(error as Error).message}`);
  }
  if (!response.ok) throw new CallError(response.status, await response.text());
  return response.json();
}

/** Calls `unit/method`; nothing when the service was not reached. */
export async function callByHttp(options: HttpOptions, method: string, args: unknown): Promise<CallResult | undefined> {
  let response: Response;
  let text: string;
  try {
    response = await options.fetch(address(options.base, `/${method}`), {
      method: 'POST',
      headers: { ...headers(options), 'content-type': 'application/json' },
      body: JSON.stringify(Array.isArray(args) ? args : args === undefined || args === null ? [] : [args]),
      signal: AbortSignal.timeout(CALL_WITHIN_MS),
    });
    text = await response.text();
  } catch {
    return undefined;
  }
  if (!response.ok) return { error: new CallError(response.status, messageOf(text)) };
  try {
    return { value: text === '' ? null : (JSON.parse(text) as unknown) };
  } catch {
    return { error: new CallError(502, 'the result is not JSON') };
  }
}

/** Errors are text, or JSON with a `message` somewhere. */
function messageOf(text: string): string {
  try {
    const json = JSON.parse(text) as { message?: unknown; error?: { message?: unknown } | string } | null;
    const nested = typeof json?.error === 'string' ? json.error : json?.error?.message;
    const message = json?.message ?? nested;
    return typeof message === 'string' ? message : text;
  } catch {
    return text;
  }
}
