import { CallError } from './errors.js';
import { callByHttp, type Fetch, type HttpOptions, introspect } from './hub/http.js';
import { Client, type ClientOptions, type EventListener } from './tab/client.js';

const NAME = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** Units with methods with the names of their arguments: `{chat: {say: ['text']}}`, as introspection gives it. */
export interface Structure {
  readonly [unit: string]: { readonly [method: string]: readonly string[] };
}

/** Arguments of a method by name; or, as several, by position. */
type Call<A extends readonly string[]> = A extends readonly []
  ? () => Promise<any>
  : (...args: [{ readonly [name in A[number]]?: unknown }] | readonly unknown[]) => Promise<any>;

/** Events of a unit, without its name: `api.chat.on('message', …)` hears `chat/message`. Gives what ends it. */
export interface UnitEvents {
  on(event: string, listener: EventListener): () => void;
}

/** What a structure is called by. */
export type Api<S extends Structure> = {
  readonly [U in keyof S]: { readonly [M in keyof S[U]]: Call<S[U][M]> } & UnitEvents;
};

/** What a generated declaration says of units: methods as they are, and their events. */
export type Declared<U> = { readonly [N in keyof U]: U[N] & UnitEvents };

export interface ScaffoldOptions extends ClientOptions {}

/** Something that calls go through. */
interface Transport {
  call(method: string, args: unknown): Promise<unknown>;
  on(name: string, listener: EventListener): () => void;
  introspect(): Promise<unknown>;
}

function overSocket(client: Client): Transport {
  return {
    call: (method, args) => client.call(method, args),
    on: (name, listener) => client.on(name, listener),
    introspect: () => client.call('system/introspect', []),
  };
}

function overHttp(url: string, options: ScaffoldOptions): Transport {
  const fetch: Fetch = options.fetch ?? ((address, init) => globalThis.fetch(address, init));
  const { href } = new URL(url);
  // `/api` is where calls go whether or not the address says so.
  const http: HttpOptions = { base: href.replace(/\/api\/?$/, '/'), fetch, authorization: options.authorization };
  return {
    async call(method, args) {
      const result = await callByHttp(http, method, args);
      if (result === undefined) throw new CallError(503, `${method}: the service was not reached; it may have been done`);
      if ('error' in result) throw result.error;
      return result.value;
    },
    on() {
      throw new CallError(400, 'events need a socket; give an address with ws: or wss:');
    },
    introspect: () => introspect(http),
  };
}

function transportOf(target: string | Client, options: ScaffoldOptions): Transport {
  if (target instanceof Client) return overSocket(target);
  return /^https?:/.test(target) ? overHttp(target, options) : overSocket(new Client(target, options));
}

function parseStructure(json: unknown): Structure {
  const isNames = (names: unknown): boolean => Array.isArray(names) && names.every((name) => typeof name === 'string');
  const isUnit = (unit: unknown): boolean => typeof unit === 'object' && unit !== null && Object.values(unit).every(isNames);
  if (typeof json === 'object' && json !== null && Object.values(json).every(isUnit)) return json as Structure;
  throw new CallError(502, 'the structure is no {unit: {method: [argument]}}');
}

/** One object that has only names of arguments goes by name, everything else by position. */
function argumentsOf(names: readonly string[], given: readonly unknown[]): unknown {
  const [only] = given;
  const isNamed = given.length === 1 && typeof only === 'object' && only !== null && !Array.isArray(only) &&
    Object.keys(only).every((name) => names.includes(name));
  return isNamed ? only : given;
}

function build(structure: Structure, transport: Transport): object {
  // Without prototypes: a unit or method may have any name.
  const api = Object.create(null) as { [unit: string]: object };
  for (const [unit, methods] of Object.entries(structure)) {
    const made = Object.create(null) as { [method: string]: unknown };
    made['on'] = (event: string, listener: EventListener) => transport.on(`${unit}/${event}`, listener);
    for (const [method, names] of Object.entries(methods)) {
      made[method] = (...given: unknown[]) => transport.call(`${unit}/${method}`, argumentsOf(names, given));
    }
    api[unit] = Object.freeze(made);
  }
  return Object.freeze(api);
}

/** Calls of a service as functions, `api.chat.say({text})`: over HTTP or a socket, as the address says. */
export function scaffold<const S extends Structure>(target: string | Client, structure: S, options?: ScaffoldOptions): Api<S>;
/** The same of the units that the service tells of; `U` may be a declaration of `declareUnits`. */
export function scaffold<U = Api<Structure>>(
  target: string | Client, structure?: undefined, options?: ScaffoldOptions,
): Promise<Declared<U>>;
export function scaffold(target: string | Client, structure?: Structure, options: ScaffoldOptions = {}): unknown {
  const transport = transportOf(target, options);
  if (structure !== undefined) return build(parseStructure(structure), transport);
  return transport.introspect().then((told) => build(parseStructure(told), transport));
}

/** The structure that a service tells of. */
export async function structureOf(target: string | Client, options: ScaffoldOptions = {}): Promise<Structure> {
  return parseStructure(await transportOf(target, options).introspect());
}

/** Text of a `.d.ts` with an interface of the units, for `scaffold<Units>(url)`. */
export function declareUnits(structure: Structure, name = 'Units'): string {
  const key = (text: string): string => (NAME.test(text) && !text.includes('-') ? text : JSON.stringify(text));
  const lines = [`/** Units of the service: methods by name. */`, `export interface ${name} {`];
  for (const [unit, methods] of Object.entries(structure).sort()) {
    lines.push(`  ${key(unit)}: {`);
    for (const [method, names] of Object.entries(methods).sort()) {
      const args = names.map((argument) => `${key(argument)}?: unknown`).join('; ');
      lines.push(`    ${key(method)}(${names.length === 0 ? '' : `args: { ${args} }`}): Promise<any>;`);
    }
    lines.push('  };');
  }
  return `${[...lines, '}'].join('\n')}\n`;
}
