import assert from 'node:assert/strict';
import { after, before, test, type TestContext } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';

import { chromium, inTab, launch, openTab, servePage, timeTo, waitForState } from '../support/pages.js';
import { TestServer } from '../support/server.js';
import { until } from '../support/until.js';

const skip = chromium() === undefined ? 'there is no Chromium; set CHROMIUM' : false;
const DEADLINE_MS = 60_000;
let browser: Browser;

before(async () => {
  if (skip === false) browser = await launch();
});
after(async () => {
  if (skip === false) await browser.close();
});

interface Opening {
  readonly worker?: string;
  readonly offline?: boolean;
  /** Runs in the page before anything else. */
  readonly prepare?: string;
}

/** A service, and what opens tabs of it; both end with the test. */
async function service(context: TestContext): Promise<{ server: TestServer; open: (opening?: Opening) => Promise<Page> }> {
  const server = await TestServer.start();
  server.page = servePage;
  const pages: Page[] = [];
  context.after(async () => {
    await Promise.all(pages.map((page) => page.close().catch(() => {})));
    await server.stop();
  });
  const open = async ({ worker = '/hub-worker.js', offline = false, prepare }: Opening = {}): Promise<Page> => {
    const page = await openTab(browser, `${server.http}/`, { url: server.url, worker, offline }, prepare);
    pages.push(page);
    return page;
  };
  return { server, open };
}

test('50 tabs have one connection and share documents and events', { skip }, async (context) => {
  const { server, open } = await service(context);
  const pages: Page[] = [];
  for (let group = 0; group < 10; group += 1) pages.push(...(await Promise.all([0, 1, 2, 3, 4].map(() => open()))));
  await Promise.all(pages.map((page) => waitForState(page, 'open')));
  assert.equal(server.peers.size, 1);
  assert.equal(server.connectionsMost, 1);
  assert.equal(await inTab(pages[0] as Page, 'return client.sharing'), 'worker');
  server.broadcast('news', 7);
  for (const page of pages) await until('the event', async () => (await inTab<unknown[]>(page, 'return heard')).length > 0, DEADLINE_MS);
  for (const page of pages) await inTab(page, `globalThis.room = client.document('room'); await room.ready`);
  await Promise.all(pages.map((page) => inTab(page, `await room.apply({ field: 'likes', increment: 1 }); await room.acknowledged()`)));
  for (const page of pages) await until('50 likes', async () => (await inTab(page, `return room.get('likes')`)) === 50, DEADLINE_MS);
  assert.equal(server.documents.get('room')?.get('likes'), 50);
  assert.equal(server.connectionsMost, 1);
  assert.equal([...server.peers][0]?.documents.length, 1, 'the document is open once');
});

test('the bytes of a stream go to the tab that asked', { skip }, async (context) => {
  const { server, open } = await service(context);
  server.files.set('file', Buffer.alloc(600_000, 7));
  const pages = [await open(), await open()];
  const script = `
    const { streamId } = await client.call('files/download', { name: 'file' });
    return (await new Response(client.download(streamId)).arrayBuffer()).byteLength`;
  assert.deepEqual(await Promise.all(pages.map((page) => inTab(page, script))), [600_000, 600_000]);
});

test('the tab that made the worker crashes and the others go on', { skip }, async (context) => {
  const { server, open } = await service(context);
  const maker = await open();
  await waitForState(maker, 'open');
  const others = [await open(), await open(), await open()];
  await Promise.all(others.map((page) => waitForState(page, 'open')));
  const [one] = others as [Page, Page, Page];
  await inTab(one, `globalThis.room = client.document('room'); await room.ready; await room.apply({ field: 'likes', increment: 1 })`);
  const session = await maker.createCDPSession();
  session.send('Page.crash').catch(() => {});
  await new Promise((resolve) => maker.once('error', resolve));
  const answers = await Promise.all(others.map((page, at) => inTab(page, `return client.call('system/echo', [${at}])`)));
  assert.deepEqual(answers, [[0], [1], [2]]);
  await inTab(one, `await room.apply({ field: 'likes', increment: 1 }); await room.acknowledged()`);
  assert.equal(server.documents.get('room')?.get('likes'), 2);
  await until('one connection', () => server.peers.size === 1, DEADLINE_MS);
});

test('the worker is killed and every tab finds the next one', { skip }, async (context) => {
  const { server, open } = await service(context);
  const pages = [await open(), await open(), await open()];
  await Promise.all(pages.map((page) => waitForState(page, 'open')));
  await inTab(pages[0] as Page, `globalThis.room = client.document('room'); await room.ready`);
  const control = await browser.target().createCDPSession();
  const { targetInfos } = await control.send('Target.getTargets');
  const worker = targetInfos.find((one) => one.type === 'shared_worker' && one.url.startsWith(server.http));
  server.silent = 'system/echo';
  const waiting = inTab(pages[1] as Page, `return client.call('system/echo', ['before'])`);
  await control.send('Target.closeTarget', { targetId: worker?.targetId as string });
  server.silent = undefined;
  assert.deepEqual(await waiting, ['before']);
  await Promise.all(pages.map((page) => inTab(page, `return client.call('chat/say', { text: 'on' })`)));
  await inTab(pages[0] as Page, `await room.apply({ field: 'likes', increment: 3 }); await room.acknowledged()`);
  assert.equal(server.documents.get('room')?.get('likes'), 3);
  await until('one connection', () => server.peers.size === 1, DEADLINE_MS);
  assert.equal(server.connectionsMost, 1);
});

test('a tab that is gone leaves nothing: no subscriptions, no documents', { skip }, async (context) => {
  const { server, open } = await service(context);
  const [stays, goes] = [await open(), await open()];
  await inTab(stays, `await client.until('open')`);
  await inTab(goes, `globalThis.room = client.document('room'); await room.ready`);
  const session = await goes.createCDPSession();
  session.send('Page.crash').catch(() => {});
  await new Promise((resolve) => goes.once('error', resolve));
  await until('the document is closed', () => server.done.includes('document/close'), DEADLINE_MS);
});

test('without SharedWorker one tab leads, found within a second; another one follows it', { skip }, async (context) => {
  const { server, open } = await service(context);
  const gone = { prepare: 'delete globalThis.SharedWorker' };
  const pages = [await open(gone), await open(gone), await open(gone)];
  await Promise.all(pages.map((page) => waitForState(page, 'open')));
  assert.equal(server.connectionsMost, 1);
  for (const page of pages) {
    assert.equal(await inTab(page, 'return client.sharing'), 'leader');
    const took = await timeTo(page, 'open');
    assert.ok(took < 1000, `open after ${took} ms`);
  }
  const [leader, ...others] = pages as [Page, Page, Page];
  await inTab(others[0] as Page, `globalThis.room = client.document('room'); await room.ready; await room.apply({ field: 'likes', increment: 1 })`);
  await leader.close();
  const answers = await Promise.all(others.map((page, at) => inTab(page, `return client.call('system/echo', [${at}])`)));
  assert.deepEqual(answers, [[0], [1]]);
  await inTab(others[0] as Page, `await room.apply({ field: 'likes', increment: 1 }); await room.acknowledged()`);
  assert.equal(server.documents.get('room')?.get('likes'), 2);
  // The service may see the end of the leader's socket after the beginning of the next one's.
  await until('one connection', () => server.peers.size === 1, DEADLINE_MS);
});

test('a worker that cannot be loaded is passed over within a second', { skip }, async (context) => {
  const { open } = await service(context);
  const page = await open({ worker: '/no-such-worker.js' });
  await waitForState(page, 'open');
  assert.equal(await inTab(page, 'return client.sharing'), 'leader');
  assert.ok((await timeTo(page, 'open')) < 1000);
});

test('without locks every tab has a socket of its own', { skip }, async (context) => {
  const { server, open } = await service(context);
  const gone = { prepare: 'delete globalThis.SharedWorker; delete Navigator.prototype.locks' };
  const pages = [await open(gone), await open(gone)];
  await Promise.all(pages.map((page) => waitForState(page, 'open')));
  assert.equal(server.peers.size, 2);
  assert.equal(await inTab(pages[0] as Page, 'return client.sharing'), 'none');
});

test('where sockets are blocked it polls and says so, and comes back', { skip }, async (context) => {
  const { server, open } = await service(context);
  server.socketsBlocked = true;
  const page = await open();
  await waitForState(page, 'polling');
  assert.equal(await inTab(page, `return client.call('chat/say', { text: 'by HTTP' })`), 'ok');
  server.socketsBlocked = false;
  await waitForState(page, 'open');
});

test('edits that were not acknowledged outlive the page', { skip }, async (context) => {
  const { server, open } = await service(context);
  const first = await open({ offline: true });
  await inTab(first, `globalThis.room = client.document('room'); await room.ready`);
  server.deltaStatus = 503;
  await inTab(first, `await room.apply({ field: 'body', insert: 'kept', index: 0 })`);
  await until('it is kept', () => inTab<boolean>(first, `
    const request = indexedDB.open('pointsman-sync');
    const database = await new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
    const get = database.transaction('values').objectStore('values').get('document/room');
    const value = await new Promise((resolve) => { get.onsuccess = () => resolve(get.result); });
    database.close();
    return new TextDecoder().decode(value).includes('kept')`), DEADLINE_MS);
  await first.close();
  await until('the worker ended', () => server.peers.size === 0, DEADLINE_MS);
  server.deltaStatus = 0;
  const second = await open({ offline: true });
  await inTab(second, `globalThis.room = client.document('room'); await room.ready; await room.acknowledged()`);
  await until('the service has it', () => server.documents.get('room')?.get('body') === 'kept', DEADLINE_MS);
});
