import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';

import { Document, encodeValue, Reader, decodeValue, valueFromJson, valueToJson, Writer } from '../../src/crdt/index.js';
import { hex, lines, replica, unhex, VECTORS } from '../support/vectors.js';

const skip = existsSync(`${VECTORS}crdt/json.jsonl`) ? false : 'the vectors of JSON forms are not there';

test('plays the script of JSON forms', { skip }, () => {
  let documents: Document[] = [];
  let refused = 0;
  for (const line of lines('crdt/json.jsonl')) {
    if (line.schema !== undefined) {
      documents = [0, 1, 2].map(() => new Document(line.schema));
      continue;
    }
    const by = replica(line.replica);
    const document = documents[by.slot / 7] as Document;
    if (line.join !== undefined) {
      const changed = document.join(Document.delta(unhex(line.join)));
      assert.deepEqual([...changed].sort(), line.changed, line.join);
    } else if (line.error !== undefined) {
      refused += 1;
      const apply = (): unknown => document.applyJson(line.operation, by, line.now_ms);
      assert.throws(apply, { name: /^(OperationError|SkewError)$/ }, line.error);
      continue;
    } else {
      const delta = document.applyJson(line.operation, by, line.now_ms);
      assert.equal(delta === undefined ? null : hex(delta.encode()), line.delta, JSON.stringify(line.operation));
    }
    assert.equal(JSON.stringify(sorted(document.readJson())), JSON.stringify(sorted(line.value)));
  }
  assert.ok(refused > 20);
});

test('reads and writes the JSON forms of values', { skip }, () => {
  for (const line of lines('crdt/json-values.jsonl')) {
    if (line.error !== undefined) {
      assert.throws(() => valueFromJson(line.json), { name: 'OperationError' }, line.error);
      continue;
    }
    const to = new Writer();
    encodeValue(valueFromJson(line.json), to);
    assert.equal(hex(to.bytes()), line.bytes);
    const written = valueToJson(decodeValue(new Reader(unhex(line.bytes))));
    assert.equal(JSON.stringify(sorted(written)), JSON.stringify(sorted(line.written ?? line.json)));
  }
});

function sorted(json: any): any {
  if (json === null || typeof json !== 'object') return json;
  if (Array.isArray(json)) return json.map(sorted);
  return Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)).map(([n, v]) => [n, sorted(v)]));
}
