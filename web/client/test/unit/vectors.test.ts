import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  compareValues, decodeValue, emptyOf, encodeValue, Reader, State, type Store, TYPE_NAMES, Writer,
} from '../../src/crdt/index.js';
import { Random } from '../support/script.js';
import { hex, lines, operationOf, replica, unhex, valueOf, written } from '../support/vectors.js';

const SEQUENCES = ['list', 'text', 'map'];

for (const type of TYPE_NAMES) {
  test(`${type}: plays the script of the vectors`, () => {
    const fresh = (): State<Store>[] => [0, 1, 2].map(() => new State(emptyOf(type)));
    const decode = (bytes: string): State<Store> => State.decode(unhex(bytes), emptyOf(type));
    let states = fresh();
    let deltas: string[] = [];
    let steps = 0;
    for (const line of lines(`crdt/${type}.jsonl`)) {
      if (line.do === 'restart') {
        states = fresh();
        deltas = [];
        continue;
      }
      const by = replica(line.replica);
      const at = by.slot / 7;
      const state = states[at] as State<Store>;
      if (line.do === 'update') {
        const delta = state.update(by, operationOf(line.operation));
        assert.equal(delta && hex(delta.encode()), line.delta);
        deltas.push(line.delta);
      } else if (line.do === 'join') {
        const delta = decode(line.delta);
        state.join(delta);
        assert.equal(hex(delta.encode()), line.delta, 'a join leaves the delta alone');
      } else {
        for (const one of states) for (const delta of deltas) one.join(decode(delta));
        const bytes = states.map((one) => {
          one.retire(by);
          return hex(one.encode());
        });
        assert.equal(new Set(bytes).size, 1, 'all have the same bytes');
        assert.deepEqual(written(state.store.read()), line.value);
        // Clients do not collect: sequences go on from what the others collected.
        if (!SEQUENCES.includes(type)) assert.equal(bytes[0], line.state);
        states = states.map(() => decode(line.state));
      }
      const now = states[at] as State<Store>;
      assert.equal(hex(now.encode()), line.state);
      assert.deepEqual(written(now.store.read()), line.value);
      const again = decode(line.state);
      assert.equal(hex(again.encode()), line.state);
      assert.deepEqual(written(again.store.read()), line.value);
      steps += 1;
    }
    assert.ok(steps > 50);
  });
}

test('mutated bytes are the one encoding of what they say, or refused', () => {
  const random = new Random(11);
  let read = 0;
  for (const type of TYPE_NAMES) {
    const states: string[] = lines(`crdt/${type}.jsonl`).flatMap((line) => (line.state === undefined ? [] : [line.state]));
    for (let round = 0; round < 1_500; round += 1) {
      const bytes = unhex(random.pick(states));
      const cut = random.below(8) === 0 ? bytes.slice(0, random.below(bytes.length)) : bytes;
      for (let flips = random.below(3); flips >= 0 && cut.length > 0; flips -= 1) cut[random.below(cut.length)] = random.below(256);
      let state: State<Store>;
      try {
        state = State.decode(cut, emptyOf(type));
      } catch (error) {
        assert.equal((error as Error).name, 'DecodeError', `${type} ${hex(cut)}: ${(error as Error).stack}`);
        continue;
      }
      read += 1;
      // What is of an unknown type is kept in another form.
      if (!state.store.hasUnknown()) assert.equal(hex(state.encode()), hex(cut), type);
      // What came from a faulty peer must not break what is done next.
      state.store.read();
      const other: State<Store> = State.decode(unhex(random.pick(states)), emptyOf(type));
      other.join(state);
      other.encode();
    }
  }
  assert.ok(read > 100);
});

test('values have their bytes and their order', () => {
  const all = lines('crdt/values.jsonl').map((line) => ({ value: valueOf(line.value), bytes: line.bytes as string }));
  for (const { value, bytes } of all) {
    const to = new Writer();
    encodeValue(value, to);
    assert.equal(hex(to.bytes()), bytes);
    const again = decodeValue(new Reader(unhex(bytes)));
    assert.equal(compareValues(again, value), 0);
  }
  all.forEach((a, at) => all.forEach((b, other) => {
    assert.equal(Math.sign(compareValues(a.value, b.value)), Math.sign(at - other));
  }));
});

test('refuses what every reader refuses', () => {
  const all = lines('crdt/refused.jsonl');
  assert.ok(all.length > 20);
  for (const { type, bytes } of all) {
    assert.throws(() => State.decode(unhex(bytes), emptyOf(type)), { name: 'DecodeError' }, bytes);
  }
});
