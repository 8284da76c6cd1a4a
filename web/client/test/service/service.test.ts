import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { Client, scaffold } from '../../src/index.js';
import { chromium, inTab, launch, openTab, pageServer, timeTo, waitForState } from '../support/pages.js';
import { freePorts, Gateway, Service, serviceBinary } from '../support/service.js';
import { socket } from '../support/socket.js';
import { until } from '../support/until.js';

const skip = serviceBinary() === undefined ? 'build it first: cargo build -p pointsman-sync' : false;

async function start(context: TestContext, ...flags: string[]): Promise<Service> {
  const service = await Service.start(...flags);
  context.after(() => service.stop());
  return service;
}

function connect(context: TestContext, url: string): Client {
  const client = new Client(url, { socket, sharing: 'none' });
  context.after(() => client.close());
  return client;
}

test('calls, errors and events, by socket and by HTTP', { skip }, async (context) => {
  const service = await start(context);
  const client = connect(context, service.url);
  const heard: unknown[] = [];
  client.on('chat/message', (data) => heard.push(data));
  const structure = { chat: { say: ['text'] } } as const;
  for (const api of [scaffold(client, structure), scaffold(service.http, structure)]) {
    assert.equal(await api.chat.say({ text: 'hello' }), 'ok');
    await assert.rejects(api.chat.say({ text: '' }), { name: 'CallError', status: 400, message: /text/ });
  }
  await until('both messages', () => heard.length === 2);
  assert.deepEqual(heard, [{ text: 'hello' }, { text: 'hello' }]);
  await assert.rejects(client.call('no/such'), { status: 404 });
  const told = await scaffold(service.http);
  assert.equal(await told['chat']?.['say']?.('by position'), 'ok');
  assert.equal(await (await scaffold(client))['chat']?.['say']?.({ text: 'x' }), 'ok');
});

test('files go up and down whole', { skip }, async (context) => {
  const service = await start(context);
  const client = connect(context, service.url);
  const bytes = randomBytes(3_000_000);
  const kept: unknown[] = [];
  client.on('files/kept', (data) => kept.push(data));
  const upload = await client.upload(new Blob([bytes]), 'picture');
  await client.call('files/upload', { streamId: upload.streamId, name: 'picture' });
  await upload.send();
  await until('the file', () => kept.length === 1);
  const { streamId } = await client.call<{ streamId: number }>('files/download', { name: 'picture' });
  assert.ok(Buffer.from(await new Response(client.download(streamId)).arrayBuffer()).equals(bytes));
  await assert.rejects(client.call('files/download', { name: 'no' }), { status: 404 });
});

test('a call that is cut is done once', { skip }, async (context) => {
  const service = await start(context);
  const gateway = await Gateway.start();
  context.after(() => gateway.stop());
  gateway.port = service.port;
  const listener = connect(context, service.url);
  const heard: string[] = [];
  listener.on('chat/message', ({ text }) => heard.push(text));
  await listener.until('open');
  const client = connect(context, gateway.url);
  await client.until('open');
  for (let index = 0; index < 20; index += 1) {
    const answer = client.call('chat/say', { text: String(index) });
    // Cut somewhere between the call and its answer.
    await until('the event', () => heard.length > index);
    gateway.cut();
    assert.equal(await answer, 'ok');
  }
  assert.deepEqual(heard, Array.from({ length: 20 }, (_, index) => String(index)));
});

test('moves to the next service without a gap when the first one ends', { skip }, async (context) => {
  const flags = ['--drain-delay-ms=0', '--drain-interval-ms=5'];
  const first = await start(context, '--revision=blue', ...flags);
  const second = await start(context, '--revision=green', ...flags);
  const gateway = await Gateway.start();
  context.after(() => gateway.stop());
  gateway.port = first.port;
  const clients = Array.from({ length: 5 }, () => connect(context, gateway.url));
  const states: string[] = [];
  for (const client of clients) {
    await client.until('open');
    client.onState((state) => states.push(state));
  }
  assert.ok(clients.every((client) => client.revision === 'blue'));
  gateway.port = second.port;
  const ended = first.stop('SIGTERM');
  await Promise.all(clients.map(async (client) => {
    for (let index = 0; client.revision === 'blue' || index < 5; index += 1) {
      assert.deepEqual(await client.call('system/echo', [index]), [index]);
    }
  }));
  await ended;
  assert.ok(clients.every((client) => client.revision === 'green'));
  assert.ok(!states.includes('connecting'), `never without a socket: ${states.join(' ')}`);
});

test('documents: edits of several clients meet in the service', { skip }, async (context) => {
  const service = await start(context);
  const [one, two] = [connect(context, service.url).document('rooms/1'), connect(context, service.url).document('rooms/1')];
  await Promise.all([one.ready, two.ready]);
  await Promise.all([
    one.apply({ field: 'likes', increment: 2 }), two.apply({ field: 'likes', increment: 3 }),
    one.apply({ field: 'notes', insert: 'from one', index: 0 }), two.apply({ field: 'agenda', insert: ['a', 1, { b: null }], index: 0 }),
    one.apply({ field: 'title', assign: 'Räume 🚂' }), two.apply({ field: 'locked', set: false }), one.apply({ field: 'open', set: true }),
    one.apply({ field: 'inventory', update: 'chairs', type: 'pn-counter', operation: { increment: -3 } }),
    one.apply({ field: 'tags', add: 'blue' }), two.apply({ field: 'links', vertex: { add: 1 } }),
  ]);
  await Promise.all([one.acknowledged(), two.acknowledged()]);
  await until('the same', () => JSON.stringify(one.read()) === JSON.stringify(two.read()) && one.get('likes') === 5);
  const read = await scaffold(service.http, { document: { read: ['name'] } } as const).document.read({ name: 'rooms/1' });
  assert.deepEqual(read, {
    likes: 5, notes: 'from one', agenda: ['a', 1, { b: null }], title: 'Räume 🚂', locked: false, open: true, tags: ['blue'],
    inventory: { chairs: { 'pn-counter': -3 } }, links: { vertices: [1], edges: [] }, presence: {}, counts: {},
  });
  await assert.rejects(connect(context, service.url).document('nowhere').ready, { name: 'CallError' });
});

test('documents: a service that is killed has lost nothing that it acknowledged', { skip }, async (context) => {
  const data = mkdtempSync(join(tmpdir(), 'pointsman-'));
  context.after(() => rmSync(data, { recursive: true }));
  const first = await start(context, `--data=${data}`);
  const gateway = await Gateway.start();
  context.after(() => gateway.stop());
  gateway.port = first.port;
  const document = connect(context, gateway.url).document('rooms/1');
  await document.ready;
  for (let index = 0; index < 20; index += 1) await document.apply({ field: 'notes', insert: `${index} `, index: 0 });
  await document.acknowledged();
  await document.apply({ field: 'likes', increment: 1 });
  await first.stop('SIGKILL');
  await document.apply({ field: 'likes', increment: 1 });
  const second = await start(context, `--data=${data}`);
  gateway.port = second.port;
  await document.acknowledged();
  const other = connect(context, second.url).document('rooms/1');
  await other.ready;
  await until('all of it', () => other.get('likes') === 2 && other.get('notes') === document.get('notes'));
  assert.match(document.get('notes') as string, /^19 18 .* 0 $/);
});

test('documents: edits go on while the session moves between replicas', { skip }, async (context) => {
  const [left, right] = (await freePorts(2)) as [number, number];
  const flags = ['--drain-delay-ms=0', '--drain-interval-ms=5'];
  const first = await start(context, `--listen=127.0.0.1:${left}`, `--peer=http://127.0.0.1:${right}`, '--revision=blue', ...flags);
  const second = await start(context, `--listen=127.0.0.1:${right}`, `--peer=http://127.0.0.1:${left}`, '--revision=green', ...flags);
  const gateway = await Gateway.start();
  context.after(() => gateway.stop());
  gateway.port = first.port;
  const client = connect(context, gateway.url);
  const document = client.document('rooms/1');
  const other = connect(context, second.url).document('rooms/1');
  await document.apply({ field: 'likes', increment: 1 });
  await until('the replicas know each other', () => other.isLive && other.get('likes') === 1);
  gateway.port = second.port;
  const ended = first.stop('SIGTERM');
  let edits = 1;
  while (client.revision !== 'green' || edits < 50) {
    await document.apply({ field: 'likes', increment: 1 });
    edits += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await document.acknowledged();
  await ended;
  await until('all likes', () => other.get('likes') === edits);
});

test('tabs: a crash, no SharedWorker, blocked sockets', { skip: chromium() === undefined ? 'no Chromium' : skip }, async (context) => {
  const service = await start(context, '--allow-origin=*');
  const gateway = await Gateway.start();
  gateway.port = service.port;
  const { address, server } = await pageServer();
  const browser = await launch();
  context.after(async () => {
    await browser.close();
    await gateway.stop();
    server.close();
  });
  const options = { url: gateway.url, worker: '/hub-worker.js' };
  const edit = `globalThis.room = client.document('rooms/1'); await room.ready; await room.apply({ field: 'likes', increment: 1 }); await room.acknowledged(); return room.get('likes')`;
  const maker = await openTab(browser, address, options);
  await waitForState(maker, 'open');
  const others = [await openTab(browser, address, options), await openTab(browser, address, options)] as const;
  assert.equal(await inTab(others[0], edit), 1);
  const session = await maker.createCDPSession();
  session.send('Page.crash').catch(() => {});
  await new Promise((resolve) => maker.once('error', resolve));
  assert.equal(await inTab(others[1], edit), 2);
  await until('one session', async () => (await service.open()) === 1);
  await Promise.all(others.map((page) => page.close()));
  await until('no session', async () => (await service.open()) === 0);

  const gone = 'delete globalThis.SharedWorker';
  const tabs = [await openTab(browser, address, options, gone), await openTab(browser, address, options, gone)] as const;
  for (const tab of tabs) {
    await waitForState(tab, 'open');
    assert.ok((await timeTo(tab, 'open')) < 1000);
  }
  assert.equal(await service.open(), 1);
  await tabs[0].close();
  assert.equal(await inTab(tabs[1], edit), 3);

  gateway.socketsBlocked = true;
  gateway.cut();
  await waitForState(tabs[1], 'polling');
  assert.equal(await inTab(tabs[1], `return client.call('chat/say', { text: 'by HTTP' })`), 'ok');
  await inTab(tabs[1], `await room.apply({ field: 'likes', increment: 1 })`);
  gateway.socketsBlocked = false;
  await waitForState(tabs[1], 'open');
  assert.equal(await inTab(tabs[1], `await room.acknowledged(); return room.get('likes')`), 4);
});

test('50 tabs are one session of the service', { skip: chromium() === undefined ? 'no Chromium' : skip }, async (context) => {
  const service = await start(context);
  const { address, server } = await pageServer();
  const browser = await launch();
  context.after(async () => {
    await browser.close();
    server.close();
  });
  const options = { url: service.url, worker: '/hub-worker.js' };
  const pages = [];
  for (let group = 0; group < 10; group += 1) {
    pages.push(...(await Promise.all([0, 1, 2, 3, 4].map(() => openTab(browser, address, options)))));
  }
  await Promise.all(pages.map((page) => waitForState(page, 'open')));
  assert.equal(await service.open(), 1);
  await Promise.all(pages.map((page, at) => inTab(page, `return client.call('chat/say', { text: '${at}' })`)));
  for (const page of pages) await until('50 messages', async () => (await inTab<number>(page, 'return heard.length')) >= 50);
  assert.equal(await service.open(), 1);
});
