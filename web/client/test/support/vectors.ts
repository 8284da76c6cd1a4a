import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type { Replica } from '../../src/crdt/index.js';
import { Float, UnknownValue, type Value } from '../../src/crdt/index.js';

/** Folder of the vectors that other languages read and write too. */
export const VECTORS = process.env['POINTSMAN_VECTORS'] ?? fileURLToPath(new URL('../../../../../tests/vectors/', import.meta.url));

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function unhex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

/** Lines of a file. Whole numbers beyond 2⁵³ become bigints, which `JSON.parse` would round. */
export function lines(name: string): any[] {
  const text = readFileSync(`${VECTORS}${name}`, 'utf8');
  return text.split('\n').filter((line) => line !== '').map(parseLine);
}

export function parseLine(line: string): any {
  // Other files mark large integers themselves; numbers that are to be refused have to stay as they are.
  if (!line.startsWith('{"do":') && !line.startsWith('{"value":')) return JSON.parse(line);
  const marked = line.replace(/([:[,])(-?\d{16,})(?=[,\]}])/g, '$1{"big":"$2"}');
  return JSON.parse(marked, (_name, value) => (isBig(value) ? BigInt(value.big) : value));
}

function isBig(value: unknown): value is { big: string } {
  return typeof value === 'object' && value !== null && Object.keys(value).join() === 'big';
}

export function replica(text: string): Replica {
  const [slot, incarnation] = text.split('/').map(Number);
  return { slot: slot as number, incarnation: incarnation as number };
}

/** A value from the form of the vector files. */
export function valueOf(json: any): Value {
  if (json === null || typeof json !== 'object') return json as Value;
  if (Array.isArray(json)) return json.map(valueOf);
  if ('float' in json) {
    const bytes = unhex(json.float);
    const number = new DataView(bytes.buffer).getFloat64(0);
    return Number.isSafeInteger(number) && !Object.is(number, -0) ? new Float(number) : number;
  }
  if ('unknown' in json) return new UnknownValue(json.unknown, unhex(json.bytes));
  if ('bytes' in json) return unhex(json.bytes);
  return Object.fromEntries(Object.entries(json.record).map(([name, value]) => [name, valueOf(value)]));
}

/** The form of the vector files of what a store reads as, or of an operation. */
export function written(read: unknown): unknown {
  if (typeof read === 'bigint') return read >= -(2n ** 53n) && read <= 2n ** 53n ? Number(read) : read;
  if (read === undefined || read === null || typeof read !== 'object') return read ?? null;
  if (Array.isArray(read)) return read.map(written);
  if ('stamp' in read && 'value' in read) return { stamp: String(read.stamp), value: written(read.value) };
  return Object.fromEntries(Object.entries(read).map(([name, value]) => [name, written(value)]));
}

/** An operation from the form of the vector files: only stamps differ. */
export function operationOf(json: any): unknown {
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return json;
  if ('stamp' in json) return { stamp: BigInt(json.stamp), value: json.value };
  if ('operation' in json) return { ...json, operation: operationOf(json.operation) };
  return json;
}
