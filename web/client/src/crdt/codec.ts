import { type Dot, isDotParts } from './dot.js';
import { DecodeError } from './errors.js';

const MAX_64 = (1n << 64n) - 1n;
const utf8 = new TextEncoder();
// A byte order mark is content here, not a hint.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Collects bytes. */
export class Writer {
  #bytes = new Uint8Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What was written; shares memory with the writer, which must not be used further. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** A number below 2⁵³, seven bits a byte, lowest first. */
  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A number of up to 64 bits. */
  bigVarint(value: bigint): void {
    if (value <= Number.MAX_SAFE_INTEGER) {
      this.varint(Number(value));
      return;
    }
    this.#reserve(10);
    let rest = value;
    while (rest >= 0x80n) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Length, then bytes. */
  block(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** Length, then UTF-8. */
  text(text: string): void {
    this.block(utf8.encode(text));
  }

  /** A dot that need not be in a context. */
  plainDot(dot: Dot): void {
    this.varint(dot.slot);
    this.varint(dot.incarnation);
    this.varint(dot.sequence);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

/** Takes bytes from the front. */
export class Reader {
  #at = 0;

  /** `isLoose`: takes numbers that are longer than they need to be, as the wire does; states have one encoding. */
  constructor(
    readonly bytes: Uint8Array,
    private readonly isLoose = false,
  ) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  get isEmpty(): boolean {
    return this.left === 0;
  }

  /** All that is left. */
  rest(): Uint8Array {
    const rest = this.bytes.subarray(this.#at);
    this.#at = this.bytes.length;
    return rest;
  }

  byte(field: string): number {
    const byte = this.bytes[this.#at];
    if (byte === undefined) throw DecodeError.short(field);
    this.#at += 1;
    return byte;
  }

  /** A number below 2⁵³ in its shortest form. */
  varint(field: string): number {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < 10; index += 1) {
      const byte = this.byte(field);
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) break;
      if (byte < 0x80) {
        if (byte === 0 && index > 0 && !this.isLoose) break;
        return value;
      }
      scale *= 0x80;
    }
    throw DecodeError.number(field);
  }

  /** A number of up to 64 bits in its shortest form. */
  bigVarint(field: string): bigint {
    let value = 0n;
    for (let index = 0n; index < 10n; index += 1n) {
      const byte = this.byte(field);
      value |= BigInt(byte & 0x7f) << (index * 7n);
      if (byte < 0x80) {
        if ((byte === 0 && index > 0n) || value > MAX_64) break;
        return value;
      }
    }
    throw DecodeError.number(field);
  }

  /** So many bytes; shares memory. */
  take(length: number, field: string): Uint8Array {
    if (length > this.left) throw DecodeError.short(field);
    const taken = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  /** Length, then bytes. */
  block(field: string): Uint8Array {
    return this.take(this.varint(field), field);
  }

  /** Length, then UTF-8. */
  text(field: string): string {
    const bytes = this.block(field);
    try {
      return strictUtf8.decode(bytes);
    } catch {
      throw new DecodeError('not-text', field, `${field}: not UTF-8`);
    }
  }

  plainDot(field: string): Dot {
    const slot = this.varint(field);
    const incarnation = this.varint(field);
    const sequence = this.varint(field);
    if (!isDotParts(slot, incarnation, sequence)) throw DecodeError.number(field);
    return { slot, incarnation, sequence };
  }
}

export function zigzag(value: bigint): bigint {
  return BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
}

export function unzigzag(value: bigint): bigint {
  return (value >> 1n) ^ -(value & 1n);
}

/** By bytes, then by length. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const difference = (a[at] as number) - (b[at] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** As their UTF-8 compares: by code point, which differs from the order of UTF-16 units above the surrogates. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const x = a.charCodeAt(at);
    const y = b.charCodeAt(at);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  // Surrogates stand for code points above all others.
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
