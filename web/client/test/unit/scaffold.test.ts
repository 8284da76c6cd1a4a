import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'node:test';

import { Client, declareUnits, scaffold } from '../../src/index.js';
import { TestServer } from '../support/server.js';
import { socket } from '../support/socket.js';
import { until } from '../support/until.js';

const structure = { chat: { say: ['text'] }, system: { echo: ['value'] } } as const;

test('a literal structure is called by name and by position, over HTTP and over a socket', async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const client = new Client(server.url, { socket, sharing: 'none' });
  context.after(() => client.close());
  for (const api of [scaffold(server.http, structure), scaffold(`${server.http}/api`, structure), scaffold(client, structure)]) {
    assert.equal(await api.chat.say({ text: 'hello' }), 'ok');
    assert.deepEqual(await api.system.echo(1, 'two'), [1, 'two']);
    await assert.rejects(api.chat.say({ text: '' }), { name: 'CallError', status: 400, message: /text/ });
    // @ts-expect-error: the structure has no such method
    assert.equal(api.chat.shout, undefined);
    // @ts-expect-error: the structure has no such unit
    assert.equal(api.files, undefined);
  }
});

test('events of a unit come by socket', async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const client = new Client(server.url, { socket, sharing: 'none' });
  context.after(() => client.close());
  const api = scaffold(client, structure);
  const heard: unknown[] = [];
  const end = api.chat.on('message', (data) => heard.push(data));
  await api.chat.say({ text: 'a' });
  await until('the event', () => heard.length === 1);
  end();
  await api.chat.say({ text: 'b' });
  await api.system.echo(1);
  assert.deepEqual(heard, [{ text: 'a' }]);
  assert.throws(() => scaffold(server.http, structure).chat.on('message', () => {}), { status: 400 });
});

test('without a structure the service is asked', async (context) => {
  const server = await TestServer.start();
  context.after(() => server.stop());
  const client = new Client(server.url, { socket, sharing: 'none' });
  context.after(() => client.close());
  interface Units {
    chat: { say(args: { text: string }): Promise<'ok'> };
  }
  const typed = await scaffold<Units>(server.http);
  const result: 'ok' = await typed.chat.say({ text: 'typed' });
  assert.equal(result, 'ok');
  const api = await scaffold(client);
  assert.equal(await api['chat']?.['say']?.({ text: 'x' }), 'ok');
  const { http } = server;
  await server.stop();
  await assert.rejects(scaffold(http), { status: 503, retry: 'later' });
  await assert.rejects(typed.chat.say({ text: 'late' }), { status: 503, retry: 'later' });
});

test('declarations are made of what the service tells', async (context) => {
  assert.equal(
    declareUnits({ chat: { say: ['text'] }, 'my-unit': { go: [] } }),
    '/** Units of the service: methods by name. */\nexport interface Units {\n  chat: {\n    say(args: { text?: unknown }): Promise<any>;\n  };\n' +
      '  "my-unit": {\n    go(): Promise<any>;\n  };\n}\n',
  );
  const server = await TestServer.start();
  context.after(() => server.stop());
  const command = fileURLToPath(new URL('../../../dist/declare-units.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [command, server.http, 'Mine']);
  assert.match(stdout, /export interface Mine \{[^]*say\(args: \{ text\?: unknown \}\)/);
  await assert.rejects(promisify(execFile)(process.execPath, [command, 'ftp://x']), { code: 2 });
});
