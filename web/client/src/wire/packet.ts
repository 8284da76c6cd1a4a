import { Reader, Writer } from '../crdt/codec.js';
import { DecodeError } from '../crdt/errors.js';

/** Name of the dialect in `Sec-WebSocket-Protocol`. */
export const SUBPROTOCOL = 'pointsman.v1';
/** A packet has at most this many bytes. */
export const PACKET_BYTES_MAX = 256 * 1024;
/** Names, reasons and tokens have at most this many bytes. */
const NAME_BYTES_MAX = 1024;

/** Where an event began, and its place there: the resume point of events. */
export interface Origin {
  /** Slot of the replica. */
  readonly slot: number;
  /** Its place in that replica's count. */
  readonly position: number;
}

/** One packet of the binary dialect; `docs/PROTOCOL.md` has the table. */
export type Packet =
  | { readonly kind: 'call'; readonly id: number; readonly method: string; readonly payload: Uint8Array }
  | { readonly kind: 'callback'; readonly id: number; readonly status: number; readonly payload: Uint8Array }
  | {
      readonly kind: 'event'; readonly sequence: number; readonly name: string; readonly origin: Origin | undefined;
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'stream-init'; readonly id: number; readonly size: number; readonly name: string }
  | { readonly kind: 'stream-chunk'; readonly id: number; readonly payload: Uint8Array }
  | { readonly kind: 'stream-end'; readonly id: number }
  | { readonly kind: 'stream-abort'; readonly id: number; readonly status: number; readonly reason: string }
  | { readonly kind: 'credit'; readonly id: number; readonly bytes: number }
  | { readonly kind: 'delta'; readonly id: number; readonly document: number; readonly payload: Uint8Array }
  | { readonly kind: 'digest'; readonly id: number; readonly document: number; readonly payload: Uint8Array }
  | {
      readonly kind: 'drain'; readonly delayMs: number; readonly next: string; readonly token: string;
      readonly slot: number;
    }
  | { readonly kind: 'ping' | 'pong'; readonly seen: number };

export type PacketOf<K extends Packet['kind']> = Extract<Packet, { readonly kind: K }>;

const CODES = {
  call: 1, callback: 2, event: 3, 'stream-init': 4, 'stream-chunk': 5, 'stream-end': 6, 'stream-abort': 7, credit: 8,
  delta: 9, digest: 10, drain: 11, ping: 12, pong: 13,
} as const;
const KINDS = new Map(Object.entries(CODES).map(([kind, code]) => [code as number, kind as Packet['kind']]));

const utf8 = new TextEncoder();

function putId(id: number, to: Writer): void {
  to.varint(id >= 0 ? id * 2 : -id * 2 - 1);
}

function takeId(from: Reader): number {
  const raw = from.varint('id');
  return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
}

function putName(name: string, to: Writer): void {
  const bytes = utf8.encode(name);
  if (bytes.length > NAME_BYTES_MAX) throw new RangeError(`a name has at most ${NAME_BYTES_MAX} bytes, not ${bytes.length}`);
  to.block(bytes);
}

function takeName(field: string, from: Reader): string {
  const text = from.text(field);
  if (utf8.encode(text).length > NAME_BYTES_MAX) throw DecodeError.limit(field, NAME_BYTES_MAX);
  return text;
}

/** The bytes of a packet; throws `RangeError` when they are more than a packet may have. */
export function encodePacket(packet: Packet): Uint8Array {
  const to = new Writer();
  to.byte(CODES[packet.kind]);
  putId('id' in packet ? packet.id : packet.kind === 'event' ? -packet.sequence : 0, to);
  switch (packet.kind) {
    case 'call':
      putName(packet.method, to);
      break;
    case 'callback':
      to.varint(packet.status);
      break;
    case 'event':
      putName(packet.name, to);
      to.varint(packet.origin === undefined ? 0 : packet.origin.slot + 1);
      if (packet.origin !== undefined) to.varint(packet.origin.position);
      break;
    case 'stream-init':
      to.varint(packet.size);
      putName(packet.name, to);
      break;
    case 'stream-abort':
      to.varint(packet.status);
      putName(packet.reason, to);
      break;
    case 'credit':
      to.varint(packet.bytes);
      break;
    case 'delta':
    case 'digest':
      to.varint(packet.document);
      break;
    case 'drain':
      to.varint(packet.delayMs);
      putName(packet.next, to);
      putName(packet.token, to);
      to.varint(packet.slot);
      break;
    case 'ping':
    case 'pong':
      to.varint(packet.seen);
      break;
    case 'stream-chunk':
    case 'stream-end':
      break;
  }
  if ('payload' in packet) to.raw(packet.payload);
  if (to.length > PACKET_BYTES_MAX) {
    throw new RangeError(`packet of ${to.length} bytes is over the limit of ${PACKET_BYTES_MAX}`);
  }
  return to.bytes();
}

/**
 * Reads one packet that fills the bytes exactly; payloads share their memory. Nothing for a kind that this version does not
 * know, or that only replicas send each other: it is passed over.
 */
export function decodePacket(bytes: Uint8Array): Packet | undefined {
  if (bytes.length > PACKET_BYTES_MAX) throw DecodeError.limit('packet', PACKET_BYTES_MAX);
  const from = new Reader(bytes, true);
  const kind = KINDS.get(from.byte('kind'));
  const id = takeId(from);
  if (kind === undefined) return undefined;
  const packet = takeBody(kind, id, from);
  if (!from.isEmpty) throw DecodeError.trailing(from.left);
  return packet;
}

function takeBody(kind: Packet['kind'], id: number, from: Reader): Packet {
  switch (kind) {
    case 'call':
      return { kind, id, method: takeName('method', from), payload: from.rest() };
    case 'callback':
      return { kind, id, status: from.varint('status'), payload: from.rest() };
    case 'event':
      return takeEvent(id, from);
    case 'stream-init':
    case 'stream-chunk':
    case 'stream-end':
    case 'stream-abort':
    case 'credit':
      if (id === 0) throw wrongId('a stream');
      return takeStream(kind, id, from);
    case 'delta':
    case 'digest':
      return { kind, id, document: from.varint('document'), payload: from.rest() };
    default:
  }
  if (id !== 0) throw wrongId(kind);
  if (kind !== 'drain') return { kind, seen: from.varint('seen') };
  return {
    kind, delayMs: from.varint('delay_ms'), next: takeName('next', from), token: takeName('token', from),
    slot: from.varint('slot'),
  };
}

function wrongId(what: string): DecodeError {
  return new DecodeError('not-canonical', 'id', `id of ${what} is out of bounds`);
}

function takeEvent(id: number, from: Reader): Packet {
  if (id >= 0) throw wrongId('an event');
  const name = takeName('name', from);
  const above = from.varint('origin');
  if (above > 65_536) throw DecodeError.number('origin');
  const origin = above === 0 ? undefined : { slot: above - 1, position: from.varint('position') };
  return { kind: 'event', sequence: -id, name, origin, payload: from.rest() };
}

function takeStream(
  kind: 'stream-init' | 'stream-chunk' | 'stream-end' | 'stream-abort' | 'credit', id: number, from: Reader,
): Packet {
  switch (kind) {
    case 'stream-init':
      return { kind, id, size: from.varint('size'), name: takeName('name', from) };
    case 'stream-chunk':
      if (from.isEmpty) throw DecodeError.short('payload');
      return { kind, id, payload: from.rest() };
    case 'stream-end':
      return { kind, id };
    case 'stream-abort':
      return { kind, id, status: from.varint('status'), reason: takeName('reason', from) };
    case 'credit':
      return { kind, id, bytes: from.varint('bytes') };
  }
}

/** JSON as a payload. `undefined` is `null`. */
export function toPayload(json: unknown): Uint8Array {
  return utf8.encode(JSON.stringify(json ?? null));
}

/** JSON of a payload; an empty one is `null`. */
export function fromPayload(payload: Uint8Array): unknown {
  if (payload.length === 0) return null;
  return JSON.parse(new TextDecoder().decode(payload)) as unknown;
}

/** What the payload of an error says: `{"error": message}`, or plain text. */
export function errorText(payload: Uint8Array): string {
  const text = new TextDecoder().decode(payload);
  try {
    const { error } = Object(JSON.parse(text)) as { error?: unknown };
    return typeof error === 'string' ? error : text;
  } catch {
    return text;
  }
}
