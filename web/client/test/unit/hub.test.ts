import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client, Document } from '../../src/index.js';
import { Hub } from '../../src/hub/hub.js';
import { localPorts } from '../../src/hub/local-port.js';
import type { HubMessage, TabMessage } from '../../src/hub/messages.js';
import { fakeSockets, FakeTiming } from '../support/fake.js';
import { TestServer } from '../support/server.js';
import { socket } from '../support/socket.js';
import { until } from '../support/until.js';


/** A tab that only speaks to its hub. */
function tabOf(hub: Hub, hello: Partial<Extract<TabMessage, { type: 'hello' }>> = {}) {
  const ports = localPorts();
  const heard: HubMessage[] = [];
  ports.tab.onMessage = (message) => heard.push(message);
  hub.attach(ports.hub);
  ports.tab.post({
    type: 'hello', url: 'ws://nowhere/', http: 'http://nowhere', token: '', nextId: 1, isPersistent: false, beats: false, ...hello,
  });
  const last = <T extends HubMessage['type']>(type: T) => heard.findLast((message) => message.type === type) as Extract<HubMessage, { type: T }> | undefined;
  return { post: (message: TabMessage) => ports.tab.post(message), heard, last };
}

test('the next hub goes on from what a tab of the one before knows', async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const hub = new Hub({ socket });
  context.after(() => hub.stop());
  // The hub before applied an operation, and ended before the service had it.
  const before = new Document({ likes: { type: 'g-counter' } });
  const writer = { slot: 100, incarnation: 1 };
  const delta = before.apply({ field: 'likes', increment: 1 }, writer, 0)?.encode();
  const tab = tabOf(hub, { url: server.url, http: server.http, token: 'kept', nextId: 500 });
  const operation = { field: 'likes', increment: 1 };
  tab.post({ type: 'open', document: 1, name: 'room', pending: [{ id: 1, operation, delta, writer }] });
  tab.post({ type: 'call', id: 2, method: 'system/echo', args: ['again'], wireId: 77 });
  tab.post({ type: 'operation', document: 1, id: 3, operation });
  await until('both', () => server.documents.get('room')?.get('likes') === 2);
  await until('acknowledged', () => tab.heard.filter(({ type }) => type === 'acknowledged').length === 2);
  await until('the answer', () => tab.last('result') !== undefined);
  assert.deepEqual(tab.last('called'), { type: 'called', id: 2, wireId: 77 }, 'under its id of before');
  assert.match(server.handshakes[0] as string, /token=kept/);
});

test('ids go on after what the service knows of the session', async (context) => {
  const timing = new FakeTiming();
  const { sockets, maker } = fakeSockets(timing);
  const hub = new Hub({ socket: maker, timing });
  context.after(() => hub.stop());
  const tab = tabOf(hub, { token: 'old' });
  tab.post({ type: 'call', id: 1, method: 'a/b', args: [] });
  await until('it dials', () => sockets.length === 1);
  sockets[0]?.greet('blue', { lastCall: 41 });
  assert.equal(sockets[0]?.sent.find((packet) => packet.kind === 'call')?.id, 42);
});

test('a tab without a lock that falls silent is gone', async (context) => {
  const timing = new FakeTiming();
  const { maker } = fakeSockets(timing);
  const hub = new Hub({ socket: maker, timing });
  context.after(() => hub.stop());
  const [silent, alive] = [tabOf(hub, { beats: true }), tabOf(hub, { beats: true })];
  await until('welcome', () => silent.last('welcome') !== undefined);
  for (let minute = 0; minute < 4; minute += 1) {
    timing.pass(60_000);
    alive.post({ type: 'alive' });
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(hub.tabs, 1);
  assert.equal(alive.heard.filter(({ type }) => type === 'welcome').length, 5);
});

test('polling tells what changed', async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const client = new Client(server.url, { socket, sharing: 'none' });
  context.after(() => client.close());
  const results: unknown[] = [];
  let answers = 0;
  client.on('*', () => (answers += 1));
  const end = client.poll('chat/say', { text: 'same' }, 1, (result) => results.push(result));
  await until('several answers', () => answers >= 3);
  end();
  assert.deepEqual(results, ['ok']);
});
