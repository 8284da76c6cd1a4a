import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Document, emptyOf, type SequenceOperation, State, type Store, Text } from '../../src/crdt/index.js';
import { Random } from '../support/script.js';

const A = { slot: 0, incarnation: 1 };
const B = { slot: 7, incarnation: 1 };

function replica(): State<Text> {
  return new State(new Text());
}

function type(state: State<Text>, by: typeof A, operation: SequenceOperation<string>): State<Text> {
  return state.update(by, operation) as State<Text>;
}

test('of right siblings the one whose right origin is further right comes first', () => {
  const [one, two] = [replica(), replica()];
  for (const operation of [{ index: 0, insert: 'R' }, { index: 0, insert: 'L' }]) two.join(type(one, A, operation));
  // A types between L and R; B, who deleted R, at the end: by dots alone A would come first.
  const first = type(one, A, { index: 1, insert: 'a' });
  const deletion = type(two, B, { index: 1, delete: 1 });
  const second = type(two, B, { index: 1, insert: 'b' });
  one.join(deletion);
  one.join(second);
  two.join(first);
  assert.equal(one.store.read(), 'Lba');
  assert.equal(two.store.read(), 'Lba');
});

test('runs that are typed forwards or backwards at once do not interleave', () => {
  for (const backwards of [false, true]) {
    const [one, two] = [replica(), replica()];
    two.join(type(one, A, { index: 0, insert: '()' }));
    const at = (index: number): number => 1 + (backwards ? 0 : index);
    const deltas = [0, 1, 2].flatMap((index) => [
      type(one, A, { index: at(index), insert: 'a' }), type(two, B, { index: at(index), insert: 'b' }),
    ]);
    for (const delta of deltas) for (const state of [one, two]) state.join(delta);
    assert.equal(one.store.read(), two.store.read());
    assert.match(one.store.read() as string, /^\((aaabbb|bbbaaa)\)$/);
  }
});

test('increments build what a reader builds at once, whatever arrived first', () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = new Random(seed);
    const states = [0, 1, 2].map(replica);
    const deltas: State<Text>[] = [];
    for (let step = 0; step < 60; step += 1) {
      const at = random.below(3);
      const state = states[at] as State<Text>;
      if (random.below(2) === 0 && deltas.length > 0) {
        state.join(random.pick(deltas));
      } else {
        const { length } = state.store;
        const index = random.below(length + 1);
        const operation = index < length && random.below(3) === 0
          ? { index, delete: 1 + random.below(Math.min(4, length - index)) }
          : { index, insert: 'xyz'.slice(0, 1 + random.below(3)) };
        deltas.push(type(state, { slot: at * 7, incarnation: 1 }, operation));
      }
      assert.equal(state.store.rebuilt().read(), state.store.read(), `seed ${seed} step ${step}`);
    }
    for (const state of states) for (const delta of deltas) state.join(delta);
    assert.equal(new Set(states.map((state) => state.store.read())).size, 1, `seed ${seed}`);
  }
});

test('a long text with many runs reads as a plain array does, and as it is built at once', () => {
  const random = new Random(5);
  const [one, two] = [replica(), replica()];
  const model: string[] = [];
  for (let step = 0; step < 3_000; step += 1) {
    const index = random.below(model.length + 1);
    const isDeletion = index < model.length && random.below(4) === 0;
    const letter = String.fromCharCode(97 + random.below(26));
    model.splice(index, isDeletion ? 1 : 0, ...(isDeletion ? [] : [letter]));
    two.join(type(one, A, isDeletion ? { index, delete: 1 } : { index, insert: letter }));
    // Now and then the other one edits at once, in places with other right origins.
    if (step % 10 === 0) {
      const at = random.below(model.length + 1);
      model.splice(at, 0, '-');
      one.join(type(two, B, { index: at, insert: '-' }));
    }
  }
  assert.equal(one.store.read(), model.join(''));
  assert.equal(two.store.read(), model.join(''));
  const forks = [replica(), replica()] as const;
  for (const fork of forks) fork.join(one);
  const deltas = forks.flatMap((fork, at) => Array.from({ length: 600 }, () => {
    const { length } = fork.store;
    const index = random.below(length);
    return type(fork, at === 0 ? A : B, random.below(3) === 0 ? { index, delete: 1 } : { index, insert: 'xy' });
  }));
  for (const fork of forks) for (const delta of deltas) fork.join(delta);
  assert.equal(forks[0].store.read(), forks[1].store.read());
  assert.equal(forks[0].store.rebuilt().read(), forks[0].store.read());
});

test('a deletion that came first learns its place from a state that has both', () => {
  const one = replica();
  type(one, A, { index: 0, insert: 'abc' });
  const deletion = type(one, B, { index: 0, delete: 3 });
  const late = replica();
  late.join(deletion);
  late.join(one);
  assert.deepEqual(late.encode(), one.encode());
});

test('anchors stay with their elements', () => {
  const state = replica();
  type(state, A, { index: 0, insert: 'abc' });
  const anchor = state.store.anchor(1);
  assert.ok(anchor !== undefined);
  type(state, B, { index: 0, insert: '>>' });
  assert.equal(state.store.indexOf(anchor), 3);
  type(state, B, { index: 3, delete: 1 });
  assert.equal(state.store.indexOf(anchor), 3, 'where it was');
  assert.equal(state.store.isVisible(anchor), false);
});

test('the successor of a retired writer carries its counts on', () => {
  const counter = new State<Store>(emptyOf('g-counter'));
  counter.update(A, 3);
  counter.retire(A);
  counter.update({ slot: 0, incarnation: 2 }, 4);
  assert.equal(counter.store.read(), 7n);
  const { length } = counter.encode();
  assert.ok(length < 12, 'one entry is left');
  assert.throws(() => counter.update(A, 1), { code: 'retired' });
});

test('values and nesting that readers would refuse are refused before they are written', () => {
  const document = new Document({ tags: { type: 'or-set' }, deep: { type: 'map' } });
  const refused: unknown[] = ['\ud800', 2n ** 63n, undefined, () => {}, new Date(), [['x', Symbol('x')]], { a: undefined }];
  for (const value of refused) {
    assert.throws(() => document.apply({ field: 'tags', add: value } as never, A, 0), { name: 'OperationError', code: 'bad-argument' });
  }
  let deep: unknown = 1;
  for (let depth = 0; depth < 33; depth += 1) deep = [deep];
  assert.throws(() => document.apply({ field: 'tags', add: deep } as never, A, 0), /nested deeper/);
  let operation: object = { increment: 1 };
  for (let depth = 0; depth < 17; depth += 1) operation = { update: 'a', type: depth === 0 ? 'g-counter' : 'map', operation };
  assert.throws(() => document.apply({ field: 'deep', ...operation } as never, A, 0), { code: 'limit' });
  assert.ok(document.state.isBottom);
});

test('text is ordered by code points, as its bytes are', () => {
  const document = new Document({ tags: { type: 'g-set' } });
  for (const tag of ['🚂', '\uffff', 'ä', 'a']) document.apply({ field: 'tags', add: tag }, A, 0);
  assert.deepEqual(document.get('tags'), ['a', 'ä', '\uffff', '🚂']);
  assert.deepEqual(Document.decode(document.schema, document.state.encode()).get('tags'), document.get('tags'));
});

test('types and fields that this version does not know are kept, joined and relayed', () => {
  // A map with `x` of type 99 (bytes 0102) beside a counter, as a newer version writes it.
  const newer = Uint8Array.from([0x2a, 0x01, 0x00, 0x03, 0x00, 0x01, 0x78, 0x5f, 0x63, 0x01, 0x02]);
  const document = new Document({ likes: { type: 'g-counter' } });
  document.apply({ field: 'likes', increment: 2 }, B, 0);
  assert.deepEqual([...document.join(Document.delta(newer))], ['x']);
  assert.equal(document.get('likes'), 2);
  const relayed = Document.decode(document.schema, document.state.encode());
  assert.deepEqual(relayed.state.encode(), document.state.encode());
  relayed.join(Document.delta(newer));
  assert.deepEqual(relayed.state.encode(), document.state.encode(), 'the same again changes nothing');
  // Whoever knows the type has to know of states without the field: of the first, and of one that comes later.
  const hex = (of: { state: State<Store> }): string => Buffer.from(of.state.encode()).toString('hex');
  assert.ok(hex(relayed).includes('01380102' + '01' + '01000300' + '020102'), 'absent in 7/1.1, once, as it came');
  const later = new Document({ likes: { type: 'g-counter' } });
  relayed.join(later.apply({ field: 'likes', increment: 1 }, { slot: 14, incarnation: 1 }, 0) as never);
  assert.ok(hex(relayed).includes('02380102300102' + '01' + '01000300' + '020102'), 'absent in 14/1.1 too');
});
