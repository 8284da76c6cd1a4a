import { compareBytes, type Reader, type Writer } from './codec.js';
import { Context } from './context.js';
import { decodeContext, encodeContext } from './context-bytes.js';
import { DecodeError, LimitError, OperationError } from './errors.js';
import { type Fragment, type Join, PlainStore, type Store, type Visit } from './store.js';

/** Bodies of one field together. */
const BYTES_MAX = 2 ** 20;
/** Added to the tag where fragments are encoded. */
export const FRAGMENTS = 2 ** 32;

interface Piece {
  readonly context: Context;
  readonly body: Uint8Array;
}

function comparePieces(a: Piece, b: Piece): number {
  return a.context.compare(b.context) || compareBytes(a.body, b.body);
}

/**
 * A field of a type that this version does not know: the states in which it came, unjoined, and the contexts of states in
 * which it was absent. Their join is what a version that knows the type would have.
 */
export class Unknown extends PlainStore implements Store {
  pieces: Piece[] = [];
  absent = new Context();

  constructor(readonly tag: number) {
    super();
  }

  /** A body as it came, with the context of its message. */
  static received(tag: number, context: Context, body: Uint8Array): Unknown {
    const unknown = new Unknown(tag);
    unknown.pieces.push({ context: context.clone(), body: body.slice() });
    return unknown;
  }

  clone(): Unknown {
    const copy = new Unknown(this.tag);
    copy.pieces = this.pieces.slice();
    copy.absent = this.absent.clone();
    return copy;
  }

  isBottom(): boolean {
    return this.pieces.length === 0 && this.absent.isEmpty;
  }

  read(): undefined {
    return undefined;
  }

  override hasUnknown(): boolean {
    return true;
  }

  // Which dots are live in here is not known.
  visit(_guide: Store | undefined, _visit: Visit): void {}

  join(theirs: Store, join: Join): void {
    const other = theirs as Unknown;
    // What an unknown part holds cannot be told apart.
    join.changed = true;
    for (const piece of other.pieces) this.#add(piece);
    this.absent.join(other.absent);
    if (this.pieces.reduce((sum, { body }) => sum + body.length, 0) > BYTES_MAX) {
      join.exceeded = new LimitError('content of an unknown type', BYTES_MAX);
    }
  }

  #add(piece: Piece): void {
    const at = this.pieces.findIndex((other) => comparePieces(other, piece) >= 0);
    if (at < 0) this.pieces.push(piece);
    else if (comparePieces(this.pieces[at] as Piece, piece) !== 0) this.pieces.splice(at, 0, piece);
  }

  sweep(theirs: Store | undefined, join: Join): void {
    if (theirs === undefined) this.absent.join(join.theirs);
  }

  unknownTo(_context: Context): Store {
    return this.clone();
  }

  prepare(): Fragment | undefined {
    throw new OperationError('wrong-type', 'the field has a type that this version does not know; update the client');
  }

  encodeBody(_context: Context, to: Writer): void {
    encodeContext(this.absent, to);
    to.varint(this.pieces.length);
    for (const { context, body } of this.pieces) {
      encodeContext(context, to);
      to.block(body);
    }
  }

  decodeBody(from: Reader, context: Context, _depth: number): void {
    const takeSeen = (): Context => {
      const part = decodeContext(from);
      if (!part.isSubset(context)) throw DecodeError.unknownDot('fragment');
      return part;
    };
    this.absent = takeSeen();
    const count = from.varint('fragments');
    for (let index = 0; index < count; index += 1) {
      const piece = { context: takeSeen(), body: from.block('fragment').slice() };
      const last = this.pieces.at(-1);
      if (last !== undefined && comparePieces(last, piece) >= 0) throw DecodeError.notCanonical('fragments');
      this.pieces.push(piece);
    }
  }
}
