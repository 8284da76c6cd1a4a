/** Index of the first item for which `isBefore` is false; the items for which it holds come first. */
export function partitionPoint<T>(items: readonly T[], isBefore: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(items[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A map whose keys ascend by a comparison of their content. Documents of clients are small: two arrays beat a tree. */
export class OrderedMap<K, V> {
  readonly #compare: (a: K, b: K) => number;
  readonly #keys: K[] = [];
  readonly #values: V[] = [];

  constructor(compare: (a: K, b: K) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#keys.length;
  }

  keys(): readonly K[] {
    return this.#keys;
  }

  values(): readonly V[] {
    return this.#values;
  }

  *entries(): IterableIterator<[K, V]> {
    for (let at = 0; at < this.#keys.length; at += 1) yield [this.#keys[at] as K, this.#values[at] as V];
  }

  /** Index of the first key that is not smaller. */
  lowerBound(key: K): number {
    return partitionPoint(this.#keys, (other) => this.#compare(other, key) < 0);
  }

  has(key: K): boolean {
    return this.#find(key) >= 0;
  }

  get(key: K): V | undefined {
    const at = this.#find(key);
    return at < 0 ? undefined : this.#values[at];
  }

  set(key: K, value: V): void {
    const last = this.#keys.length - 1;
    // Decoders and merges add in order.
    if (last < 0 || this.#compare(this.#keys[last] as K, key) < 0) {
      this.#keys.push(key);
      this.#values.push(value);
      return;
    }
    const at = this.lowerBound(key);
    if (this.#compare(this.#keys[at] as K, key) === 0) {
      this.#values[at] = value;
    } else {
      this.#keys.splice(at, 0, key);
      this.#values.splice(at, 0, value);
    }
  }

  delete(key: K): void {
    const at = this.#find(key);
    if (at < 0) return;
    this.#keys.splice(at, 1);
    this.#values.splice(at, 1);
  }

  /** Drops entries for which `keep` is false. */
  retain(keep: (key: K, value: V) => boolean): void {
    let to = 0;
    for (let at = 0; at < this.#keys.length; at += 1) {
      const key = this.#keys[at] as K;
      const value = this.#values[at] as V;
      if (!keep(key, value)) continue;
      this.#keys[to] = key;
      this.#values[to] = value;
      to += 1;
    }
    this.#keys.length = to;
    this.#values.length = to;
  }

  #find(key: K): number {
    const at = this.lowerBound(key);
    return at < this.#keys.length && this.#compare(this.#keys[at] as K, key) === 0 ? at : -1;
  }
}
