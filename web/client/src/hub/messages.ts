import type { Replica } from '../crdt/dot.js';
import type { Anchored } from '../crdt/anchor.js';
import type { OperationCode } from '../crdt/errors.js';
import type { Schema } from '../crdt/document.js';

/** What a client says about its link to the service. */
export type LinkState =
  /** Not there yet, or cut and waiting for the next try. */
  | 'connecting'
  /** One socket is open. */
  | 'open'
  /** Told to move: the old socket is still in use. */
  | 'moving'
  /** WebSockets do not get through: calls go by HTTP, documents wait, no events arrive. */
  | 'polling'
  | 'closed';

/** A link between a tab and its hub: a MessagePort, or what behaves like one. Messages are structured clones. */
export interface Port<Out, In> {
  post(message: Out): void;
  onMessage: ((message: In) => void) | undefined;
  close(): void;
}

/** An operation of a tab that is not acknowledged yet. */
export interface PendingOperation {
  /** Of the tab. */
  readonly id: number;
  readonly operation: Anchored;
  /** Once the hub has made it. */
  readonly delta?: Uint8Array | undefined;
  readonly writer?: Replica | undefined;
}

/** What fails, in a form that can be cloned. */
export interface Failure {
  readonly kind: 'call' | 'operation';
  readonly status: number;
  readonly code?: OperationCode | undefined;
  readonly message: string;
}

/** From a tab to its hub. */
export type TabMessage =
  | {
      readonly type: 'hello'; readonly url: string; readonly http: string; readonly token: string;
      readonly nextId: number; readonly lock?: string | undefined; readonly isPersistent: boolean;
      readonly authorization?: string | undefined;
      /** Whether the tab says `alive` again and again, because no lock tells of its end. */
      readonly beats: boolean;
    }
  | { readonly type: 'alive' }
  | { readonly type: 'bye' }
  | {
      readonly type: 'call'; readonly id: number; readonly method: string; readonly args: unknown;
      /** Id on the wire, when an earlier hub has given one: the service then answers from its record. */
      readonly wireId?: number | undefined;
    }
  | { readonly type: 'cancel'; readonly id: number }
  | { readonly type: 'subscribe' | 'unsubscribe'; readonly name: string }
  | {
      readonly type: 'open'; readonly document: number; readonly name: string; readonly schema?: Schema | undefined;
      readonly state?: Uint8Array | undefined; readonly pending: readonly PendingOperation[];
    }
  | { readonly type: 'close'; readonly document: number }
  | { readonly type: 'operation'; readonly document: number; readonly id: number; readonly operation: Anchored }
  | { readonly type: 'upload'; readonly upload: number; readonly size: number; readonly name: string }
  | { readonly type: 'chunk'; readonly upload: number; readonly bytes: Uint8Array }
  | { readonly type: 'download'; readonly stream: number }
  | { readonly type: 'credit'; readonly stream: number; readonly bytes: number }
  | { readonly type: 'abort'; readonly stream?: number; readonly upload?: number };

/** From a hub to a tab. */
export type HubMessage =
  | { readonly type: 'welcome'; readonly lock?: string | undefined }
  | { readonly type: 'link'; readonly state: LinkState; readonly token: string; readonly nextId: number; readonly revision: string }
  | { readonly type: 'called'; readonly id: number; readonly wireId: number }
  | { readonly type: 'result'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failure'; readonly id: number; readonly failure: Failure }
  | { readonly type: 'event'; readonly name: string; readonly data: unknown }
  | { readonly type: 'opened'; readonly document: number; readonly schema: Schema; readonly state: Uint8Array }
  | { readonly type: 'state'; readonly document: number; readonly state: Uint8Array }
  | { readonly type: 'live'; readonly document: number; readonly live: boolean }
  | { readonly type: 'delta'; readonly document: number; readonly delta: Uint8Array }
  | {
      readonly type: 'applied'; readonly document: number; readonly id: number; readonly delta: Uint8Array | undefined;
      readonly writer: Replica;
    }
  | { readonly type: 'acknowledged'; readonly document: number; readonly id: number }
  | { readonly type: 'refused'; readonly document: number; readonly id: number; readonly failure: Failure }
  | { readonly type: 'uploading'; readonly upload: number; readonly stream: number; readonly window: number }
  | { readonly type: 'upload-credit'; readonly upload: number; readonly bytes: number }
  | { readonly type: 'upload-end'; readonly upload: number; readonly failure?: Failure | undefined }
  | { readonly type: 'stream-init'; readonly stream: number; readonly size: number; readonly name: string }
  | { readonly type: 'stream-chunk'; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly type: 'stream-end'; readonly stream: number; readonly failure?: Failure | undefined };
