import { CallError } from '../errors.js';
import type { Connection } from '../session/connection.js';
import type { Timing } from '../session/socket.js';
import type { Packet } from '../wire/packet.js';
import type { Failure, HubMessage, TabMessage } from './messages.js';

/** A sender never has more on the way than this, and what the receiver allowed since. */
const WINDOW_BYTES = 256 * 1024;
/** Streams each way. */
const STREAMS_MAX = 16;
/** A download that no tab asks for. */
const CLAIM_WITHIN_MS = 30_000;

/** A tab with streams. */
export interface StreamTab {
  post(message: HubMessage): void;
}

interface Upload {
  readonly tab: StreamTab;
  readonly key: number;
  readonly id: number;
  readonly connection: Connection;
  left: number;
}

interface Download {
  readonly id: number;
  readonly connection: Connection;
  tab: StreamTab | undefined;
  timer: unknown;
  /** What came before a tab asked: at most the window. */
  readonly early: HubMessage[];
}

function failure(status: number, message: string): Failure {
  return { kind: 'call', status, message };
}

/** Streams between tabs and a connection. The bytes of a stream go to the tab that asked for it, and to no other. */
export class HubStreams {
  #nextId = 1;
  readonly #uploads = new Map<number, Upload>();
  readonly #downloads = new Map<string, Download>();
  readonly #names = new WeakMap<Connection, number>();
  #connections = 0;

  constructor(private readonly timing: Timing) {}

  /** Ids of servers begin anew on each connection. */
  #key(connection: Connection, id: number): string {
    let name = this.#names.get(connection);
    if (name === undefined) {
      this.#connections += 1;
      name = this.#connections;
      this.#names.set(connection, name);
    }
    return `${name}:${id}`;
  }

  /** Whether a stream of the connection is under way. */
  isBusy(connection: Connection): boolean {
    const isHere = (stream: { connection: Connection }): boolean => stream.connection === connection;
    return [...this.#uploads.values()].some(isHere) || [...this.#downloads.values()].some(isHere);
  }

  begin(tab: StreamTab, message: Extract<TabMessage, { type: 'upload' }>, connection: Connection | undefined): void {
    const key = message.upload;
    const refused = connection === undefined
      ? failure(503, 'streams need an open socket; try again when the state is open')
      : this.#uploads.size >= STREAMS_MAX ? failure(429, `at most ${STREAMS_MAX} uploads at once`) : undefined;
    if (connection === undefined || refused !== undefined) {
      tab.post({ type: 'upload-end', upload: key, failure: refused });
      return;
    }
    const id = this.#nextId;
    this.#nextId += 1;
    connection.send({ kind: 'stream-init', id, size: message.size, name: message.name });
    this.#uploads.set(id, { tab, key, id, connection, left: message.size });
    tab.post({ type: 'uploading', upload: key, stream: id, window: WINDOW_BYTES });
  }

  chunk(tab: StreamTab, key: number, bytes: Uint8Array): void {
    const upload = [...this.#uploads.values()].find((one) => one.tab === tab && one.key === key);
    if (upload === undefined) return;
    upload.left -= bytes.length;
    if (upload.left < 0) {
      this.#abortUpload(upload, failure(400, 'more bytes than were said'));
      return;
    }
    if (bytes.length > 0) upload.connection.send({ kind: 'stream-chunk', id: upload.id, payload: bytes });
    if (upload.left === 0) this.#end(upload.id);
  }

  #end(id: number): void {
    const upload = this.#uploads.get(id);
    if (upload === undefined) return;
    upload.connection.send({ kind: 'stream-end', id });
    this.#uploads.delete(id);
    upload.tab.post({ type: 'upload-end', upload: upload.key });
  }

  #abortUpload(upload: Upload, why: Failure): void {
    this.#uploads.delete(upload.id);
    upload.connection.send({ kind: 'stream-abort', id: upload.id, status: why.status, reason: why.message });
    upload.tab.post({ type: 'upload-end', upload: upload.key, failure: why });
  }

  /** A tab asks for the bytes of a stream that a call named. */
  claim(tab: StreamTab, stream: number, connection: Connection | undefined): void {
    const download = connection && this.#downloads.get(this.#key(connection, stream));
    if (download === undefined) {
      if (connection === undefined) {
        tab.post({ type: 'stream-end', stream, failure: failure(503, 'the connection that had the stream ended; ask again') });
        return;
      }
      // The answer that names the stream may overtake its first packet.
      this.#downloads.set(this.#key(connection, stream), { id: stream, connection, tab, timer: undefined, early: [] });
      return;
    }
    download.tab = tab;
    this.timing.cancel(download.timer);
    for (const message of download.early.splice(0)) tab.post(message);
  }

  credit(tab: StreamTab, stream: number, bytes: number): void {
    const download = [...this.#downloads.values()].find((one) => one.tab === tab && one.id === stream);
    download?.connection.send({ kind: 'credit', id: stream, bytes });
  }

  abort(tab: StreamTab, stream: number | undefined, key: number | undefined): void {
    for (const [name, download] of this.#downloads) {
      if (download.tab !== tab || download.id !== stream) continue;
      this.#downloads.delete(name);
      download.connection.send({ kind: 'stream-abort', id: download.id, status: 499, reason: 'the reader went away' });
    }
    for (const upload of [...this.#uploads.values()]) {
      if (upload.tab === tab && upload.key === key) this.#abortUpload(upload, failure(499, 'the writer gave up'));
    }
  }

  /** A packet of a stream. */
  received(connection: Connection, packet: Packet): void {
    if (packet.kind === 'credit') {
      const upload = this.#uploads.get(packet.id);
      upload?.tab.post({ type: 'upload-credit', upload: upload.key, bytes: packet.bytes });
      return;
    }
    if (!('id' in packet)) return;
    if (packet.id > 0) {
      const upload = this.#uploads.get(packet.id);
      if (packet.kind !== 'stream-abort' || upload === undefined) return;
      this.#uploads.delete(packet.id);
      upload.tab.post({ type: 'upload-end', upload: upload.key, failure: failure(packet.status, packet.reason) });
      return;
    }
    this.#download(connection, packet);
  }

  #download(connection: Connection, packet: Packet & { readonly id: number }): void {
    const name = this.#key(connection, packet.id);
    let download = this.#downloads.get(name);
    if (packet.kind === 'stream-init') {
      if (download === undefined) {
        download = { id: packet.id, connection, tab: undefined, timer: undefined, early: [] };
        this.#downloads.set(name, download);
        download.timer = this.timing.after(CLAIM_WITHIN_MS, () => this.#expire(name));
      }
      this.#deliver(download, { type: 'stream-init', stream: packet.id, size: packet.size, name: packet.name });
    }
    if (download === undefined) return;
    if (packet.kind === 'stream-chunk') {
      // A copy: the message's memory holds other things too, and a clone would take them along.
      this.#deliver(download, { type: 'stream-chunk', stream: packet.id, bytes: packet.payload.slice() });
    } else if (packet.kind === 'stream-end' || packet.kind === 'stream-abort') {
      const why = packet.kind === 'stream-abort' ? failure(packet.status, packet.reason) : undefined;
      this.#deliver(download, { type: 'stream-end', stream: packet.id, failure: why });
      if (download.tab !== undefined) this.#downloads.delete(name);
    }
  }

  #deliver(download: Download, message: HubMessage): void {
    if (download.tab === undefined) download.early.push(message);
    else download.tab.post(message);
  }

  #expire(name: string): void {
    const download = this.#downloads.get(name);
    if (download === undefined || download.tab !== undefined) return;
    this.#downloads.delete(name);
    download.connection.send({ kind: 'stream-abort', id: download.id, status: 408, reason: 'nobody asked for it' });
  }

  /** Streams end with their connection; nobody can say how much of an upload arrived. */
  lost(connection: Connection): void {
    const why = failure(503, 'the connection ended; begin the stream again');
    for (const upload of [...this.#uploads.values()]) {
      if (upload.connection !== connection) continue;
      this.#uploads.delete(upload.id);
      upload.tab.post({ type: 'upload-end', upload: upload.key, failure: why });
    }
    for (const [name, download] of [...this.#downloads]) {
      if (download.connection !== connection) continue;
      this.#downloads.delete(name);
      this.timing.cancel(download.timer);
      download.tab?.post({ type: 'stream-end', stream: download.id, failure: why });
    }
  }

  /** The tab is gone: so are its streams. */
  left(tab: StreamTab): void {
    for (const upload of [...this.#uploads.values()]) {
      if (upload.tab === tab) this.#abortUpload(upload, failure(499, 'the tab went away'));
    }
    for (const [name, download] of [...this.#downloads]) {
      if (download.tab !== tab) continue;
      this.#downloads.delete(name);
      download.connection.send({ kind: 'stream-abort', id: download.id, status: 499, reason: 'the tab went away' });
    }
  }
}

export function toError({ status, message }: Failure): CallError {
  return new CallError(status, message);
}
