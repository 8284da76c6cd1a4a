import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Session } from '../../src/session/session.js';
import type { Packet } from '../../src/wire/packet.js';
import { type FakeSocket, fakeSockets, FakeTiming } from '../support/fake.js';

interface Under {
  readonly timing: FakeTiming;
  readonly sockets: FakeSocket[];
  readonly session: Session;
  readonly told: string[];
  busy: boolean;
  readonly last: () => FakeSocket;
}

function begin(url = 'ws://service/path?keep=1'): Under {
  const timing = new FakeTiming();
  const { sockets, maker } = fakeSockets(timing);
  const told: string[] = [];
  const under = { timing, sockets, told, busy: false, last: () => sockets.at(-1) as FakeSocket } as Under;
  const session = new Session({ url, socket: maker, timing }, {
    opened: () => told.push('opened'),
    packet: (_connection, packet: Packet) => told.push(packet.kind),
    lost: (_connection, last) => told.push(last ? 'lost' : 'left'),
    moving: () => told.push('moving'),
    failed: (failures) => told.push(`failed ${failures}`),
    isBusy: () => under.busy,
  });
  session.start();
  return Object.assign(under, { session });
}

test('greets, and resumes with token and revision after a wait by chance', () => {
  const { timing, sockets, last, told } = begin();
  assert.equal(last().subprotocol, 'pointsman.v1');
  assert.equal(last().url.search, '?keep=1');
  last().greet();
  last().cut();
  assert.deepEqual(told, ['opened', 'lost']);
  timing.pass(124);
  assert.equal(sockets.length, 1);
  timing.pass(1);
  assert.equal(sockets.length, 2, 'half of 250 ms later');
  assert.equal(last().token, 'secret');
  assert.equal(last().revision, 'blue');
  assert.equal(last().url.searchParams.get('keep'), '1');
});

test('every second try leaves the revision to the service, which may have retired it', () => {
  const { timing, sockets, last } = begin();
  last().greet();
  last().cut();
  const revisions: (string | null)[] = [];
  for (let failure = 0; failure < 4; failure += 1) {
    const { length } = sockets;
    while (sockets.length === length) timing.pass(100);
    revisions.push(last().revision);
    last().cut();
  }
  assert.deepEqual(revisions, ['blue', null, 'blue', null]);
});

test('waits twice as long after each failure, up to 10 s', () => {
  const { timing, sockets, last } = begin();
  timing.chance = 1;
  const waits: number[] = [];
  for (let failure = 0; failure < 8; failure += 1) {
    last().cut();
    const before = timing.now();
    const { length } = sockets;
    while (sockets.length === length) timing.pass(1);
    waits.push(timing.now() - before);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
});

test('DRAIN: waits as told, new socket before old, to the revision that was told', () => {
  const { timing, sockets, last, told, session } = begin();
  const old = last();
  old.greet();
  old.drain(300, 'green');
  assert.ok(session.isMoving);
  timing.pass(299);
  assert.equal(sockets.length, 1);
  timing.pass(1);
  assert.equal(sockets.length, 2);
  assert.equal(last().revision, 'green');
  assert.equal(last().token, 'moved');
  assert.equal(old.closed, undefined, 'the old one is in use until the new one is greeted');
  old.receive({ kind: 'callback', id: 1, status: 0, payload: new Uint8Array() });
  last().greet('green');
  assert.equal(old.closed, 1000);
  assert.deepEqual(told, ['opened', 'moving', 'callback', 'opened', 'left']);
  assert.ok(!session.isMoving);
});

test('an empty revision means any', () => {
  const { timing, last } = begin();
  last().greet();
  last().drain(0, '');
  timing.pass(0);
  assert.equal(last().revision, null);
});

test('after DRAIN it insists on what it was told until the tenth failure', () => {
  const { timing, last, sockets } = begin();
  const old = last();
  old.greet();
  old.drain(0, 'green');
  timing.pass(0);
  const revisions: (string | null)[] = [];
  for (let failure = 0; failure < 14; failure += 1) {
    revisions.push(last().revision);
    last().cut();
    const { length } = sockets;
    while (sockets.length === length) timing.pass(100);
  }
  assert.deepEqual(revisions, [...Array(11).fill('green'), null, 'green', null]);
  assert.equal(old.closed, undefined);
});

test('an old socket that ends while the new one is on its way changes nothing', () => {
  const { timing, last, told, sockets } = begin();
  const old = last();
  old.greet();
  old.drain(1_000, 'green');
  old.cut();
  assert.deepEqual(told, ['opened', 'moving', 'lost']);
  timing.pass(999);
  assert.equal(sockets.length, 1, 'its slot is kept');
  timing.pass(1);
  last().greet('green');
  assert.equal(sockets.length, 2);
  assert.deepEqual(told, ['opened', 'moving', 'lost', 'opened']);
});

test('streams that are under way keep the old socket, for a while', () => {
  const under = begin();
  const { timing, last } = under;
  const old = last();
  old.greet();
  under.busy = true;
  old.drain(0, 'green');
  timing.pass(0);
  last().greet('green');
  timing.pass(10_000);
  assert.equal(old.closed, undefined);
  under.busy = false;
  timing.pass(250);
  assert.equal(old.closed, 1000);
});

test('answers PING, asks after silence, and gives a dead connection up', () => {
  const { timing, last, told } = begin();
  last().greet();
  last().receive({ kind: 'event', sequence: 7, name: 'a/b', origin: undefined, payload: new Uint8Array() });
  last().receive({ kind: 'ping', seen: 0 });
  assert.deepEqual(last().sent, [{ kind: 'pong', seen: 7 }]);
  timing.pass(40_000);
  assert.deepEqual(last().sent.at(-1), { kind: 'ping', seen: 7 });
  last().receive({ kind: 'pong', seen: 0 });
  timing.pass(39_000);
  assert.equal(last().closed, undefined);
  timing.pass(41_000);
  assert.ok(told.includes('lost'));
});

test('gives up on a socket that is not greeted, and on one that sends nonsense', () => {
  const { timing, last, told, sockets } = begin();
  timing.pass(10_000);
  assert.equal(sockets[0]?.closed, 1000);
  assert.deepEqual(told, ['failed 1']);
  while (sockets.length === 1) timing.pass(10);
  last().greet();
  last().onmessage?.({ data: 'text' });
  assert.equal(last().closed, 4002);
  assert.deepEqual(told, ['failed 1', 'opened', 'lost']);
});

test('stop closes everything and dials no more', () => {
  const { timing, last, session, sockets } = begin();
  last().greet();
  session.stop();
  assert.equal(last().closed, 1000);
  timing.pass(60_000);
  assert.equal(sockets.length, 1);
});
