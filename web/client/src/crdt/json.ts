import { OperationError } from './errors.js';
import { compareText } from './codec.js';
import { checkText, Float, small, UnknownValue, type Value, type ValueRecord } from './value.js';

const DEPTH_MAX = 32;
const FORMS = '`$integer`, `$float`, `$bytes`, `$record` or `$unknown`, alone in its object';

/** JSON as it is parsed. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

export function wrong(path: string, expected: string, found: unknown): OperationError {
  return new OperationError('bad-argument', `\`${path}\`: expected ${expected}, found ${describe(found)}`);
}

function describe(found: unknown): string {
  if (found === undefined) return 'nothing';
  if (found === null || typeof found === 'boolean') return String(found);
  if (typeof found === 'number') return `the number ${found}`;
  if (typeof found === 'string') return `the text ${JSON.stringify(found)}`;
  return Array.isArray(found) ? 'an array' : 'an object';
}

export function isObject(json: unknown): json is { readonly [name: string]: unknown } {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

export function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

function bytesOf(text: unknown, path: string): Uint8Array {
  if (typeof text !== 'string' || text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
    throw wrong(path, 'hexadecimal digits, lower case, two a byte', text);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Number.parseInt(text.slice(at * 2, at * 2 + 2), 16);
  return bytes;
}

/** An integer within ±(2⁵³ − 1), or `{"$integer": "decimal"}`. */
export function integerFromJson(json: unknown, path: string): number | bigint {
  if (typeof json === 'number' && Number.isSafeInteger(json)) return json === 0 ? 0 : json;
  const text = isObject(json) && Object.keys(json).length === 1 ? json['$integer'] : undefined;
  if (typeof text !== 'string' || !/^(0|-?[1-9][0-9]*)$/.test(text) || text.length > 40) {
    throw wrong(path, 'an integer within ±(2^53 - 1), or {"$integer": "decimal"}', json);
  }
  return small(BigInt(text));
}

function formFromJson(form: string, json: unknown, path: string, depth: number): Value {
  const at = `${path}.${form}`;
  switch (form) {
    case '$integer': {
      const value = integerFromJson({ $integer: json as Json }, at);
      if (typeof value === 'bigint' && BigInt.asIntN(64, value) !== value) throw wrong(at, 'an integer of 64 bits', json);
      return value;
    }
    case '$float': {
      const bytes = typeof json === 'string' && json.length === 16 ? bytesOf(json, at) : undefined;
      const value = bytes && new DataView(bytes.buffer).getFloat64(0);
      if (value === undefined || (Number.isNaN(value) && json !== '7ff8000000000000')) {
        throw wrong(at, '16 hexadecimal digits, lower case: the bits of IEEE 754', json);
      }
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? new Float(value) : value;
    }
    case '$bytes':
      return bytesOf(json, at);
    case '$record':
      return recordFromPairs(json, at, depth);
    case '$unknown': {
      if (!isObject(json) || Object.keys(json).length !== 2) throw wrong(at, '{"tag": 16 or more, "bytes": "…"}', json);
      const tag = integerFromJson(json['tag'], `${at}.tag`);
      if (tag < 16 || tag >= 1n << 64n) throw wrong(at, '{"tag": 16 or more, "bytes": "…"}', json);
      return new UnknownValue(tag, bytesOf(json['bytes'], `${at}.bytes`));
    }
    default:
      throw new OperationError('bad-argument', `\`${at}\` is not known here; allowed: ${FORMS}`);
  }
}

function recordFromPairs(json: unknown, path: string, depth: number): Value {
  if (!Array.isArray(json)) throw wrong(path, 'an array of [name, value]', json);
  const record = Object.create(null) as { [name: string]: Value };
  json.forEach((pair: unknown, index) => {
    const at = `${path}[${index}]`;
    if (!Array.isArray(pair) || pair.length !== 2) throw wrong(at, '[name, value]', pair);
    checkText(pair[0], at);
    record[pair[0]] = valueFromJson(pair[1], at, depth + 1);
  });
  return record;
}

/** A value from its JSON form, `docs/CRDT.md` §10. */
export function valueFromJson(json: unknown, path = 'value', depth = 0): Value {
  if (depth > DEPTH_MAX) {
    throw new OperationError('bad-argument', `\`${path}\`: the nesting of a value would exceed its bound of ${DEPTH_MAX}`);
  }
  if (json === null || typeof json === 'boolean') return json;
  if (typeof json === 'string') {
    checkText(json, path);
    return json;
  }
  if (typeof json === 'number') {
    if (Number.isSafeInteger(json)) return json === 0 ? 0 : json;
    if (Number.isFinite(json) && !Number.isInteger(json)) return json;
    throw wrong(path, 'a safe integer or a fraction, or {"$integer": "…"} or {"$float": "…"}', json);
  }
  if (Array.isArray(json)) return json.map((item, index) => valueFromJson(item, `${path}[${index}]`, depth + 1));
  if (!isObject(json)) throw wrong(path, 'a value', json);
  const names = Object.keys(json);
  const form = names.find((name) => name.startsWith('$'));
  if (form !== undefined) {
    if (names.length === 1) return formFromJson(form, json[form], path, depth);
    throw new OperationError('bad-argument', `\`${path}.${form}\` is not known here; allowed: ${FORMS}`);
  }
  const record = Object.create(null) as { [name: string]: Value };
  for (const name of names) {
    checkText(name, path);
    record[name] = valueFromJson(json[name], `${path}.${name}`, depth + 1);
  }
  return record;
}

/** An integer in its JSON form. */
export function integerToJson(value: number | bigint): Json {
  const plain = small(BigInt(value));
  return typeof plain === 'number' ? plain : { $integer: String(plain) };
}

function floatToJson(value: number): Json {
  if (Number.isFinite(value) && !Number.isInteger(value)) return value;
  const view = new DataView(new ArrayBuffer(8));
  // All NaN are one: the engine's own bits do not matter.
  if (Number.isNaN(value)) view.setBigUint64(0, 0x7ff8_0000_0000_0000n);
  else view.setFloat64(0, value);
  return { $float: hexOf(new Uint8Array(view.buffer)) };
}

/** The one JSON form of a value. */
export function valueToJson(value: Value): Json {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'bigint') return integerToJson(value);
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? value : floatToJson(value);
  }
  if (value instanceof Float) return floatToJson(value.value);
  if (value instanceof Uint8Array) return { $bytes: hexOf(value) };
  if (value instanceof UnknownValue) return { $unknown: { bytes: hexOf(value.bytes), tag: integerToJson(value.tag) } };
  if (Array.isArray(value)) return (value as readonly Value[]).map(valueToJson);
  const record = value as ValueRecord;
  const names = Object.keys(record).sort(compareText);
  const pairs = names.map((name): [string, Json] => [name, valueToJson(record[name] as Value)]);
  return names.some((name) => name.startsWith('$')) ? { $record: pairs } : Object.fromEntries(pairs);
}
