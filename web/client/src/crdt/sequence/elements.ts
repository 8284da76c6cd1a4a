import type { Context } from '../context.js';
import { compareDots, type Dot, dotAfter, sameDot } from '../dot.js';
import type { Join } from '../store.js';
import { Order } from './order.js';
import { comparePlaces, type Place, Run } from './run.js';

/** One node on its own. */
interface Node<T> {
  readonly dot: Dot;
  readonly place: Place | undefined;
  /** None when deleted. */
  readonly value: T | undefined;
  readonly deletedBy: Dot | undefined;
}

function elements<T>(order: Order<T>): Node<T>[] {
  const nodes: Node<T>[] = [];
  for (const run of order.runs.values()) {
    for (let offset = 0; offset < run.length; offset += 1) {
      const dot = dotAfter(run.first, offset);
      nodes.push({ dot, place: run.placeAt(offset), value: run.values[offset], deletedBy: run.deletedBy });
    }
  }
  return nodes;
}

function single<T>(node: Node<T>): Run<T> {
  return node.deletedBy === undefined
    ? Run.alive(node.dot, node.place, [node.value as T])
    : Run.deleted(node.dot, node.place, 1, node.deletedBy);
}

/** Higher place, deletion over element, smaller deletion. Elements of one dot are equal but for faulty peers. */
function joinNodes<T>(mine: Node<T>, theirs: Node<T>, compare: (a: T, b: T) => number): Node<T> {
  const place = comparePlaces(mine.place, theirs.place) >= 0 ? mine.place : theirs.place;
  if (mine.deletedBy !== undefined && theirs.deletedBy !== undefined) {
    const deletedBy = compareDots(mine.deletedBy, theirs.deletedBy) <= 0 ? mine.deletedBy : theirs.deletedBy;
    return { dot: mine.dot, place, value: undefined, deletedBy };
  }
  const deletedBy = mine.deletedBy ?? theirs.deletedBy;
  if (deletedBy !== undefined) return { dot: mine.dot, place, value: undefined, deletedBy };
  const value = compare(mine.value as T, theirs.value as T) >= 0 ? mine.value : theirs.value;
  return { dot: mine.dot, place, value, deletedBy };
}

/** The join rule, for any two sequences. */
export function joinElements<T>(
  mine: Order<T>, theirs: Order<T>, join: Join, compare: (a: T, b: T) => number,
): Order<T> {
  const [ours, others] = [elements(mine), elements(theirs)];
  const joined: Node<T>[] = [];
  const add = (other: Node<T>): void => {
    if (join.mine.contains(other.dot)) return;
    joined.push(other);
    join.changed = true;
  };
  let at = 0;
  for (const node of ours) {
    for (let other = others[at]; other !== undefined && compareDots(other.dot, node.dot) < 0; other = others[at]) {
      add(other);
      at += 1;
    }
    const same = others[at];
    if (same !== undefined && compareDots(same.dot, node.dot) === 0) {
      const both = joinNodes(node, same, compare);
      join.changed ||= comparePlaces(both.place, node.place) !== 0 || !sameDot(both.deletedBy, node.deletedBy);
      joined.push(both);
      at += 1;
    } else if (join.theirs.contains(node.dot)) {
      join.dropped += 1;
      join.changed = true;
    } else {
      joined.push(node);
    }
  }
  for (; at < others.length; at += 1) add(others[at] as Node<T>);
  return fromRuns(joined.map(single));
}

/** Nodes that are not in the context, or deleted by a dot that is not. */
export function elementsUnknownTo<T>(order: Order<T>, context: Context): Order<T> {
  const isStable = (dot: Dot): boolean => dot.incarnation === 0 && dot.sequence === 0 && dot.slot === 0;
  const lacks = ({ dot, deletedBy }: Node<T>): boolean =>
    !context.contains(dot) || (deletedBy !== undefined && !isStable(deletedBy) && !context.contains(deletedBy));
  return fromRuns(elements(order).filter(lacks).map(single));
}

/** Merges runs, ascending by dot, wherever they go on. The runs are the merger's own. */
function merge<T>(runs: readonly Run<T>[]): Run<T>[] {
  const merged: Run<T>[] = [];
  for (const run of runs) {
    const last = merged.at(-1);
    if (last?.canJoin(run) === true) last.append(run);
    else merged.push(run);
  }
  return merged;
}

/** Runs by dot, merged wherever they go on, whatever stands between them in the order. Copies. */
export function dotRuns<T>(order: Order<T>): Run<T>[] {
  return merge(order.runs.values().map((run) => run.clone()));
}

/** Index of the run that has the dot, among runs that ascend. */
function ownerOf<T>(runs: readonly Run<T>[], dot: Dot | undefined): number | undefined {
  if (dot === undefined) return undefined;
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareDots((runs[middle] as Run<T>).first, dot) <= 0) low = middle + 1;
    else high = middle;
  }
  const run = runs[low - 1];
  return run !== undefined && compareDots(dot, run.last) <= 0 ? low - 1 : undefined;
}

/**
 * Builds the order of runs, which from now on are its own. Runs are put in place after what they refer to; the result
 * depends on the set of nodes only.
 */
export function fromRuns<T>(given: Run<T>[]): Order<T> {
  const runs = merge(given.sort((a, b) => compareDots(a.first, b.first)));
  const needs = new Map<number, Set<number>>();
  const neededBy = new Map<number, number[]>();
  const ready: number[] = [];
  runs.forEach((run, index) => {
    const targets = new Set<number>();
    for (const dot of [run.place?.parent, run.place?.rightOrigin]) {
      const target = ownerOf(runs, dot);
      if (target !== undefined && target !== index) targets.add(target);
    }
    for (const target of targets) {
      const list = neededBy.get(target);
      if (list === undefined) neededBy.set(target, [index]);
      else list.push(index);
    }
    if (targets.size === 0) ready.push(index);
    else needs.set(index, targets);
  });
  const built = new Order<T>();
  const placed = new Set<number>();
  for (let lowest = 0; placed.size < runs.length; ) {
    let index = ready.pop();
    if (index === undefined) {
      // Only a faulty peer's cycle leaves runs that wait for each other; they go in by dot.
      while (placed.has(lowest)) lowest += 1;
      index = lowest;
    }
    if (placed.has(index)) continue;
    placed.add(index);
    built.placeRun(runs[index] as Run<T>);
    for (const next of neededBy.get(index) ?? []) {
      const left = needs.get(next);
      left?.delete(index);
      if (left?.size === 0) ready.push(next);
    }
  }
  built.dangling = built.runs.values().filter((run) => built.isDangling(run)).length;
  return built;
}
