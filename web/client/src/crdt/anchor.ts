import { Context, type Interval } from './context.js';
import { compareDots, type Dot, distance, dotAfter } from './dot.js';
import { isObject } from './json.js';
import { CrdtMap } from './map.js';
import { Sequence } from './sequence.js';
import type { Store } from './store.js';
import { tagOfType } from './types.js';

/**
 * Where an edit of a list or text goes, said by elements instead of indexes: an index means something only next to the
 * state in which it was read, and another copy, or the same one after a change of writer, is in another state.
 */
export type Anchor =
  | { readonly after: Dot | null }
  | { readonly nodes: readonly Interval[] };

/** An operation whose edits of sequences have an `anchor` beside their `index`. */
export type Anchored = { readonly [name: string]: unknown };

/** Own dots that were given a new writer: of `count` from `from` on, to those from `to` on. */
export interface Renaming {
  readonly from: Dot;
  readonly to: Dot;
  readonly count: number;
}

function storeOf(map: CrdtMap, name: unknown, type: unknown): Store | undefined {
  const tag = typeof type === 'string' ? tagOfType(type) : undefined;
  return typeof name === 'string' && tag !== undefined ? map.get(name, tag) : undefined;
}

/** Adds anchors to an operation on a store; what is wrong with it is left for others to say. */
export function addAnchors(operation: Anchored, store: Store | undefined): Anchored {
  if (store instanceof CrdtMap && isObject(operation['operation'])) {
    const inner = storeOf(store, operation['update'], operation['type']);
    return { ...operation, operation: addAnchors(operation['operation'], inner) };
  }
  const { index } = operation;
  if (!(store instanceof Sequence) || typeof index !== 'number') return operation;
  if (typeof operation['delete'] === 'number') {
    if (index + operation['delete'] > store.length) return operation;
    return { ...operation, anchor: { nodes: store.nodesAt(index, operation['delete']) } };
  }
  if (index > store.length) return operation;
  return { ...operation, anchor: { after: index === 0 ? null : (store.anchor(index - 1) ?? null) } };
}

/**
 * The operations, one after the other, that say the same about the store as it is now. A deletion becomes one for each range
 * that is still visible, from the end to the front.
 */
export function resolveAnchors(operation: Anchored, store: Store | undefined, renamings: readonly Renaming[]): Anchored[] {
  if (isObject(operation['operation'])) {
    const inner = store instanceof CrdtMap ? storeOf(store, operation['update'], operation['type']) : undefined;
    return resolveAnchors(operation['operation'], inner, renamings).map((resolved) => ({ ...operation, operation: resolved }));
  }
  const { anchor, ...rest } = operation as Anchored & { anchor?: Anchor };
  if (anchor === undefined) return [rest];
  const sequence = store instanceof Sequence ? store : undefined;
  if ('nodes' in anchor) {
    if (sequence === undefined) return [];
    const nodes = new Context();
    for (const interval of anchor.nodes) nodes.join(renameInterval(interval, renamings));
    return sequence.visibleRanges(nodes).reverse().map(([index, count]) => ({ ...rest, index, delete: count }));
  }
  if (anchor.after === null || sequence === undefined) return [{ ...rest, index: 0 }];
  const after = rename(anchor.after, renamings);
  const at = sequence.indexOf(after);
  // An element that is gone without a trace was deleted by everybody: the end is as good a place as any.
  if (at === undefined) return [{ ...rest, index: sequence.length }];
  return [{ ...rest, index: sequence.isVisible(after) ? at + 1 : at }];
}

export function rename(dot: Dot, renamings: readonly Renaming[]): Dot {
  for (const { from, to, count } of renamings) {
    if (dot.slot !== from.slot) continue;
    const offset = distance(from, dot);
    if (offset >= 0 && offset < count) return dotAfter(to, offset);
  }
  return dot;
}

function renameInterval({ first, last }: Interval, renamings: readonly Renaming[]): Context {
  if (renamings.length === 0) return Context.from({ first, last });
  const renamed = new Context();
  for (let dot = first; compareDots(dot, last) <= 0; dot = dotAfter(dot, 1)) renamed.insert(rename(dot, renamings));
  return renamed;
}
