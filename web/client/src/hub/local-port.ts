import type { HubMessage, Port, TabMessage } from './messages.js';

class End<Out, In> implements Port<Out, In> {
  onMessage: ((message: In) => void) | undefined;
  other: End<In, Out> | undefined;

  post(message: Out): void {
    // As with a real port, nothing arrives within the call.
    queueMicrotask(() => this.other?.onMessage?.(message));
  }

  close(): void {
    this.onMessage = undefined;
    if (this.other !== undefined) this.other.other = undefined;
    this.other = undefined;
  }
}

/** Two ends of a port within one page. */
export function localPorts(): { tab: Port<TabMessage, HubMessage>; hub: Port<HubMessage, TabMessage> } {
  const tab = new End<TabMessage, HubMessage>();
  const hub = new End<HubMessage, TabMessage>();
  tab.other = hub;
  hub.other = tab;
  return { tab, hub };
}

/** A `MessagePort` as a port. */
export function messagePort<Out, In>(port: MessagePort): Port<Out, In> {
  const wrapped: Port<Out, In> = {
    onMessage: undefined,
    post: (message) => port.postMessage(message),
    close: () => port.close(),
  };
  port.onmessage = (event: MessageEvent<In>) => wrapped.onMessage?.(event.data);
  return wrapped;
}
