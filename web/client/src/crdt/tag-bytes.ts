import type { Reader, Writer } from './codec.js';
import { DecodeError } from './errors.js';

const TAG_VALUES = 32;
const TAG_ESCAPE = TAG_VALUES - 1;

/** `high << 5 | tag`, with an escape for tags of 31 and more. */
export function putTag(high: number, tag: number, to: Writer): void {
  to.varint(high * TAG_VALUES + Math.min(tag, TAG_ESCAPE));
  if (tag >= TAG_ESCAPE) to.varint(tag);
}

export function takeTag(from: Reader): { high: number; tag: number } {
  const head = from.varint('tag');
  let tag = head % TAG_VALUES;
  if (tag === TAG_ESCAPE) {
    tag = from.varint('tag');
    if (tag < TAG_ESCAPE) throw DecodeError.notCanonical('tag');
  }
  return { high: Math.floor(head / TAG_VALUES), tag };
}
