import { compareBytes, compareText, type Reader, unzigzag, Writer, zigzag } from './codec.js';
import { DecodeError, OperationError } from './errors.js';

const DEPTH_MAX = 32;
const FIRST_UNKNOWN = 16;
const FIELD = 'value';
const INTEGER_MIN = -(1n << 63n);
const INTEGER_MAX = (1n << 63n) - 1n;
const NAN_BITS = 0x7ff8_0000_0000_0000n;

/** A floating-point number that happens to be whole. A plain whole `number` is an integer. */
export class Float {
  constructor(readonly value: number) {}
}

/** A value of a newer version; kept as it came. */
export class UnknownValue {
  constructor(
    /** 16 or more; a bigint beyond 2⁵³. */
    readonly tag: number | bigint,
    readonly bytes: Uint8Array,
  ) {}
}

/** Names with values. */
export interface ValueRecord {
  readonly [name: string]: Value;
}

/**
 * What registers, sets and lists hold. Whole numbers are integers of 64 bits (`bigint` beyond 2⁵³), other numbers are
 * floating-point. Values are immutable.
 */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | Float
  | string
  | Uint8Array
  | readonly Value[]
  | ValueRecord
  | UnknownValue;

const enum Tag {
  Null = 0,
  False = 1,
  True = 2,
  Integer = 3,
  Float = 4,
  Text = 5,
  Bytes = 6,
  List = 7,
  Record = 8,
}

/** The plain number where it is exact. */
export function small(integer: bigint): number | bigint {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

function isInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

function isList(value: object): value is readonly Value[] {
  return Array.isArray(value);
}

function tagOf(value: Value): number | bigint {
  switch (typeof value) {
    case 'boolean':
      return value ? Tag.True : Tag.False;
    case 'number':
      return isInteger(value) ? Tag.Integer : Tag.Float;
    case 'bigint':
      return Tag.Integer;
    case 'string':
      return Tag.Text;
    default:
  }
  if (value === null) return Tag.Null;
  if (value instanceof Float) return Tag.Float;
  if (value instanceof Uint8Array) return Tag.Bytes;
  if (value instanceof UnknownValue) return value.tag;
  return isList(value) ? Tag.List : Tag.Record;
}

function bitsOf(value: number): bigint {
  if (Number.isNaN(value)) return NAN_BITS;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

/** Appends the encoding. The value must have passed `checkValue`. */
export function encodeValue(value: Value, to: Writer): void {
  const tag = tagOf(value);
  to.bigVarint(BigInt(tag));
  if (value instanceof UnknownValue || value instanceof Uint8Array) {
    to.block(value instanceof Uint8Array ? value : value.bytes);
  } else if (tag === Tag.Integer) {
    to.bigVarint(zigzag(BigInt(value as number | bigint)));
  } else if (tag === Tag.Float) {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigUint64(0, bitsOf(value instanceof Float ? value.value : (value as number)), true);
    to.raw(new Uint8Array(bytes.buffer));
  } else if (typeof value === 'string') {
    to.text(value);
  } else if (tag === Tag.List) {
    const items = value as readonly Value[];
    to.varint(items.length);
    for (const item of items) encodeValue(item, to);
  } else if (tag === Tag.Record) {
    const record = value as ValueRecord;
    const names = Object.keys(record).sort(compareText);
    to.varint(names.length);
    for (const name of names) {
      to.text(name);
      encodeValue(record[name] as Value, to);
    }
  }
}

/** Reads what `encodeValue` wrote. */
export function decodeValue(from: Reader, depth = 0): Value {
  if (depth > DEPTH_MAX) throw DecodeError.limit(FIELD, DEPTH_MAX);
  const tag = small(from.bigVarint(FIELD));
  switch (tag) {
    case Tag.Null:
      return null;
    case Tag.False:
      return false;
    case Tag.True:
      return true;
    case Tag.Integer:
      return small(unzigzag(from.bigVarint(FIELD)));
    case Tag.Float:
      return decodeFloat(from);
    case Tag.Text:
      return from.text(FIELD);
    case Tag.Bytes:
      return from.block(FIELD).slice();
    case Tag.List: {
      const count = from.varint(FIELD);
      const items: Value[] = [];
      for (let index = 0; index < count; index += 1) items.push(decodeValue(from, depth + 1));
      return items;
    }
    case Tag.Record:
      return decodeRecord(from, depth);
    default:
      if (tag < FIRST_UNKNOWN) throw DecodeError.notCanonical(FIELD);
      return new UnknownValue(tag, from.block(FIELD).slice());
  }
}

function decodeFloat(from: Reader): Value {
  const bytes = from.take(8, FIELD);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const value = view.getFloat64(0, true);
  if (bitsOf(value) !== view.getBigUint64(0, true)) throw DecodeError.notCanonical(FIELD);
  return isInteger(value) ? new Float(value) : value;
}

function decodeRecord(from: Reader, depth: number): Value {
  const count = from.varint(FIELD);
  // Without a prototype, so that a field may be called `__proto__`.
  const record: { [name: string]: Value } = Object.create(null) as { [name: string]: Value };
  let last: string | undefined;
  for (let index = 0; index < count; index += 1) {
    const name = from.text(FIELD);
    if (last !== undefined && compareText(last, name) >= 0) throw DecodeError.notCanonical(FIELD);
    record[name] = decodeValue(from, depth + 1);
    last = name;
  }
  return record;
}

/** By tag, then content. */
export function compareValues(a: Value, b: Value): number {
  const [tag, other] = [tagOf(a), tagOf(b)];
  if (tag !== other) return tag < other ? -1 : 1;
  switch (tag) {
    case Tag.Null:
    case Tag.False:
    case Tag.True:
      return 0;
    case Tag.Integer:
      return (a as number | bigint) < (b as number | bigint) ? -1 : (a as number | bigint) > (b as number | bigint) ? 1 : 0;
    case Tag.Float:
      return compareFloats(numberOf(a), numberOf(b));
    case Tag.Text:
      return compareText(a as string, b as string);
    case Tag.Bytes:
      return compareBytes(a as Uint8Array, b as Uint8Array);
    case Tag.List:
      return compareLists(a as readonly Value[], b as readonly Value[]);
    case Tag.Record:
      return compareRecords(a as ValueRecord, b as ValueRecord);
    default:
      return compareBytes((a as UnknownValue).bytes, (b as UnknownValue).bytes);
  }
}

function numberOf(value: Value): number {
  return value instanceof Float ? value.value : (value as number);
}

/** IEEE 754 total order. */
function compareFloats(a: number, b: number): number {
  const key = (value: number): bigint => {
    const bits = bitsOf(value);
    const signed = BigInt.asIntN(64, bits);
    return signed < 0n ? BigInt.asIntN(64, bits ^ 0x7fff_ffff_ffff_ffffn) : signed;
  };
  const [x, y] = [key(a), key(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

function compareLists(a: readonly Value[], b: readonly Value[]): number {
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const order = compareValues(a[at] as Value, b[at] as Value);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareRecords(a: ValueRecord, b: ValueRecord): number {
  const [x, y] = [Object.keys(a).sort(compareText), Object.keys(b).sort(compareText)];
  for (let at = 0; at < Math.min(x.length, y.length); at += 1) {
    const [left, right] = [x[at] as string, y[at] as string];
    const order = compareText(left, right) || compareValues(a[left] as Value, b[right] as Value);
    if (order !== 0) return order;
  }
  return x.length - y.length;
}

/** Refuses what has no encoding: text with lone surrogates, integers beyond 64 bits, other objects, deep nesting. */
export function checkValue(value: unknown, what = 'value', depth = 0): asserts value is Value {
  const refuse = (why: string): never => {
    throw new OperationError('bad-argument', `${what}: ${why}`);
  };
  if (depth > DEPTH_MAX) refuse(`nested deeper than ${DEPTH_MAX}; use a flatter value`);
  switch (typeof value) {
    case 'boolean':
    case 'number':
      return;
    case 'bigint':
      if (value < INTEGER_MIN || value > INTEGER_MAX) refuse('integers have 64 bits; use text for larger ones');
      return;
    case 'string':
      checkText(value, what);
      return;
    case 'object':
      break;
    default:
      refuse(`${typeof value} is not a value; use null, true, a number, text, bytes, a list or a record`);
  }
  if (value === null || value instanceof Float || value instanceof Uint8Array || value instanceof UnknownValue) return;
  if (Array.isArray(value)) {
    value.forEach((item, index) => checkValue(item, `${what}[${index}]`, depth + 1));
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) refuse('not a plain object; convert it to a record first');
  for (const [name, field] of Object.entries(value as object)) {
    checkText(name, `a name in ${what}`);
    checkValue(field, `${what}.${name}`, depth + 1);
  }
}

/** Refuses lone surrogates, which UTF-8 cannot express. */
export function checkText(text: unknown, what: string): asserts text is string {
  if (typeof text !== 'string') throw new OperationError('bad-argument', `${what}: not text`);
  if (!text.isWellFormed()) {
    throw new OperationError('bad-argument', `${what}: has half of a surrogate pair; pass whole characters`);
  }
}
