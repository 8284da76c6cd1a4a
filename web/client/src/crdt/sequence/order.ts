import { Context, type Interval } from '../context.js';
import { compareDots, type Dot, distance, dotAfter, sameDot } from '../dot.js';
import { OrderedMap } from '../ordered.js';
import type { Place, Run } from './run.js';

/** A position in the order; nodes without a position are after everything. */
interface Position {
  readonly index: number;
  readonly offset: number;
}

const END: Position = { index: Number.POSITIVE_INFINITY, offset: 0 };

function comparePositions(a: Position, b: Position): number {
  return a.index === b.index ? a.offset - b.offset : a.index - b.index;
}

function root(key: Dot): Place {
  return { level: 0, key, parent: undefined, left: false, rightOrigin: undefined };
}

/**
 * Runs by dot and in order. Insertion finds the place of a run, splits and merges, and never walks the whole tree.
 * Invariant: a run's nodes are contiguous both in dots and in order.
 */
export class Order<T> {
  readonly runs = new OrderedMap<Dot, Run<T>>(compareDots);
  /** The runs in order. Follows from the runs. */
  order: Run<T>[] = [];
  /** Runs whose place is not known or refers to an absent node. They are not final: what arrives may move them. */
  dangling = 0;
  /** Sum over the runs. */
  visible = 0;
  nodes = 0;
  /** Where in the order the last change was. */
  #hint = 0;

  /** The run that has the node, and the offset in it. */
  locate(dot: Dot): { run: Run<T>; offset: number } | undefined {
    const keys = this.runs.keys();
    let at = this.runs.lowerBound(dot);
    if (at === keys.length || !sameDot(keys[at], dot)) at -= 1;
    const run = this.runs.values()[at];
    if (run === undefined || run.first.slot !== dot.slot) return undefined;
    const offset = distance(run.first, dot);
    return offset < run.length ? { run, offset } : undefined;
  }

  #has(dot: Dot | undefined): boolean {
    return dot === undefined || this.locate(dot) !== undefined;
  }

  #indexOf(run: Run<T>): number {
    for (let at = Math.max(0, this.#hint - 2); at < this.#hint + 3; at += 1) if (this.order[at] === run) return at;
    return this.order.indexOf(run);
  }

  position(dot: Dot): Position | undefined {
    const found = this.locate(dot);
    return found === undefined ? undefined : { index: this.#indexOf(found.run), offset: found.offset };
  }

  /** Whether the run's place is not known or refers to absent nodes. */
  isDangling(run: Run<T>): boolean {
    return run.place === undefined || !this.#has(run.place.parent) || !this.#has(run.place.rightOrigin);
  }

  /** The place by which a node is ordered now: what refers to absent nodes hangs on the root. */
  #effective(node: Dot, place: Place | undefined): Place {
    if (place === undefined) return root(node);
    if (place.parent === undefined) return { ...place, left: false };
    return this.#has(place.parent) ? place : root(place.key);
  }

  /** The child of `parent` in whose subtree the node is, with its place. */
  #childTowards(node: Dot, parent: Dot | undefined): { child: Dot; place: Place } | undefined {
    let current = node;
    // Each step leaves a run for its parent's; a faulty peer's cycle ends with the count.
    for (let step = 0; step <= this.runs.size; step += 1) {
      const found = this.locate(current);
      if (found === undefined) return undefined;
      const { run, offset } = found;
      if (run.place === undefined) {
        return parent === undefined ? { child: current, place: root(current) } : undefined;
      }
      if (parent !== undefined && parent.slot === run.first.slot) {
        const inside = distance(run.first, parent);
        if (inside >= 0 && inside < offset) {
          const child = dotAfter(parent, 1);
          return { child, place: this.#effective(child, run.placeAt(inside + 1)) };
        }
      }
      const place = this.#effective(run.first, run.place);
      if (sameDot(place.parent, parent)) return { child: run.first, place };
      if (place.parent === undefined) return undefined;
      current = place.parent;
    }
    return undefined;
  }

  #originPosition(place: Place): Position {
    return (place.rightOrigin === undefined ? undefined : this.position(place.rightOrigin)) ?? END;
  }

  /** Whether a new right child comes before a sibling: further right origin first, then by key. */
  #isBefore(added: Place, sibling: Place): boolean {
    if (sameDot(added.rightOrigin, sibling.rightOrigin)) return compareDots(added.key, sibling.key) < 0;
    const order = comparePositions(this.#originPosition(added), this.#originPosition(sibling));
    return order === 0 ? compareDots(added.key, sibling.key) < 0 : order > 0;
  }

  /** Puts a run, which from now on is this order's own, at its place. */
  placeRun(run: Run<T>): void {
    if (this.isDangling(run)) this.dangling += 1;
    const place = this.#effective(run.first, run.place);
    const at = place.left ? this.#leftGap(place) : this.#rightGap(place);
    this.#hint = at;
    this.visible += run.visible;
    this.nodes += run.length;
    this.order.splice(at, 0, run);
    this.runs.set(run.first, run);
    this.#mergeBefore(at);
  }

  /** Index for a new left child: after left siblings with smaller keys, before the parent. */
  #leftGap(place: Place): number {
    const found = place.parent === undefined ? undefined : this.position(place.parent);
    if (found === undefined) return 0;
    if (found.offset > 0) return this.#splitAt(found.index, found.offset);
    let at = found.index;
    for (let before = this.order[at - 1]; before !== undefined; before = this.order[at - 1]) {
      const sibling = this.#childTowards(before.last, place.parent);
      if (sibling === undefined || !sibling.place.left || compareDots(sibling.place.key, place.key) < 0) break;
      at -= 1;
    }
    return at;
  }

  /** Index for a new right child: after the parent and the right siblings that come first. */
  #rightGap(place: Place): number {
    let at = 0;
    const found = place.parent === undefined ? undefined : this.position(place.parent);
    if (found !== undefined) {
      const run = this.order[found.index];
      if (run !== undefined && found.offset + 1 < run.length) {
        // The next node of the parent's own run is a sibling.
        const sibling = run.placeAt(found.offset + 1);
        if (sibling === undefined || this.#isBefore(place, sibling)) {
          return this.#splitAt(found.index, found.offset + 1);
        }
      }
      at = found.index + 1;
    }
    let skipped: Dot | undefined;
    for (let run = this.order[at]; run !== undefined; run = this.order[at]) {
      // A child of the root that has left descendants is not the first of its subtree; climbing finds it.
      const sibling = this.#childTowards(run.first, place.parent);
      if (sibling === undefined) break;
      if (skipped === undefined || !sameDot(skipped, sibling.child)) {
        if (sibling.place.left || this.#isBefore(place, sibling.place)) break;
        skipped = sibling.child;
      }
      at += 1;
    }
    return at;
  }

  /** Splits the run at an index of the order; gives the index of the second part. */
  #splitAt(index: number, offset: number): number {
    const run = this.order[index];
    if (run !== undefined) {
      const rest = run.splitOff(offset);
      this.order.splice(index + 1, 0, rest);
      if (rest.place === undefined) this.dangling += 1;
      this.runs.set(rest.first, rest);
    }
    return index + 1;
  }

  /** Merges the run at an index of the order into the one before, where they go on. */
  #mergeBefore(index: number): void {
    const before = this.order[index - 1];
    const after = this.order[index];
    if (before === undefined || after === undefined || !before.canJoin(after)) return;
    this.runs.delete(after.first);
    if (after.place === undefined) this.dangling -= 1;
    before.append(after);
    this.order.splice(index, 1);
    this.#hint = index - 1;
  }

  /** Turns nodes into tombstones; of two deletions the smaller dot stays. Says whether anything changed. */
  deleteRange(range: Interval, by: Dot): boolean {
    let next = range.first;
    let changed = false;
    while (compareDots(next, range.last) <= 0) {
      const found = this.locate(next);
      if (found === undefined) {
        // Nothing here: go on with the next run in the range.
        const following = this.runs.keys()[this.runs.lowerBound(next)];
        if (following === undefined || compareDots(following, range.last) > 0) break;
        next = following;
        continue;
      }
      const { run, offset } = found;
      const { length } = run;
      let index = this.#indexOf(run);
      if (offset > 0) index = this.#splitAt(index, offset);
      const count = Math.min(length - offset, distance(next, range.last) + 1);
      if (offset + count < length) this.#splitAt(index, count);
      const part = this.order[index];
      if (part !== undefined) {
        this.visible -= part.visible;
        if (part.delete(by)) changed = true;
      }
      this.#hint = index;
      this.#mergeBefore(index + 1);
      this.#mergeBefore(index);
      next = dotAfter(next, count);
    }
    return changed;
  }

  /** The index in the order of the run that has a visible element, and the offset in it. Looks from the nearer end. */
  #findVisible(index: number): Position | undefined {
    if (index >= this.visible) return undefined;
    if (index < this.visible / 2) {
      let before = 0;
      for (let at = 0; at < this.order.length; at += 1) {
        const after = before + (this.order[at] as Run<T>).visible;
        if (index < after) return { index: at, offset: index - before };
        before = after;
      }
      return undefined;
    }
    let after = this.visible;
    for (let at = this.order.length - 1; at >= 0; at -= 1) {
      const before = after - (this.order[at] as Run<T>).visible;
      if (index >= before) return { index: at, offset: index - before };
      after = before;
    }
    return undefined;
  }

  /** Dot of the visible element at the index. */
  anchor(index: number): Dot | undefined {
    const found = this.#findVisible(index);
    const run = found && this.order[found.index];
    return run && dotAfter(run.first, found.offset);
  }

  /** Where the anchor is now, counted in visible elements; for a deleted element, where it was. */
  indexOf(anchor: Dot): number | undefined {
    const found = this.locate(anchor);
    if (found === undefined) return undefined;
    let before = 0;
    for (const run of this.order) {
      if (run === found.run) return before + (run.isAlive ? found.offset : 0);
      before += run.visible;
    }
    return undefined;
  }

  /** The visible nodes before and at an index. */
  #neighbours(index: number): { left: Dot | undefined; right: Dot | undefined } {
    if (index === 0) return { left: undefined, right: this.anchor(0) };
    const found = this.#findVisible(index - 1);
    const run = found && this.order[found.index];
    if (found === undefined || run === undefined) return { left: undefined, right: undefined };
    const left = dotAfter(run.first, found.offset);
    if (found.offset + 1 < run.visible) return { left, right: dotAfter(left, 1) };
    for (let at = found.index + 1; at < this.order.length; at += 1) {
      const next = this.order[at] as Run<T>;
      if (next.visible > 0) return { left, right: next.first };
    }
    return { left, right: undefined };
  }

  /** Place for new nodes before the visible element at an index: refers to visible nodes only. */
  placeBefore(index: number, first: Dot): Place {
    const { left, right } = this.#neighbours(index);
    if (right === undefined) return { ...root(first), parent: left };
    // The right neighbour is below the left one exactly when a climb from it meets a right child of the left one.
    const towards = this.#childTowards(right, left);
    if (towards !== undefined && !towards.place.left) return { ...root(first), parent: right, left: true };
    return { ...root(first), parent: left, rightOrigin: right };
  }

  /** Nodes of visible elements from `start` to before `end`. */
  visibleNodes(start: number, end: number): Context {
    const nodes = new Context();
    let before = 0;
    for (const run of this.order) {
      const from = Math.max(start, before);
      const to = Math.min(end, before + run.visible);
      if (from < to) {
        nodes.insertInterval({
          first: dotAfter(run.first, from - before),
          last: dotAfter(run.first, to - before - 1),
        });
      }
      before += run.visible;
      if (before >= end) break;
    }
    return nodes;
  }
}
