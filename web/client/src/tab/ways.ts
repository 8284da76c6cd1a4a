import { Hub, type HubOptions } from '../hub/hub.js';
import { localPorts, messagePort } from '../hub/local-port.js';
import { whenLeader } from '../hub/locks.js';
import type { HubMessage, Port, TabMessage } from '../hub/messages.js';

export type TabPort = Port<TabMessage, HubMessage>;

/** How a tab reaches its hub. */
export type Sharing =
  /** A SharedWorker has the socket of all tabs. */
  | 'worker'
  /** One tab, chosen by a Web Lock, has the socket of all tabs. */
  | 'leader'
  /** Every tab has a socket of its own. */
  | 'none';

/** A way to a hub. */
export interface Way {
  readonly sharing: Sharing;
  /** A new port; rejects when the way is closed. `dead` is called when the hub at its end is gone for certain. */
  open(dead: () => void): Promise<TabPort>;
  /** Gives the way up. */
  stop(): void;
}

/** A hub of this page alone. */
export class OwnWay implements Way {
  readonly sharing = 'none';
  #hub: Hub | undefined;

  constructor(private readonly options: HubOptions) {}

  open(_dead: () => void): Promise<TabPort> {
    this.#hub ??= new Hub(this.options);
    const ports = localPorts();
    this.#hub.attach(ports.hub);
    return Promise.resolve(ports.tab);
  }

  stop(): void {
    this.#hub?.stop();
  }
}

/** The hub in a SharedWorker. */
export class WorkerWay implements Way {
  readonly sharing = 'worker';

  constructor(
    private readonly script: string | URL,
    private readonly name: string,
  ) {}

  static isPossible(): boolean {
    return typeof (globalThis as { SharedWorker?: unknown }).SharedWorker === 'function';
  }

  open(dead: () => void): Promise<TabPort> {
    const worker = new SharedWorker(this.script, { type: 'module', name: this.name });
    // The script could not be loaded; a worker that ends later says nothing, its lock does.
    worker.onerror = () => dead();
    return Promise.resolve(messagePort<TabMessage, HubMessage>(worker.port));
  }

  stop(): void {}
}

type ChannelMessage =
  | { readonly type: 'who' }
  | { readonly type: 'leader'; readonly leader: string }
  | { readonly type: 'tab'; readonly to: string; readonly from: string; readonly message: TabMessage }
  | { readonly type: 'hub'; readonly to: string; readonly from: string; readonly message: HubMessage };

/** One tab leads: it holds a Web Lock, has the hub, and serves the others over a BroadcastChannel. */
export class LeaderWay implements Way {
  readonly sharing = 'leader';
  readonly #id = crypto.randomUUID();
  readonly #channel: BroadcastChannel;
  readonly #abort = new AbortController();
  readonly #lead: { stop: () => void };
  #leader: string | undefined;
  #hub: Hub | undefined;
  /** Ports of other tabs, when this one leads. */
  readonly #served = new Map<string, Port<HubMessage, TabMessage>>();
  #port: TabPort | undefined;
  #dead: (() => void) | undefined;
  #waiting: ((leader: string) => void) | undefined;

  constructor(
    name: string,
    private readonly options: HubOptions,
  ) {
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = (event: MessageEvent<ChannelMessage>) => this.#receive(event.data);
    this.#lead = whenLeader(`${name}-leader`, () => this.#becomeLeader(), this.#abort.signal);
  }

  static isPossible(): boolean {
    return typeof (globalThis as { BroadcastChannel?: unknown }).BroadcastChannel === 'function';
  }

  open(dead: () => void): Promise<TabPort> {
    this.#dead = dead;
    return new Promise((resolve) => {
      const reach = (leader: string): void => resolve(leader === this.#id ? this.#local() : this.#remote(leader));
      if (this.#hub !== undefined) {
        reach(this.#id);
        return;
      }
      this.#waiting = reach;
      this.#channel.postMessage({ type: 'who' } satisfies ChannelMessage);
    });
  }

  stop(): void {
    this.#abort.abort();
    this.#lead.stop();
    this.#hub?.stop();
    this.#channel.close();
  }

  #local(): TabPort {
    const ports = localPorts();
    this.#hub?.attach(ports.hub);
    return ports.tab;
  }

  #remote(leader: string): TabPort {
    const port: TabPort = {
      onMessage: undefined,
      post: (message) => this.#channel.postMessage({ type: 'tab', to: leader, from: this.#id, message } satisfies ChannelMessage),
      close: () => {
        if (this.#port === port) this.#port = undefined;
      },
    };
    this.#port = port;
    return port;
  }

  #becomeLeader(): void {
    this.#hub = new Hub(this.options);
    this.#announce();
    this.#found(this.#id);
  }

  #announce(): void {
    this.#channel.postMessage({ type: 'leader', leader: this.#id } satisfies ChannelMessage);
  }

  /** There is a leader, perhaps a new one. */
  #found(leader: string): void {
    const isNew = leader !== this.#leader;
    this.#leader = leader;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) waiting(leader);
    else if (isNew) this.#dead?.();
  }

  #receive(message: ChannelMessage): void {
    switch (message.type) {
      case 'who':
        if (this.#hub !== undefined) this.#announce();
        break;
      case 'leader':
        if (this.#hub === undefined) this.#found(message.leader);
        break;
      case 'tab':
        if (message.to === this.#id) this.#serve(message.from, message.message);
        break;
      case 'hub':
        if (message.to === this.#id && message.from === this.#leader) this.#port?.onMessage?.(message.message);
        break;
    }
  }

  #serve(from: string, message: TabMessage): void {
    let port = this.#served.get(from);
    if (port === undefined || message.type === 'hello') {
      if (port !== undefined) port.onMessage?.({ type: 'bye' });
      port = {
        onMessage: undefined,
        post: (answer) => this.#channel.postMessage({ type: 'hub', to: from, from: this.#id, message: answer } satisfies ChannelMessage),
        close: () => {
          if (this.#served.get(from) === port) this.#served.delete(from);
        },
      };
      this.#served.set(from, port);
      this.#hub?.attach(port);
    }
    port.onMessage?.(message);
  }
}

/** A way that costs something only once it is tried. */
export class LazyWay implements Way {
  #way: Way | undefined;

  constructor(
    readonly sharing: Sharing,
    private readonly make: () => Way,
  ) {}

  open(dead: () => void): Promise<TabPort> {
    this.#way ??= this.make();
    return this.#way.open(dead);
  }

  stop(): void {
    this.#way?.stop();
  }
}
