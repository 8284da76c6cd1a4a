/** Web Locks tell who is alive: a tab or a hub holds one of its own name, and whoever waits for it gets it at the end. */

function manager(): LockManager | undefined {
  return (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
}

export function hasLocks(): boolean {
  return manager() !== undefined;
}

/** Holds a lock until the page or worker ends. Resolves once it is held; gives its name. */
export function holdForLife(prefix: string): Promise<string | undefined> {
  const locks = manager();
  if (locks === undefined) return Promise.resolve(undefined);
  const name = `${prefix}${crypto.randomUUID()}`;
  return new Promise((resolve) => {
    const held = locks.request(name, () => {
      resolve(name);
      return new Promise<void>(() => {});
    });
    held.catch(() => resolve(undefined));
  });
}

/** Calls `gone` once the holder of the lock is gone. */
export function whenReleased(name: string, gone: () => void, signal?: AbortSignal): void {
  const locks = manager();
  if (locks === undefined) return;
  const options: LockOptions = { mode: 'shared', ...(signal === undefined ? {} : { signal }) };
  locks.request(name, options, () => gone()).catch(() => {});
}

/** Calls `lead` once this page is the leader; it stays so until `stop` is called or the page ends. */
export function whenLeader(name: string, lead: () => void, signal: AbortSignal): { stop: () => void } {
  let stop = (): void => {};
  const ended = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const led = manager()?.request(name, { signal }, () => {
    lead();
    return ended;
  });
  led?.catch(() => {});
  return { stop: () => stop() };
}
