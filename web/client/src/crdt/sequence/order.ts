import { Context, type Interval } from '../context.js';
import { compareDots, type Dot, distance, dotAfter, sameDot } from '../dot.js';
import { OrderedMap } from '../ordered.js';
import type { Place, Run } from './run.js';
import { RunList } from './run-list.js';

/** A node by its run. */
interface Position<T> {
  readonly run: Run<T>;
  readonly offset: number;
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
  readonly list = new RunList<T>();
  /** Runs whose place is not known or refers to an absent node. They are not final: what arrives may move them. */
  dangling = 0;
  /** Sum over the runs. */
  nodes = 0;

  /** The run that has the node, and the offset in it. */
  locate(dot: Dot): Position<T> | undefined {
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

  /** Whether a new right child comes before a sibling: further right origin first, then by key. */
  #isBefore(added: Place, sibling: Place): boolean {
    const byKey = compareDots(added.key, sibling.key) < 0;
    if (sameDot(added.rightOrigin, sibling.rightOrigin)) return byKey;
    // None, and what is absent, is the end.
    const mine = added.rightOrigin && this.locate(added.rightOrigin);
    const other = sibling.rightOrigin && this.locate(sibling.rightOrigin);
    if (mine === undefined || other === undefined) return mine === other ? byKey : mine === undefined;
    const order = mine.run === other.run ? mine.offset - other.offset : this.list.compare(mine.run, other.run);
    return order === 0 ? byKey : order > 0;
  }

  /** Puts a run, which from now on is this order's own, at its place. */
  placeRun(run: Run<T>): void {
    if (this.isDangling(run)) this.dangling += 1;
    const place = this.#effective(run.first, run.place);
    const after = place.left ? this.#leftGap(place) : this.#rightGap(place);
    this.nodes += run.length;
    this.list.insertAfter(after, run);
    this.runs.set(run.first, run);
    this.#mergeIntoPrevious(run);
  }

  /** The run after which a new left child goes: before the parent, and before left siblings with larger keys. */
  #leftGap(place: Place): Run<T> | undefined {
    const found = place.parent && this.locate(place.parent);
    if (found === undefined) return undefined;
    if (found.offset > 0) {
      this.#split(found.run, found.offset);
      return found.run;
    }
    let before = this.list.previous(found.run);
    while (before !== undefined) {
      const sibling = this.#childTowards(before.last, place.parent);
      if (sibling === undefined || !sibling.place.left || compareDots(sibling.place.key, place.key) < 0) break;
      before = this.list.previous(before);
    }
    return before;
  }

  /** The run after which a new right child goes: after the parent and the right siblings that come first. */
  #rightGap(place: Place): Run<T> | undefined {
    const found = place.parent && this.locate(place.parent);
    if (found !== undefined && found.offset + 1 < found.run.length) {
      // The next node of the parent's own run is a sibling.
      const sibling = found.run.placeAt(found.offset + 1);
      if (sibling === undefined || this.#isBefore(place, sibling)) {
        this.#split(found.run, found.offset + 1);
        return found.run;
      }
    }
    let after = found?.run;
    let skipped: Dot | undefined;
    for (;;) {
      const next = after === undefined ? this.list.first() : this.list.next(after);
      // A child of the root that has left descendants is not the first of its subtree; climbing finds it.
      const sibling = next && this.#childTowards(next.first, place.parent);
      if (sibling === undefined) return after;
      if (skipped === undefined || !sameDot(skipped, sibling.child)) {
        if (sibling.place.left || this.#isBefore(place, sibling.place)) return after;
        skipped = sibling.child;
      }
      after = next;
    }
  }

  /** Splits a run; gives the second part. */
  #split(run: Run<T>, offset: number): Run<T> {
    const rest = run.splitOff(offset);
    this.list.grew(run, -rest.visible);
    this.list.insertAfter(run, rest);
    if (rest.place === undefined) this.dangling += 1;
    this.runs.set(rest.first, rest);
    return rest;
  }

  /** Merges a run into the one before it, where that goes on. */
  #mergeIntoPrevious(run: Run<T>): void {
    const before = this.list.previous(run);
    if (before === undefined || !before.canJoin(run)) return;
    this.list.remove(run);
    this.runs.delete(run.first);
    if (run.place === undefined) this.dangling -= 1;
    before.append(run);
    this.list.grew(before, run.visible);
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
      const { length } = found.run;
      const part = found.offset > 0 ? this.#split(found.run, found.offset) : found.run;
      const count = Math.min(length - found.offset, distance(next, range.last) + 1);
      if (count < part.length) this.#split(part, count);
      this.list.grew(part, -part.visible);
      if (part.delete(by)) changed = true;
      const after = this.list.next(part);
      if (after !== undefined) this.#mergeIntoPrevious(after);
      this.#mergeIntoPrevious(part);
      next = dotAfter(next, count);
    }
    return changed;
  }

  /** Dot of the visible element at the index. */
  anchor(index: number): Dot | undefined {
    const found = this.list.findVisible(index);
    return found && dotAfter(found.run.first, found.offset);
  }

  /** Where the anchor is now, counted in visible elements; for a deleted element, where it was. */
  indexOf(anchor: Dot): number | undefined {
    const found = this.locate(anchor);
    return found && this.list.visibleBefore(found.run) + (found.run.isAlive ? found.offset : 0);
  }

  /** The visible nodes before and at an index. */
  #neighbours(index: number): { left: Dot | undefined; right: Dot | undefined } {
    if (index === 0) return { left: undefined, right: this.anchor(0) };
    const found = this.list.findVisible(index - 1);
    if (found === undefined) return { left: undefined, right: undefined };
    const { run, offset } = found;
    const left = dotAfter(run.first, offset);
    if (offset + 1 < run.visible) return { left, right: dotAfter(left, 1) };
    return { left, right: this.list.nextVisible(run)?.first };
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
    const found = this.list.findVisible(start);
    let left = end - start;
    let offset = found?.offset ?? 0;
    for (let run = found?.run; run !== undefined && left > 0; run = this.list.nextVisible(run)) {
      const count = Math.min(left, run.visible - offset);
      nodes.insertInterval({ first: dotAfter(run.first, offset), last: dotAfter(run.first, offset + count - 1) });
      left -= count;
      offset = 0;
    }
    return nodes;
  }
}
