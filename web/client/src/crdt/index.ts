export { Clock, stampAt, stampMilliseconds } from './clock.js';
export { Reader, Writer } from './codec.js';
export { Context, type Interval } from './context.js';
export { decodeContext, encodeContext } from './context-bytes.js';
export {
  Document, type DocumentOperation, type DocumentReading, type MapContent, parseSchema, type Readings, type Schema, type Verbs,
} from './document.js';
export type { Dot, Replica } from './dot.js';
export { DecodeError, LimitError, OperationError, type Retry, SkewError } from './errors.js';
export type { Edge, GraphOperation } from './graph.js';
export { type Json, valueFromJson, valueToJson } from './json.js';
export { CrdtMap, type MapOperation, type MapReading } from './map.js';
export type { Stamped } from './register.js';
export { List, type SequenceOperation, Text } from './sequence.js';
export type { SetOperation } from './set.js';
export { decodeDigest, type Digest, encodeDigest, State } from './state.js';
export type { Store } from './store.js';
export { emptyOf, TYPE_NAMES, type TypeName } from './types.js';
export { checkValue, compareValues, decodeValue, encodeValue, Float, UnknownValue, type Value, type ValueRecord } from './value.js';
