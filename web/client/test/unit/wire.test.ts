import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { decodePacket, encodePacket, errorText, type Packet } from '../../src/wire/packet.js';
import { MetacomServer } from '../support/metacom.js';
import { Random } from '../support/script.js';
import { hex, lines, unhex, VECTORS } from '../support/vectors.js';

/** Numbers beyond 2⁵³ − 1 are text in the vectors; this client has no use for them and refuses them. */
function isBeyond(packet: any): boolean {
  return Object.entries({ ...packet, ...packet.origin }).some(
    ([name, value]) => ['id', 'sequence', 'status', 'size', 'bytes', 'document', 'delay_ms', 'slot', 'seen', 'position'].includes(name) && typeof value === 'string',
  );
}

/** The form of the vector files. */
function written(packet: Packet | null): unknown {
  if (packet === null) return null;
  const entries = Object.entries(packet).map(([name, value]): [string, unknown] => {
    if (name === 'kind') return [name, (value as string).toUpperCase().replaceAll('-', '_')];
    if (name === 'payload') return [name, hex(value as Uint8Array)];
    if (name === 'origin') return [name, value ?? null];
    return [name === 'delayMs' ? 'delay_ms' : name, value];
  });
  return Object.fromEntries(['ping', 'pong', 'drain'].includes(packet.kind) ? entries.filter(([name]) => name !== 'id') : entries);
}

/** A packet from the form of the vector files. */
function packetOf(json: any): Packet {
  const { payload, delay_ms: delayMs, ...rest } = json;
  return {
    ...rest, kind: rest.kind.toLowerCase().replaceAll('_', '-'),
    ...(payload === undefined ? {} : { payload: unhex(payload) }),
    ...(delayMs === undefined ? {} : { delayMs }),
    ...('origin' in rest ? { origin: rest.origin ?? undefined } : {}),
  };
}

test('packets have the bytes of the vectors', () => {
  let read = 0;
  for (const { name, hex: bytes, packet } of lines('wire/binary.jsonl')) {
    if (packet.kind.startsWith('PEER_')) {
      assert.equal(decodePacket(unhex(bytes)), undefined, 'what replicas say to each other is passed over');
    } else if (isBeyond(packet)) {
      assert.throws(() => decodePacket(unhex(bytes)), { name: 'DecodeError' }, name);
    } else {
      assert.deepEqual(written(decodePacket(unhex(bytes)) ?? null), packet, name);
      assert.equal(hex(encodePacket(packetOf(packet))), bytes, name);
      read += 1;
    }
  }
  assert.ok(read > 20);
});

test('refuses packets that servers refuse', () => {
  for (const { dialect, hex: bytes, error } of lines('wire/refused.jsonl')) {
    if (dialect !== 'binary' || bytes === undefined) continue;
    // Kinds that this client passes over are not looked into.
    if (bytes.startsWith('0e') || bytes.startsWith('0f')) continue;
    assert.throws(() => decodePacket(unhex(bytes)), { name: 'DecodeError' }, error);
  }
});

for (const dialect of ['metacom-integer', 'metacom-text']) {
  test(`${dialect}: the session of the vectors`, () => {
    const server = new MetacomServer();
    for (const { from, name, packet, text, hex: bytes, meta } of lines(`wire/${dialect}.jsonl`)) {
      const message = text ?? unhex(bytes);
      if (from === 'client') {
        const read = server.read(message);
        assert.deepEqual(written(read.packet), packet, name);
        assert.deepEqual(read.meta, meta, name);
      } else {
        const made = server.write(packetOf(packet), meta);
        if (typeof made === 'string') assert.deepEqual(JSON.parse(made), JSON.parse(text), name);
        else assert.equal(hex(made), bytes, name);
      }
    }
  });
}

test('Metacom: refuses what a server refuses', () => {
  for (const { dialect, text, hex: bytes, error } of lines('wire/refused.jsonl')) {
    // `JSON.parse` keeps the last of two members of one name and cannot tell.
    if (dialect === 'binary' || error.includes('duplicate')) continue;
    const server = new MetacomServer();
    if (dialect !== 'metacom') server.assume(dialect === 'metacom-text' ? 'text' : 'number');
    assert.throws(() => server.read(text ?? unhex(bytes)), `${error}: ${text ?? bytes}`);
  }
});

test('errors are JSON or text', () => {
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  assert.equal(errorText(encode('{"error":"no such method"}')), 'no such method');
  assert.equal(errorText(encode('no such method')), 'no such method');
});

function randomPacket(random: Random): Packet {
  const payload = Uint8Array.from({ length: random.below(24) }, () => random.below(256));
  const text = Array.from({ length: random.below(6) }, () => random.pick([...'abc/ü🚂'])).join('');
  const number = Math.floor(2 ** random.below(52)) + random.below(100);
  const id = random.below(2) === 0 ? number : -number;
  const origin = random.below(2) === 0 ? undefined : { slot: random.below(65_536), position: number };
  const packets: readonly Packet[] = [
    { kind: 'call', id, method: text, payload }, { kind: 'callback', id, status: random.below(600), payload },
    { kind: 'event', sequence: number, name: text, origin, payload }, { kind: 'stream-init', id, size: number, name: text },
    { kind: 'stream-chunk', id, payload: Uint8Array.of(1, ...payload) }, { kind: 'stream-end', id },
    { kind: 'stream-abort', id, status: 400 + random.below(200), reason: text }, { kind: 'credit', id, bytes: number },
    { kind: 'delta', id, document: random.below(256), payload }, { kind: 'digest', id, document: random.below(256), payload },
    { kind: 'drain', delayMs: number, next: text, token: text, slot: random.below(65_536) },
    { kind: 'ping', seen: number }, { kind: 'pong', seen: number },
  ];
  return random.pick(packets);
}

test('packets that Rust reads are what this code writes', () => {
  const random = new Random(7);
  const text = Array.from({ length: 200 }, () => {
    const packet = randomPacket(random);
    const bytes = encodePacket(packet);
    assert.deepEqual(decodePacket(bytes), packet);
    return JSON.stringify({ hex: hex(bytes), packet: written(packet) });
  }).join('\n') + '\n';
  const file = `${VECTORS}typescript/wire.jsonl`;
  if (process.env['POINTSMAN_BLESS'] !== undefined) {
    mkdirSync(`${VECTORS}typescript`, { recursive: true });
    writeFileSync(file, text);
  }
  assert.ok(readFileSync(file, 'utf8') === text, `${file} differs; POINTSMAN_BLESS=1 writes it, read the difference`);
});

test('any bytes are read or refused', () => {
  const random = new Random(8);
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = Uint8Array.from({ length: random.below(40) }, () => random.below(256));
    try {
      decodePacket(bytes);
    } catch (error) {
      assert.equal((error as Error).name, 'DecodeError');
    }
  }
});
