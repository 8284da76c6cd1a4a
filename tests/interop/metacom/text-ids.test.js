// The dialect whose ids are texts, as the client in Metacom's repository speaks it: no release has it yet, so its packets are
// made here.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { WebSocket } from 'ws';

import { start } from './service.js';

// A socket whose messages are awaited one after the other.
const connect = async (test, service, protocols) => {
  const socket = new WebSocket(`ws://${service.address}/any/path`, protocols);
  const messages = [];
  const waiting = [];
  socket.on('message', (data, isBinary) => {
    const message = isBinary ? data : JSON.parse(data);
    const waiter = waiting.shift();
    if (waiter) waiter(message);
    else messages.push(message);
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  test.after(() => socket.terminate());
  return {
    send: (packet) => socket.send(Buffer.isBuffer(packet) ? packet : JSON.stringify(packet)),
    next: () => messages.shift() ?? new Promise((resolve) => waiting.push(resolve)),
  };
};

const chunk = (id, payload) => Buffer.concat([Buffer.from([id.length]), Buffer.from(id), payload]);

const call = async (client, method, args) => {
  const id = randomUUID();
  client.send({ type: 'call', id, method, args });
  const answer = await client.next();
  assert.deepEqual([answer.type, answer.id], ['callback', id]);
  return answer;
};

test('calls, errors and events', async (t) => {
  const client = await connect(t, await start(t));
  assert.deepEqual((await call(client, 'system/introspect', ['chat'])).result, { chat: { say: ['text'] } });
  assert.deepEqual((await call(client, 'chat/say', { text: '' })).error, { code: 400, message: 'text: give text of 1 to 16384 bytes' });
  const id = randomUUID();
  client.send({ type: 'call', id, method: 'chat/say', args: { text: 'hello' }, meta: { trace: 7 } });
  const two = [await client.next(), await client.next()];
  two.sort((one, other) => one.type.localeCompare(other.type));
  assert.deepEqual(two, [
    { type: 'callback', id, result: 'ok', meta: { trace: 7 } },
    { type: 'event', name: 'chat/message', data: { text: 'hello' } },
  ]);
});

test('a file comes back as it went', async (t) => {
  const client = await connect(t, await start(t));
  const bytes = randomBytes(150_000);
  const id = randomUUID();
  client.send({ type: 'stream', id, name: 'f', size: bytes.length });
  assert.equal((await call(client, 'files/upload', { streamId: id, name: 'f' })).result, 'ok');
  client.send(chunk(id, bytes.subarray(0, 70_000)));
  client.send(chunk(id, bytes.subarray(70_000)));
  client.send({ type: 'stream', id, status: 'end' });
  assert.deepEqual(await client.next(), { type: 'event', name: 'files/kept', data: { streamId: id } });

  const asked = randomUUID();
  client.send({ type: 'call', id: asked, method: 'files/download', args: { name: 'f' } });
  const begun = await client.next();
  assert.deepEqual({ ...begun, id: null }, { type: 'stream', id: null, name: 'f', size: bytes.length });
  assert.equal(typeof begun.id, 'string');
  const parts = [];
  let answered = false;
  for (;;) {
    const message = await client.next();
    if (Buffer.isBuffer(message)) {
      const length = message[0];
      assert.equal(message.subarray(1, 1 + length).toString(), begun.id);
      parts.push(message.subarray(1 + length));
    } else if (message.type === 'callback') {
      assert.deepEqual(message, { type: 'callback', id: asked, result: { streamId: begun.id } });
      answered = true;
    } else {
      assert.deepEqual(message, { type: 'stream', id: begun.id, status: 'end' });
      break;
    }
  }
  assert.ok(answered);
  assert.ok(Buffer.concat(parts).equals(bytes));
});

test('a stream that is too long is terminated', async (t) => {
  const client = await connect(t, await start(t));
  const id = randomUUID();
  client.send({ type: 'stream', id, name: 'f', size: 3 });
  await call(client, 'files/upload', { streamId: id, name: 'f' });
  client.send(chunk(id, Buffer.alloc(4)));
  assert.deepEqual(await client.next(), { type: 'stream', id, status: 'terminate' });
  assert.equal((await call(client, 'files/download', { name: 'f' })).error.code, 404);
});

test('another subprotocol is refused with the fix', async (t) => {
  const service = await start(t);
  const socket = new WebSocket(`ws://${service.address}/`, 'other.v1');
  const response = await new Promise((resolve, reject) =>
    socket.once('unexpected-response', (_, response) => resolve(response)).once('open', reject).on('error', () => {}));
  assert.equal(response.statusCode, 400);
  const body = (await response.toArray()).join('');
  assert.match(body, /pointsman\.v1/);
});
