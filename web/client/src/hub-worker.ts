// The hub of all tabs in a SharedWorker. Its name is the address of the service, so one service has one worker.
import { Hub } from './hub/hub.js';
import { messagePort } from './hub/local-port.js';
import { holdForLife, whenReleased } from './hub/locks.js';
import type { HubMessage, TabMessage } from './hub/messages.js';
import { platformSocket } from './session/socket.js';

const scope = globalThis as unknown as { onconnect: ((event: MessageEvent) => void) | null };
const waiting: MessagePort[] = [];
let hub: Hub | undefined;

function attach(port: MessagePort): void {
  if (hub === undefined) waiting.push(port);
  else hub.attach(messagePort<HubMessage, TabMessage>(port));
}

// Tabs that connect while the lock is on its way wait for it.
scope.onconnect = (event) => {
  for (const port of event.ports) attach(port);
};

void holdForLife('pointsman-hub-').then((lock) => {
  hub = new Hub({ socket: platformSocket, lock, whenReleased });
  for (const port of waiting.splice(0)) attach(port);
});
