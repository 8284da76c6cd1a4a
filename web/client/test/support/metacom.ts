import type { Packet } from '../../src/wire/packet.js';

const NAME_BYTES_MAX = 1024;
const DEPTH_MAX = 64;
const STREAM_ID_MAX = 2 ** 31 - 1;
const utf8 = new TextEncoder();

/** A message of a Metacom session. */
export type Message = string | Uint8Array;
type Ids = 'number' | 'text';
type Fields = { [name: string]: any };

function refuse(why: string): never {
  throw new TypeError(why);
}

function depthOf(json: unknown): number {
  if (typeof json !== 'object' || json === null) return 0;
  return 1 + Object.values(json).reduce<number>((deepest, inner) => Math.max(deepest, depthOf(inner)), 0);
}

function nameOf(value: unknown, field: string): string {
  const fits = typeof value === 'string' && utf8.encode(value).length <= NAME_BYTES_MAX;
  return fits ? value : refuse(`${field} must be a text of at most 1,024 bytes`);
}

function payloadOf(fields: Fields, name: string): Uint8Array {
  return Object.hasOwn(fields, name) ? utf8.encode(JSON.stringify(fields[name])) : new Uint8Array();
}

/** A server's end of a Metacom session, both dialects of ids: what the service does, written once more for the vectors. */
export class MetacomServer {
  #ids: Ids | undefined;
  #events = 0;
  #chunks: Ids | undefined;
  /** Text ids by number, and back; calls and streams apart. */
  readonly #texts = { call: new Map<number, string>(), stream: new Map<number, string>() };
  readonly #next = { call: 1, stream: 1 };

  /** A packet of the client; null for what is passed over. */
  read(message: Message): { packet: Packet | null; meta?: unknown } {
    if (typeof message !== 'string') return { packet: this.#readChunk(message) };
    if (!message.trimStart().startsWith('{')) refuse('packet is not a JSON object: it does not begin with {');
    const fields = JSON.parse(message) as Fields;
    if (depthOf(fields) > DEPTH_MAX) refuse('packet is nested deeper than 64');
    const meta = Object.hasOwn(fields, 'meta') ? { meta: fields['meta'] } : {};
    if (Object.keys(fields).length === 0) {
      return { packet: this.#ids === 'text' ? null : { kind: 'ping', seen: 0 } };
    }
    return { packet: this.#readText(fields), ...meta };
  }

  #readText(fields: Fields): Packet | null {
    const { type } = fields;
    if (type === undefined || type === null) refuse('type must be one of call, callback, event and stream');
    switch (nameOf(type, 'type')) {
      case 'call': {
        const id = this.#id(fields['id'], 'call', true);
        return { kind: 'call', id, method: nameOf(fields['method'], 'method'), payload: payloadOf(fields, 'args') };
      }
      case 'event': {
        const name = nameOf(fields['name'], 'name');
        this.#events += 1;
        return { kind: 'event', sequence: this.#events, name, origin: undefined, payload: payloadOf(fields, 'data') };
      }
      case 'stream':
        return this.#readStream(fields);
      default:
        return null;
    }
  }

  #readStream(fields: Fields): Packet {
    const { status, size } = fields;
    if (status === undefined) {
      const name = nameOf(fields['name'], 'name');
      if (!Number.isSafeInteger(size) || size < 0) refuse('size must be a number from 0 to 2^53 - 1');
      return { kind: 'stream-init', id: this.#id(fields['id'], 'stream', true), size, name };
    }
    const id = this.#id(fields['id'], 'stream', false);
    if (status === 'end') return { kind: 'stream-end', id };
    if (status !== 'terminate') refuse('status must be end or terminate');
    return { kind: 'stream-abort', id, status: 499, reason: 'terminated' };
  }

  /** The number of an id; a text id gets one when something begins with it. */
  #id(id: unknown, of: 'call' | 'stream', begins: boolean): number {
    const isNumber = typeof id === 'number' && Number.isSafeInteger(id) && id !== 0;
    const isText = typeof id === 'string' && id !== '' && utf8.encode(id).length <= 255;
    if (!isNumber && !isText) refuse('id must be a number other than 0, or a text of 1 to 255 bytes');
    this.#ids ??= isNumber ? 'number' : 'text';
    if ((this.#ids === 'number') !== isNumber) refuse('id must be of the type of the first one');
    if (isNumber) {
      if (of === 'stream' && (id > STREAM_ID_MAX || id < -STREAM_ID_MAX - 1)) {
        refuse('id of a stream must be a number of 32 bits other than 0');
      }
      return id;
    }
    const texts = this.#texts[of];
    const known = [...texts].find(([, text]) => text === id)?.[0];
    if (begins) {
      if (known !== undefined || /^-\d+$/.test(id as string)) refuse('id must be one that is not in use');
      const number = this.#next[of];
      this.#next[of] += 1;
      texts.set(number, id as string);
      return number;
    }
    return known ?? (/^-\d+$/.test(id as string) ? Number(id) : refuse('id must be one that is in use'));
  }

  #readChunk(bytes: Uint8Array): Packet | null {
    const ids = this.#ids ?? this.#chunks ?? refuse('a chunk must be after the first packet with an id');
    if (ids === 'number') {
      if (bytes.length < 4) refuse('id of a chunk must be 4 bytes');
      const id = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0);
      if (id === 0) refuse('id of a stream must be a number of 32 bits other than 0');
      return bytes.length === 4 ? null : { kind: 'stream-chunk', id, payload: bytes.subarray(4) };
    }
    const length = bytes[0] ?? 0;
    if (length === 0 || bytes.length < 1 + length) refuse('id of a chunk must be its length in one byte, and UTF-8');
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(1, 1 + length));
    const id = [...this.#texts.stream].find(([, known]) => known === text)?.[0];
    return id === undefined ? null : { kind: 'stream-chunk', id, payload: bytes.subarray(1 + length) };
  }

  /** For refusals of chunks: as if a packet with such an id had come. */
  assume(ids: Ids): void {
    this.#chunks = ids;
  }

  #written(id: number, of: 'call' | 'stream'): number | string {
    if (this.#ids !== 'text') return id;
    const text = this.#texts[of].get(id) ?? String(id);
    if (of === 'call') this.#texts.call.delete(id);
    return text;
  }

  /** The message of a packet of the server. */
  write(packet: Packet, meta?: unknown): Message {
    const json = (name: string, payload: Uint8Array): Fields =>
      payload.length === 0 ? {} : { [name]: JSON.parse(new TextDecoder().decode(payload)) };
    const rest = meta === undefined ? {} : { meta };
    switch (packet.kind) {
      case 'pong':
        return '{}';
      case 'callback': {
        const id = this.#written(packet.id, 'call');
        const { error } = packet.status === 0 ? { error: undefined } : json('error', packet.payload)['error'];
        const result = packet.status === 0 ? json('result', packet.payload) : { error: { code: packet.status, message: error } };
        return JSON.stringify({ type: 'callback', id, ...result, ...rest });
      }
      case 'event':
        return JSON.stringify({ type: 'event', name: packet.name, ...json('data', packet.payload) });
      case 'stream-init':
        return JSON.stringify({ type: 'stream', id: this.#written(packet.id, 'stream'), name: packet.name, size: packet.size });
      case 'stream-end':
      case 'stream-abort': {
        const status = packet.kind === 'stream-end' ? 'end' : 'terminate';
        return JSON.stringify({ type: 'stream', id: this.#written(packet.id, 'stream'), status });
      }
      case 'stream-chunk': {
        const id = this.#written(packet.id, 'stream');
        const head = Buffer.alloc(4);
        if (typeof id === 'number') head.writeInt32BE(id);
        const text = utf8.encode(String(id));
        return Buffer.concat([typeof id === 'number' ? head : Buffer.from([text.length, ...text]), packet.payload]);
      }
      default:
        return refuse(`there is no ${packet.kind} in this dialect`);
    }
  }
}
