// The published client, unmodified: what its users rely on.
import assert from 'node:assert/strict';
import { Blob } from 'node:buffer';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Metacom } from 'metacom';

import { start } from './service.js';

const connect = async (test, service, options) => {
  const client = Metacom.create(`ws://${service.address}/`, options);
  test.after(() => client.close());
  await client.load('auth', 'chat', 'files', 'counter', 'system');
  return client;
};

const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

const upload = async (client, name, bytes) => {
  const uploader = client.createBlobUploader(new Blob([bytes]));
  await client.api.files.upload({ streamId: uploader.id, name });
  await uploader.upload();
};

const download = async (client, name) => {
  const { streamId } = await client.api.files.download({ name });
  const blob = await client.getStream(streamId).toBlob();
  return Buffer.from(await blob.arrayBuffer());
};

test('methods become functions, and calls have results', async (t) => {
  const { api } = await connect(t, await start(t));
  assert.deepEqual(Object.keys(api.chat).filter((name) => typeof api.chat[name] === 'function'), ['say']);
  assert.equal(await api.chat.say({ text: 'hello' }), 'ok');
  assert.deepEqual(await api.system.echo({ a: [1, null, 'x'] }), { a: [1, null, 'x'] });
  assert.deepEqual(await api.counter.set({ room: 'r', count: 3 }), { value: 3 });
});

test('many calls at once are answered, each with its own result', async (t) => {
  const { api } = await connect(t, await start(t));
  const numbers = Array.from({ length: 200 }, (_, number) => number);
  assert.deepEqual(await Promise.all(numbers.map((number) => api.system.echo({ number }))), numbers.map((number) => ({ number })));
});

test('errors have their codes', async (t) => {
  const client = await connect(t, await start(t));
  await assert.rejects(client.api.chat.say({ text: '' }), { code: 400, message: /text/ });
  await assert.rejects(client.api.files.download({ name: 'absent' }), { code: 404, message: /absent/ });
  await assert.rejects(client.scaffold('chat')('shout')({}), { code: 404, message: /chat\/shout/ });
  await assert.rejects(client.scaffold('nobody')('say')({}), { code: 404 });
  assert.equal(await client.scaffold('chat', '1')('say')({ text: 'a version is no other method' }), 'ok');
});

test('an error of the inside has a general message', async (t) => {
  const service = await start(t, '--fail-rate=100');
  const client = Metacom.create(`ws://${service.address}/`);
  t.after(() => client.close());
  await assert.rejects(client.scaffold('chat')('say')({ text: 'a' }), { code: 500, message: 'the server failed' });
});

test('an event reaches everybody', async (t) => {
  const service = await start(t);
  const clients = [await connect(t, service), await connect(t, service)];
  const heard = clients.map((client) => once(client.api.chat, 'message'));
  await clients[0].api.chat.say({ text: 'hello' });
  for (const [data] of await Promise.all(heard)) assert.deepEqual(data, { text: 'hello' });
});

test('files come back as they went', async (t) => {
  const service = await start(t);
  const client = await connect(t, service);
  for (const size of [0, 1, 100_000, 3_000_000]) {
    const bytes = randomBytes(size);
    await upload(client, `file-${size}`, bytes);
    const got = await download(client, `file-${size}`);
    assert.equal(got.length, size);
    assert.equal(hash(got), hash(bytes), `${size} bytes are in order`);
  }
  assert.deepEqual(await readdir(join(service.data, 'files')), ['file-0', 'file-1', 'file-100000', 'file-3000000']);
});

test('several downloads at once do not mix', async (t) => {
  const client = await connect(t, await start(t));
  const files = new Map(['a', 'b', 'c'].map((name) => [name, randomBytes(400_000)]));
  for (const [name, bytes] of files) await upload(client, name, bytes);
  await Promise.all([...files].map(async ([name, bytes]) => assert.equal(hash(await download(client, name)), hash(bytes))));
});

test('an upload that breaks leaves nothing', async (t) => {
  const service = await start(t);
  const client = await connect(t, service);
  const stream = client.createStream('half', 10);
  await client.api.files.upload({ streamId: stream.id, name: 'half' });
  stream.write(new Uint8Array(5));
  stream.end();
  await assert.rejects(client.api.files.download({ name: 'half' }), { code: 404 });
  const broken = client.createStream('cut', 10);
  await client.api.files.upload({ streamId: broken.id, name: 'cut' });
  broken.write(new Uint8Array(5));
  broken.terminate();
  await assert.rejects(client.api.files.download({ name: 'cut' }), { code: 404 });
  await gone(join(service.data, 'files'));
});

// Waits until a directory is empty.
const gone = async (path) => {
  while ((await readdir(path)).length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
};

test('the ping of an idle client is answered and changes nothing', async (t) => {
  const client = await connect(t, await start(t), { pingInterval: 20 });
  const pongs = [];
  client.socket.addEventListener('message', ({ data }) => pongs.push(data));
  while (pongs.length < 3) await once(client.socket, 'message');
  assert.deepEqual(new Set(pongs), new Set(['{}']));
  assert.equal(await client.api.chat.say({ text: 'still here' }), 'ok');
});

test('a session is taken up again by its token', async (t) => {
  const service = await start(t);
  const first = await connect(t, service);
  const { token, writer } = await first.api.auth.signin({});
  first.close();
  const second = await connect(t, service);
  assert.deepEqual(await second.api.auth.restore({ token }), { token, writer, subject: null, restored: true });
});

test('a replica that ends tells why, and where to go', async (t) => {
  const service = await start(t, '--drain-deadline-ms=2000');
  // Each connection of this client leaves a timer behind, so it must not make another.
  const client = await connect(t, service, { reconnectTimeout: 1_000 });
  client.on('error', () => {});
  const closed = new Promise((resolve) => client.socket.addEventListener('close', resolve));
  service.child.kill('SIGTERM');
  const { code, reason } = await closed;
  assert.equal(code, 1012);
  assert.deepEqual(JSON.parse(reason), { in: 0, to: '' });
  assert.equal(await service.ended, 0);
});

test('the same client works over HTTP', async (t) => {
  const service = await start(t);
  const client = Metacom.create(`http://${service.address}/api`);
  t.after(() => client.close());
  await client.load('chat', 'counter');
  assert.equal(await client.api.chat.say({ text: 'hello' }), 'ok');
  await assert.rejects(client.api.chat.say({ text: '' }), { code: 400 });
});
