import type { Run } from './run.js';

/** A chunk with more runs is cut in two. */
const CHUNK_RUNS_MAX = 256;

/** Runs that follow each other. */
export class Chunk<T> {
  /** Sum over its runs. */
  visible = 0;

  constructor(
    readonly runs: Run<T>[],
    /** Its place among the chunks. */
    public at: number,
  ) {}
}

/** Runs in order, in chunks: to insert, to remove and to find an index each takes about √n small steps. */
export class RunList<T> {
  readonly #chunks: Chunk<T>[] = [];
  #visible = 0;

  /** Visible elements. */
  get visible(): number {
    return this.#visible;
  }

  *[Symbol.iterator](): IterableIterator<Run<T>> {
    for (const chunk of this.#chunks) yield* chunk.runs;
  }

  first(): Run<T> | undefined {
    return this.#chunks[0]?.runs[0];
  }

  next(run: Run<T>): Run<T> | undefined {
    const chunk = run.chunk as Chunk<T>;
    return chunk.runs[chunk.runs.indexOf(run) + 1] ?? this.#chunks[chunk.at + 1]?.runs[0];
  }

  previous(run: Run<T>): Run<T> | undefined {
    const chunk = run.chunk as Chunk<T>;
    return chunk.runs[chunk.runs.indexOf(run) - 1] ?? this.#chunks[chunk.at - 1]?.runs.at(-1);
  }

  /** Which of two runs comes first. */
  compare(a: Run<T>, b: Run<T>): number {
    const [left, right] = [a.chunk as Chunk<T>, b.chunk as Chunk<T>];
    return left === right ? left.runs.indexOf(a) - left.runs.indexOf(b) : left.at - right.at;
  }

  /** Puts a run after another one, or in front of all. */
  insertAfter(after: Run<T> | undefined, run: Run<T>): void {
    let chunk = after === undefined ? this.#chunks[0] : (after.chunk as Chunk<T>);
    if (chunk === undefined) {
      chunk = new Chunk<T>([], 0);
      this.#chunks.push(chunk);
    }
    chunk.runs.splice(after === undefined ? 0 : chunk.runs.indexOf(after) + 1, 0, run);
    run.chunk = chunk;
    this.grew(run, run.visible);
    if (chunk.runs.length > CHUNK_RUNS_MAX) this.#cut(chunk);
  }

  remove(run: Run<T>): void {
    const chunk = run.chunk as Chunk<T>;
    this.grew(run, -run.visible);
    chunk.runs.splice(chunk.runs.indexOf(run), 1);
    run.chunk = undefined;
    if (chunk.runs.length > 0) return;
    this.#chunks.splice(chunk.at, 1);
    this.#number(chunk.at);
  }

  /** A run got so many more visible elements. */
  grew(run: Run<T>, by: number): void {
    (run.chunk as Chunk<T>).visible += by;
    this.#visible += by;
  }

  #cut(chunk: Chunk<T>): void {
    const rest = new Chunk(chunk.runs.splice(CHUNK_RUNS_MAX / 2), chunk.at + 1);
    for (const run of rest.runs) {
      run.chunk = rest;
      rest.visible += run.visible;
    }
    chunk.visible -= rest.visible;
    this.#chunks.splice(rest.at, 0, rest);
    this.#number(rest.at);
  }

  #number(from: number): void {
    for (let at = from; at < this.#chunks.length; at += 1) (this.#chunks[at] as Chunk<T>).at = at;
  }

  /** The run that has a visible element, and the offset in it. */
  findVisible(index: number): { run: Run<T>; offset: number } | undefined {
    let before = 0;
    for (const chunk of this.#chunks) {
      if (index >= before + chunk.visible) {
        before += chunk.visible;
        continue;
      }
      for (const run of chunk.runs) {
        if (index < before + run.visible) return { run, offset: index - before };
        before += run.visible;
      }
    }
    return undefined;
  }

  /** Visible elements before a run. */
  visibleBefore(run: Run<T>): number {
    const chunk = run.chunk as Chunk<T>;
    let before = 0;
    for (let at = 0; at < chunk.at; at += 1) before += (this.#chunks[at] as Chunk<T>).visible;
    for (const other of chunk.runs) {
      if (other === run) break;
      before += other.visible;
    }
    return before;
  }

  /** The next run with visible elements. */
  nextVisible(run: Run<T>): Run<T> | undefined {
    const chunk = run.chunk as Chunk<T>;
    for (let at = chunk.runs.indexOf(run) + 1; at < chunk.runs.length; at += 1) {
      const next = chunk.runs[at] as Run<T>;
      if (next.visible > 0) return next;
    }
    const found = this.#chunks.slice(chunk.at + 1).find((later) => later.visible > 0);
    return found?.runs.find((next) => next.visible > 0);
  }
}
