import { CallError } from '../errors.js';
import type { HubMessage, TabMessage } from '../hub/messages.js';
import { errorOf } from './live-document.js';

/** Bytes of a chunk: large enough to be cheap, small enough that other packets get in between. */
const CHUNK_BYTES = 64 * 1024;

/** Credit is told once half of the window of 256 KiB is free. */
const CREDIT_BYTES = 128 * 1024;

/** What can be uploaded. */
export type Source = Blob | Uint8Array;

interface Upload {
  readonly source: Source;
  sent: number;
  window: number;
  busy: boolean;
  ended: boolean;
  readonly begun: (stream: number) => void;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

function sizeOf(source: Source): number {
  return source instanceof Uint8Array ? source.length : source.size;
}

async function slice(source: Source, from: number, to: number): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source.slice(from, to);
  return new Uint8Array(await source.slice(from, to).arrayBuffer());
}

/** An upload that the service knows by `streamId`; its bytes go out when `send` is called. */
export interface UploadHandle {
  readonly streamId: number;
  /** Sends the bytes; resolves when all went out, rejects when the service stops it. */
  send(): Promise<void>;
  /** Gives up. */
  abort(): void;
}

/** Streams of a tab. */
export class TabStreams {
  #nextKey = 1;
  readonly #uploads = new Map<number, Upload>();
  readonly #downloads = new Map<number, ReadableStreamDefaultController<Uint8Array>>();
  readonly #started = new Set<number>();

  constructor(private readonly post: (message: TabMessage) => void) {}

  async begin(source: Source, name: string): Promise<UploadHandle> {
    const upload = this.#nextKey;
    this.#nextKey += 1;
    let finish: { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void };
    {
      let resolve!: () => void;
      let reject!: (error: Error) => void;
      const promise = new Promise<void>((yes, no) => {
        resolve = yes;
        reject = no;
      });
      promise.catch(() => {});
      finish = { promise, resolve, reject };
    }
    const streamId = await new Promise<number>((begun, refused) => {
      const reject = (error: Error): void => {
        refused(error);
        finish.reject(error);
      };
      this.#uploads.set(upload, { source, sent: 0, window: 0, busy: false, ended: false, begun, resolve: finish.resolve, reject });
      this.post({ type: 'upload', upload, size: sizeOf(source), name });
    });
    return {
      streamId,
      send: () => {
        this.#started.add(upload);
        if (sizeOf(source) === 0) this.post({ type: 'chunk', upload, bytes: new Uint8Array() });
        void this.#pump(upload);
        return finish.promise;
      },
      abort: () => this.post({ type: 'abort', upload }),
    };
  }

  async #pump(key: number): Promise<void> {
    const upload = this.#uploads.get(key);
    if (upload === undefined || upload.busy || !this.#started.has(key)) return;
    upload.busy = true;
    try {
      const size = sizeOf(upload.source);
      while (!upload.ended && upload.sent < size && upload.window > 0) {
        const end = Math.min(size, upload.sent + Math.min(CHUNK_BYTES, upload.window));
        const bytes = await slice(upload.source, upload.sent, end);
        upload.window -= bytes.length;
        upload.sent = end;
        this.post({ type: 'chunk', upload: key, bytes });
      }
    } catch (error) {
      this.#uploads.delete(key);
      this.post({ type: 'abort', upload: key });
      upload.reject(new CallError(400, `the source cannot be read: ${(error as Error).message}`));
    }
    upload.busy = false;
  }

  /** The bytes of a stream that a call named. */
  download(stream: number): ReadableStream<Uint8Array> {
    let waiting = 0;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#downloads.set(stream, controller);
          this.post({ type: 'download', stream });
        },
        pull: () => {
          // What was taken out makes room; told in large steps.
          const taken = this.#taken.get(stream) ?? 0;
          waiting += taken;
          this.#taken.set(stream, 0);
          if (waiting < CREDIT_BYTES) return;
          this.post({ type: 'credit', stream, bytes: waiting });
          waiting = 0;
        },
        cancel: () => {
          this.#downloads.delete(stream);
          this.post({ type: 'abort', stream });
        },
      },
      { highWaterMark: 1 },
    );
  }

  readonly #taken = new Map<number, number>();

  receive(message: HubMessage): void {
    switch (message.type) {
      case 'uploading': {
        const upload = this.#uploads.get(message.upload);
        if (upload === undefined) return;
        upload.window = message.window;
        upload.begun(message.stream);
        break;
      }
      case 'upload-credit': {
        const upload = this.#uploads.get(message.upload);
        if (upload === undefined) return;
        upload.window += message.bytes;
        void this.#pump(message.upload);
        break;
      }
      case 'upload-end': {
        const upload = this.#uploads.get(message.upload);
        if (upload === undefined) return;
        upload.ended = true;
        this.#uploads.delete(message.upload);
        this.#started.delete(message.upload);
        if (message.failure === undefined) upload.resolve();
        else upload.reject(errorOf(message.failure));
        break;
      }
      case 'stream-chunk': {
        const controller = this.#downloads.get(message.stream);
        this.#taken.set(message.stream, (this.#taken.get(message.stream) ?? 0) + message.bytes.length);
        controller?.enqueue(message.bytes);
        break;
      }
      case 'stream-end': {
        const controller = this.#downloads.get(message.stream);
        this.#downloads.delete(message.stream);
        this.#taken.delete(message.stream);
        if (message.failure === undefined) controller?.close();
        else controller?.error(errorOf(message.failure));
        break;
      }
      default:
    }
  }

  /** The hub is gone: what was under way cannot be taken up again. */
  lost(): void {
    const error = new CallError(503, 'the connection ended; begin the stream again');
    for (const upload of this.#uploads.values()) {
      upload.ended = true;
      upload.reject(error);
    }
    for (const controller of this.#downloads.values()) controller.error(error);
    this.#uploads.clear();
    this.#downloads.clear();
    this.#started.clear();
  }
}
