import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { Document } from '../../src/crdt/index.js';
import { script } from '../support/script.js';
import { unhex, VECTORS } from '../support/vectors.js';

const FOLDER = `${VECTORS}typescript`;
const FILE = `${FOLDER}/crdt.jsonl`;

test('the scripts that Rust reads are what this code writes', () => {
  const written = [1, 2, 3].flatMap((seed) => script(seed, 110)).join('\n') + '\n';
  if (process.env['POINTSMAN_BLESS'] !== undefined) {
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(FILE, written);
  }
  assert.ok(readFileSync(FILE, 'utf8') === written, `${FILE} differs; POINTSMAN_BLESS=1 writes it, read the difference`);
});

test('replicas that joined all deltas have the same bytes, in whatever order they came', () => {
  for (let seed = 100; seed < 130; seed += 1) {
    const lines = script(seed, 120).map((line) => JSON.parse(line));
    const schema = lines[0].schema;
    const deltas: string[] = lines.flatMap((line) => (typeof line.delta === 'string' ? [line.delta] : []));
    const build = (order: readonly string[]): Document => {
      const document = new Document(schema);
      for (const delta of order) document.join(Document.delta(unhex(delta)));
      return document;
    };
    const forwards = build(deltas);
    const backwards = build([...deltas].reverse());
    assert.deepEqual(backwards.state.encode(), forwards.state.encode(), `seed ${seed}`);
    // What was pieced together by increments is what a reader of the bytes builds at once.
    const again = Document.decode(schema, forwards.state.encode());
    assert.deepEqual(again.readJson(), forwards.readJson(), `seed ${seed}`);
    assert.equal(forwards.join(backwards.state).size, 0, 'nothing new changes nothing');
  }
});

test('what a digest lacks brings its owner up to the state', () => {
  for (let seed = 200; seed < 230; seed += 1) {
    const lines = script(seed, 120).map((line) => JSON.parse(line));
    const schema = lines[0].schema;
    const states = lines.flatMap((line) => (typeof line.state === 'string' ? [line.state as string] : []));
    const whole = Document.decode(schema, unhex(states.at(-1) as string));
    for (const other of states.slice(-40)) {
      const behind = Document.decode(schema, unhex(other));
      const joined = Document.decode(schema, unhex(other));
      joined.join(whole.state);
      const missing = whole.state.missing(behind.state.digest());
      behind.join(missing);
      assert.deepEqual(behind.state.encode(), joined.state.encode(), `seed ${seed}`);
    }
  }
});
