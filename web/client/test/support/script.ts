import { Document, type Json, TYPE_NAMES, type TypeName } from '../../src/crdt/index.js';
import { hex, unhex } from './vectors.js';

/** A small seeded generator (mulberry32): scripts are the same on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const VALUES: readonly Json[] = [
  null, true, 0, -7, 300, 0.25, 'a', 'ü🚂', '', [1, 'x'], { b: 1, a: [null] }, { $integer: '9007199254740993' },
  { $float: '3ff0000000000000' }, { $bytes: '00ff' }, { $record: [['$n', 1]] }, { $unknown: { bytes: '07', tag: 16 } },
];

function setVerb<K>(key: K, random: Random): { [verb: string]: K } {
  return random.below(5) < 3 ? { add: key } : { remove: key };
}

function sequenceVerb(type: TypeName, length: number, random: Random): object {
  const index = random.below(length + 1);
  if (index < length && random.below(5) < 2) return { delete: 1 + random.below(Math.min(3, length - index)), index };
  const count = 1 + random.below(3);
  const scalars = Array.from('abcdefü🚂');
  const text = Array.from({ length: count }, () => random.pick(scalars)).join('');
  const values = Array.from({ length: count }, () => random.pick(VALUES));
  return { insert: type === 'text' ? text : values, index };
}

/** A verb for a type; `reading` is what the field reads as, in JSON forms. */
function verb(type: TypeName, reading: Json | undefined, random: Random, depth: number): object {
  switch (type) {
    case 'g-counter':
      return { increment: random.below(4) };
    case 'pn-counter':
      return { increment: random.below(9) - 4 };
    case 'g-set':
      return { add: random.pick(VALUES) };
    case '2p-set':
    case 'or-set':
      return setVerb(random.pick(VALUES), random);
    case 'lww-register':
    case 'mv-register':
      return { assign: random.pick(VALUES) };
    case 'enable-wins-flag':
    case 'disable-wins-flag':
      return { set: random.below(2) === 0 };
    case '2p2p-graph':
    case 'or-graph': {
      const [from, to] = [random.below(4), random.below(4)];
      return random.below(2) === 0 ? { vertex: setVerb(from, random) } : { edge: setVerb({ from, to }, random) };
    }
    case 'list':
      return sequenceVerb(type, (reading as readonly Json[] | undefined)?.length ?? 0, random);
    case 'text':
      return sequenceVerb(type, Array.from((reading as string | undefined) ?? '').length, random);
    case 'map': {
      const key = random.pick(['a', 'b', 'ä']);
      if (random.below(5) === 0) return { remove: key };
      const inner = random.pick(depth > 1 ? TYPE_NAMES.filter((name) => name !== 'map') : TYPE_NAMES);
      const content = (reading as { [key: string]: { [type: string]: Json } } | undefined)?.[key]?.[inner];
      return { update: key, type: inner, operation: verb(inner, content, random, depth + 1) };
    }
  }
}

/** Three replicas act at random and join deltas in any order, some twice and some never. One JSON text a line. */
export function script(seed: number, steps: number): string[] {
  const random = new Random(seed);
  const schema = Object.fromEntries(TYPE_NAMES.map((type) => [type, { type }]));
  const documents = [0, 1, 2].map(() => new Document(schema));
  const deltas: string[] = [];
  const lines = [JSON.stringify({ schema })];
  for (let step = 0; step < steps; step += 1) {
    const at = random.below(3);
    const document = documents[at] as Document;
    const replica = { slot: at * 7, incarnation: 1 };
    const line: { [name: string]: unknown } = { replica: `${replica.slot}/1` };
    if (random.below(2) === 0 && deltas.length > 0) {
      line['join'] = random.pick(deltas);
      line['changed'] = [...document.join(Document.delta(unhex(line['join'] as string)))].sort();
    } else {
      const field = random.pick(TYPE_NAMES);
      const reset = random.below(25) === 0;
      const operation = { field, ...(reset ? { reset: true } : verb(field, document.readJson()[field], random, 0)) };
      line['now_ms'] = 1_700_000_000_000 + step;
      line['operation'] = operation;
      try {
        const delta = document.applyJson(operation, replica, line['now_ms'] as number);
        line['delta'] = delta === undefined ? null : hex(delta.encode());
        if (delta !== undefined) deltas.push(line['delta'] as string);
      } catch (error) {
        line['error'] = (error as Error).message;
        lines.push(JSON.stringify(line));
        continue;
      }
    }
    line['value'] = document.readJson();
    line['state'] = hex(document.state.encode());
    lines.push(JSON.stringify(line));
  }
  return lines;
}
