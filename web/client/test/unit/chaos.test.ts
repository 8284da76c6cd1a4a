import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client } from '../../src/index.js';
import { Random } from '../support/script.js';
import { TestServer } from '../support/server.js';
import { socket } from '../support/socket.js';
import { until } from '../support/until.js';

const STEPS = 250;

/** What goes wrong, at random: cuts, moves, answers that get lost, refusals that pass, writers that are retired. */
function disturb(server: TestServer, random: Random): void {
  switch (random.below(12)) {
    case 0:
      server.cut();
      break;
    case 1:
      for (const peer of server.peers) peer.drain(random.below(3), server.revision);
      break;
    case 2:
      server.deltasSwallowed = true;
      break;
    case 3:
      server.deltaStatus = 503;
      break;
    case 4:
      server.swallowed = 'chat/say';
      break;
    case 5:
      server.incarnation += 1;
      server.cut();
      break;
    default:
      server.deltasSwallowed = false;
      server.deltaStatus = 0;
      server.swallowed = undefined;
  }
}

for (const seed of [1, 2, 3, 4]) {
  test(`whatever happens on the way, everything arrives once (seed ${seed})`, async (context) => {
    const random = new Random(seed);
    const server = await TestServer.start();
    const clients = [0, 1, 2].map(() => new Client(server.url, { socket, sharing: 'none' }));
    context.after(async () => {
      for (const client of clients) client.close();
      await server.stop();
    });
    const documents = clients.map((client) => client.document('room'));
    await Promise.all(documents.map((document) => document.ready));
    let likes = 0;
    const letters: string[] = [];
    const calls: Promise<unknown>[] = [];
    for (let step = 0; step < STEPS; step += 1) {
      const at = random.below(3);
      const document = documents[at] as (typeof documents)[number];
      if (random.below(2) === 0) {
        await document.apply({ field: 'likes', increment: 1 });
        likes += 1;
      } else {
        const letter = String.fromCodePoint(0x4e00 + step);
        letters.push(letter);
        await document.apply({ field: 'body', insert: letter, index: random.below(Array.from(document.get('body') as string).length + 1) });
      }
      if (random.below(5) === 0) calls.push((clients[at] as Client).call('chat/say', { text: String(step) }));
      if (random.below(4) === 0) disturb(server, random);
      if (random.below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    server.deltasSwallowed = false;
    server.deltaStatus = 0;
    server.swallowed = undefined;
    server.cut();
    await Promise.all(documents.map((document) => document.acknowledged()));
    assert.ok((await Promise.all(calls)).every((answer) => answer === 'ok'));
    assert.equal(server.done.filter((method) => method === 'chat/say').length, calls.length, 'each call was done once');
    const held = server.documents.get('room');
    assert.equal(held?.get('likes'), likes);
    assert.deepEqual(Array.from(held?.get('body') as string).sort(), letters.sort(), 'each letter is there once');
    const read = JSON.stringify(held?.read());
    await until('the same everywhere', () => documents.every((document) => JSON.stringify(document.read()) === read));
  });
}
