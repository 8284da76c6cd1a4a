/** What is used of a WebSocket: the browser's, Node's, or one of a package. */
export interface Socket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

/** Makes sockets. */
export type SocketMaker = (url: string, subprotocol: string) => Socket;

/** The platform's own WebSocket. */
export const platformSocket: SocketMaker = (url, subprotocol) => {
  const { WebSocket: Maker } = globalThis as { WebSocket?: new (url: string, protocols: string) => Socket };
  if (Maker === undefined) throw new Error('there is no WebSocket here; give the option `socket`');
  return new Maker(url, subprotocol);
};

/** Time and chance, so that tests can do without both. */
export interface Timing {
  now(): number;
  /** 0 to below 1. */
  random(): number;
  after(delayMs: number, run: () => void): unknown;
  cancel(timer: unknown): void;
}

export const realTiming: Timing = {
  now: () => Date.now(),
  random: () => Math.random(),
  after: (delayMs, run) => setTimeout(run, delayMs),
  cancel: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};
