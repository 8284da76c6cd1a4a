import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';

import { Client, type ClientOptions, Document, type DocumentOperation, MemoryStore, type OfflineStore } from '../../src/index.js';
import { TestServer } from '../support/server.js';
import { socket } from '../support/socket.js';
import { until } from '../support/until.js';


async function service(context: TestContext): Promise<TestServer> {
  const server = await TestServer.start();
  context.after(() => server.stop());
  return server;
}

function connect(context: TestContext, server: TestServer, options: ClientOptions = {}): Client {
  const client = new Client(server.url, { socket, sharing: 'none', ...options });
  context.after(() => client.close());
  return client;
}

test('calls, errors and events', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const heard: unknown[] = [];
  client.on('chat/message', (data) => heard.push(data));
  assert.equal(await client.call('chat/say', { text: 'hello' }), 'ok');
  await until('the event', () => heard.length === 1);
  assert.deepEqual(heard, [{ text: 'hello' }]);
  await assert.rejects(client.call('chat/say', { text: '' }), { name: 'CallError', status: 400, retry: 'never' });
  await assert.rejects(client.call('no/such'), { status: 404 });
  assert.deepEqual(await client.call('system/echo', [1, 'a', null]), [1, 'a', null]);
  server.silent = 'system/echo';
  await assert.rejects(client.call('system/echo', [], { withinMs: 20 }), { status: 408, retry: 'later' });
});

test('a cut call is sent again under its id and done once', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  await client.until('open');
  // The server does it, and the answer gets lost with the socket.
  server.swallowed = 'chat/say';
  const answer = client.call('chat/say', { text: 'once' });
  await until('the call', () => server.done.includes('chat/say'));
  server.swallowed = undefined;
  server.cut();
  const waiting = client.call('system/echo', ['later']);
  assert.equal(await answer, 'ok');
  assert.deepEqual(await waiting, ['later']);
  assert.deepEqual(server.done.filter((method) => method === 'chat/say'), ['chat/say']);
  assert.match(server.handshakes[1] as string, /token=token-1/);
});

test('moves before it breaks, to the revision that it was told, and tells no event twice', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const document = client.document('room');
  const heard: number[] = [];
  client.on('tick', (data) => heard.push(data));
  await document.ready;
  const states: string[] = [];
  client.onState((state) => states.push(state));
  server.revision = 'green';
  let ticks = 0;
  const timer = setInterval(() => server.broadcast('tick', (ticks += 1)), 1);
  context.after(() => clearInterval(timer));
  await until('an event', () => heard.length > 0);
  [...server.peers][0]?.drain(5, 'green');
  await until('the move', () => server.handshakes.length === 2 && server.peers.size === 1 && client.revision === 'green');
  clearInterval(timer);
  await until('the last event', () => heard.at(-1) === ticks);
  assert.deepEqual(heard, heard.map((_, at) => (heard[0] as number) + at), 'none missing, none twice');
  assert.match(server.handshakes[1] as string, /pointsman-revision=green/);
  assert.equal(server.connectionsMost, 2, 'the new socket before the end of the old one');
  assert.ok(!states.includes('connecting'), 'never without a socket');
  await document.apply({ field: 'likes', increment: 1 });
  await document.acknowledged();
  assert.equal(server.documents.get('room')?.get('likes'), 1);
});

test('a call that is under way when the client moves is answered by the old service, and not done again', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  await client.until('open');
  server.silent = 'chat/say';
  const slow = client.call('chat/say', { text: 'slow' });
  const [old] = server.peers;
  await until('the call', () => server.held.length === 1);
  old?.drain(0, 'green');
  await until('the new socket', () => server.peers.size === 2);
  assert.deepEqual(await client.call('system/echo', [1]), [1], 'others go on');
  assert.equal(server.held.length, 1, 'it was not sent again');
  server.silent = undefined;
  server.release();
  assert.equal(await slow, 'ok');
  await until('the old socket ended', () => server.peers.size === 1);
  assert.equal(server.done.filter((method) => method === 'chat/say').length, 1);
});

test('a document that is opened twice is one', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const [one, two] = [client.document('room'), client.document('room')];
  assert.equal(one, two);
  await one.ready;
  one.close();
  await two.apply({ field: 'likes', increment: 1 });
  await two.acknowledged();
  two.close();
  await until('closed', () => server.done.includes('document/close'));
});

test('who declares no schema sees that of the service, whatever others declared', async (context) => {
  const server = await service(context);
  const store = new MemoryStore();
  const first = new Client(server.url, { socket, sharing: 'none', store });
  const narrow = first.document('room', { likes: { type: 'g-counter' } } as const);
  await narrow.apply({ field: 'likes', increment: 1 });
  await narrow.acknowledged();
  assert.deepEqual(narrow.read(), { likes: 1 });
  first.close();
  const wide = connect(context, server, { store }).document('room');
  await wide.ready;
  await until('all fields', () => Object.keys(wide.read()).length === 4);
  await wide.apply({ field: 'tags', add: 'x' });
});

test('an event that is told again after a move is passed over', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const heard: unknown[] = [];
  client.on('*', (data, name) => heard.push([name, data]));
  await client.until('open');
  server.broadcast('a', 1);
  server.repeat('a', 1);
  server.broadcast('a', 2);
  await until('the last', () => heard.length >= 2);
  assert.deepEqual(heard, [['a', 1], ['a', 2]]);
});

test('two clients edit a document together', async (context) => {
  const server = await service(context);
  const [one, two] = [connect(context, server).document('room'), connect(context, server).document('room')];
  await Promise.all([one.ready, two.ready]);
  const changed: string[] = [];
  two.onChange((fields) => changed.push(...fields));
  const typed = [...'hello'].map((letter, index) => one.apply({ field: 'body', insert: letter, index }));
  await Promise.all(typed);
  assert.equal(one.get('body'), 'hello');
  await until('the text', () => two.get('body') === 'hello');
  await Promise.all([
    one.apply({ field: 'body', delete: 4, index: 1 }),
    two.apply({ field: 'body', insert: '!', index: 5 }),
    two.apply({ field: 'tags', add: 'a' }),
    one.apply({ field: 'likes', increment: 2 }),
    two.apply({ field: 'likes', increment: 3 }),
    one.apply({ field: 'title', assign: { by: 'one', bytes: new Uint8Array([1]) } }),
  ]);
  await Promise.all([one.acknowledged(), two.acknowledged()]);
  await until('the same', () => JSON.stringify(one.read()) === JSON.stringify(two.read()) && one.get('likes') === 5);
  assert.equal(one.get('body'), 'h!');
  assert.deepEqual(one.get('tags'), ['a']);
  assert.ok(changed.includes('body') && changed.includes('likes'));
  assert.deepEqual(server.documents.get('room')?.readJson(), {
    likes: 5, tags: ['a'], title: { by: 'one', bytes: { $bytes: '01' } }, body: 'h!',
  });
  await assert.rejects(one.apply({ field: 'body', delete: 9, index: 0 }), { name: 'OperationError', code: 'out-of-range' });
  await assert.rejects(one.apply({ field: 'nope', increment: 1 }), { code: 'bad-argument' });
  await assert.rejects(one.apply({ field: 'tags', remove: 'gone' }), { code: 'absent', retry: 'after-read' });
});

test('edits without a service are kept, and merged once there is one', async (context) => {
  const server = await service(context);
  const { port } = server;
  const store = new MemoryStore();
  const schema = { likes: { type: 'g-counter' }, body: { type: 'text' } } as const;
  const first = new Client(server.url, { socket, sharing: 'none', store });
  const early = first.document('room', schema);
  await early.apply({ field: 'body', insert: 'ab', index: 0 });
  await early.acknowledged();
  await server.stop();
  await first.until('connecting');
  await early.apply({ field: 'body', insert: 'X', index: 1 });
  await early.apply({ field: 'likes', increment: 2 });
  // @ts-expect-error: a counter takes no text
  await assert.rejects(early.apply({ field: 'likes', insert: 'x', index: 0 }));
  // @ts-expect-error: the schema has no such field
  await assert.rejects(early.apply({ field: 'nope', increment: 1 }));
  assert.equal(early.get('body'), 'aXb');
  assert.equal(early.pending, 2);
  await until('kept', async () => (await store.load('document/room')) !== undefined && (await store.load('session')) !== undefined);
  first.close();
  // The service forgot everything but what the test gives back, and another client goes on from what was kept.
  const again = await TestServer.start(port);
  context.after(() => again.stop());
  again.documents.set('room', Document.decode((server.documents.get('room') as Document).schema, (server.documents.get('room') as Document).state.encode()));
  const second = connect(context, again, { store });
  const late = second.document('room', schema);
  await late.ready;
  await until('merged', () => again.documents.get('room')?.get('likes') === 2);
  await late.acknowledged();
  assert.equal(late.get('body'), 'aXb');
  assert.equal(again.documents.get('room')?.get('body'), 'aXb');
  assert.match(again.handshakes[0] as string, /token=token-1/);
});

test('an edit that cannot be kept is not sent until it can', async (context) => {
  const server = await service(context);
  let full = false;
  let failed = 0;
  const memory = new MemoryStore();
  const store: OfflineStore = {
    load: (key) => (key.startsWith('document') && full ? Promise.reject(new Error('broken')) : memory.load(key)),
    save: (key, value) => {
      if (!full) return memory.save(key, value);
      failed += 1;
      return Promise.reject(new Error('no room'));
    },
    remove: (key) => memory.remove(key),
  };
  const client = connect(context, server, { store });
  const document = client.document('room');
  await document.ready;
  await document.apply({ field: 'likes', increment: 1 });
  await document.acknowledged();
  full = true;
  const other = client.document('unreadable');
  await other.ready;
  await document.apply({ field: 'likes', increment: 1 });
  await until('it failed', () => failed > 0);
  assert.deepEqual(await client.call('system/echo', [1]), [1]);
  assert.equal(server.documents.get('room')?.get('likes'), 1);
  assert.equal(document.get('likes'), 2);
  full = false;
  await document.acknowledged();
  assert.equal(server.documents.get('room')?.get('likes'), 2);
});

test('a retired writer gives its edits to the next one, on top of what others did', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const document = client.document('room');
  await document.ready;
  await document.apply({ field: 'body', insert: 'base', index: 0 });
  await document.acknowledged();
  server.deltaStatus = 503;
  await document.apply({ field: 'body', insert: 'new', index: 2 });
  await document.apply({ field: 'body', insert: '+', index: 3 });
  await document.apply({ field: 'body', delete: 1, index: 0 });
  await document.apply({ field: 'likes', increment: 1 });
  server.incarnation = 2;
  server.operate('room', { field: 'body', insert: '>', index: 0 });
  server.deltaStatus = 0;
  await document.acknowledged();
  assert.equal(document.get('body'), '>an+ewse');
  await until('the server', () => server.documents.get('room')?.get('body') === '>an+ewse');
  assert.equal(server.documents.get('room')?.get('likes'), 1);
});

test('a new writer does not repeat what arrived before, although nothing acknowledged it', async (context) => {
  for (const retired of [false, true]) {
    const server = await service(context);
    const document = connect(context, server).document('room');
    await document.ready;
    // All four go out together, once they are taken.
    server.deltaStatus = 503;
    server.deltasSwallowed = true;
    const edits: DocumentOperation[] = [
      { field: 'likes', increment: 1 }, { field: 'likes', increment: 1 }, { field: 'body', insert: 'ab', index: 0 }, { field: 'body', delete: 1, index: 0 },
    ];
    for (const edit of edits) await document.apply(edit);
    await until('the first one was refused', () => server.deltasRefused > 0);
    server.deltaStatus = 0;
    await until('the server has them', () => server.documents.get('room')?.get('body') === 'b');
    server.deltaStatus = 503;
    await document.apply({ field: 'likes', increment: 5 });
    server.deltaStatus = 0;
    server.deltasSwallowed = false;
    server.incarnation = 2;
    if (retired) server.documents.get('room')?.state.retire({ slot: 100, incarnation: 1 });
    server.cut();
    await document.acknowledged();
    assert.deepEqual([document.get('likes'), document.get('body')], [7, 'b']);
    assert.deepEqual([server.documents.get('room')?.get('likes'), server.documents.get('room')?.get('body')], [7, 'b']);
  }
});

test('what the service refuses is taken back', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const document = client.document('room');
  await document.ready;
  await document.apply({ field: 'likes', increment: 1 });
  await document.acknowledged();
  server.deltaStatus = 403;
  await document.apply({ field: 'likes', increment: 5 });
  await until('taken back', () => document.get('likes') === 1 && document.pending === 0);
  const secret = client.document('secret');
  await assert.rejects(secret.ready, { status: 403 });
  await assert.rejects(secret.apply({ field: 'likes', increment: 1 }), { status: 403 });
  server.secret = undefined;
  server.deltaStatus = 0;
  const opened = client.document('secret');
  await opened.ready;
  await opened.apply({ field: 'likes', increment: 1 });
  await opened.acknowledged();
});

test('uploads and downloads keep to their windows', async (context) => {
  const server = await service(context);
  const client = connect(context, server);
  const bytes = randomBytes(1_000_000);
  const upload = await client.upload(new Blob([bytes]), 'picture');
  await client.call('files/upload', { streamId: upload.streamId, name: 'picture' });
  await upload.send();
  await until('the file', () => server.files.has('picture'));
  assert.deepEqual(server.files.get('picture'), bytes);
  const { streamId } = await client.call<{ streamId: number }>('files/download', { name: 'picture' });
  // Nobody reads: no more than the window comes.
  await until('the window', () => [...server.peers][0]?.sending.get(streamId)?.window === 0);
  assert.equal([...server.peers][0]?.sending.get(streamId)?.sent, 256 * 1024);
  assert.deepEqual(Buffer.from(await new Response(client.download(streamId)).arrayBuffer()), bytes);
  const empty = await client.upload(new Uint8Array(), 'empty');
  await client.call('files/upload', { streamId: empty.streamId, name: 'empty' });
  await empty.send();
  await until('the empty file', () => server.files.has('empty'));
  await assert.rejects(client.call('files/download', { name: 'no' }), { status: 404 });
});

test('an upload waits for room', async (context) => {
  const server = await service(context);
  server.creditHeld = true;
  const client = connect(context, server);
  const upload = await client.upload(randomBytes(600_000), 'slow');
  await client.call('files/upload', { streamId: upload.streamId, name: 'slow' });
  const sent = upload.send();
  const [peer] = server.peers;
  await until('a window of bytes', () => peer?.uploads.get(upload.streamId)?.got === 256 * 1024);
  assert.deepEqual(await client.call('system/echo', [1]), [1]);
  assert.equal(peer?.uploads.get(upload.streamId)?.got, 256 * 1024);
  peer?.send({ kind: 'stream-abort', id: upload.streamId, status: 507, reason: 'no room' });
  await assert.rejects(sent, { status: 507, message: 'no room', retry: 'later' });
});

test('a stream that is cut says so', async (context) => {
  const server = await service(context);
  server.files.set('large', randomBytes(2_000_000));
  const client = connect(context, server);
  const { streamId } = await client.call<{ streamId: number }>('files/download', { name: 'large' });
  const reader = client.download(streamId).getReader();
  await reader.read();
  server.cut();
  await assert.rejects(async () => {
    for (;;) if ((await reader.read()).done) return;
  }, { status: 503, retry: 'later' });
});

test('where sockets are blocked calls go by HTTP, and it says so', async (context) => {
  const server = await service(context);
  server.socketsBlocked = true;
  const client = connect(context, server);
  const early = client.call('system/echo', ['early']);
  await client.until('polling');
  assert.deepEqual(await early, ['early']);
  await assert.rejects(client.call('chat/say', { text: '' }), { status: 400, message: /text/ });
  server.socketsBlocked = false;
  await client.until('open');
  assert.equal(await client.call('chat/say', { text: 'by socket' }), 'ok');
});

test('a service that comes late is found', async (context) => {
  const probe = await TestServer.start();
  const { port, url } = probe;
  await probe.stop();
  const client = new Client(url, { socket, sharing: 'none' });
  context.after(() => client.close());
  const answer = client.call('system/echo', ['x']);
  const server = await TestServer.start(port);
  context.after(() => server.stop());
  assert.deepEqual(await answer, ['x']);
});
