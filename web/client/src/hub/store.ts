/** Where a client keeps what has to outlive it. Values are bytes; a write is durable once its promise resolves. */
export interface OfflineStore {
  load(key: string): Promise<Uint8Array | undefined>;
  save(key: string, value: Uint8Array): Promise<void>;
  remove(key: string): Promise<void>;
}

/** Keeps nothing beyond the hub's own life. */
export class MemoryStore implements OfflineStore {
  readonly #values = new Map<string, Uint8Array>();

  load(key: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#values.get(key));
  }

  save(key: string, value: Uint8Array): Promise<void> {
    this.#values.set(key, value.slice());
    return Promise.resolve();
  }

  remove(key: string): Promise<void> {
    this.#values.delete(key);
    return Promise.resolve();
  }
}

const STORE = 'values';

function finished<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB failed'));
  });
}

/** Keeps values in IndexedDB, which pages and workers of one origin share. */
export class IndexedDbStore implements OfflineStore {
  readonly #database: Promise<IDBDatabase>;

  constructor(name = 'pointsman-sync') {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    this.#database = finished(request);
  }

  async load(key: string): Promise<Uint8Array | undefined> {
    const transaction = (await this.#database).transaction(STORE, 'readonly');
    return finished(transaction.objectStore(STORE).get(key) as IDBRequest<Uint8Array | undefined>);
  }

  async save(key: string, value: Uint8Array): Promise<void> {
    await this.#write((store) => store.put(value.slice(), key));
  }

  async remove(key: string): Promise<void> {
    await this.#write((store) => store.delete(key));
  }

  async #write(change: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    const transaction = (await this.#database).transaction(STORE, 'readwrite', { durability: 'strict' });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('IndexedDB failed'));
    });
    change(transaction.objectStore(STORE));
    await done;
  }
}
