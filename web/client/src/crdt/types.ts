import { GCounter, PnCounter } from './counter.js';
import { DisableWinsFlag, EnableWinsFlag } from './flag.js';
import { OrGraph, TwoPhaseGraph } from './graph.js';
import { CrdtMap } from './map.js';
import { LwwRegister, MvRegister } from './register.js';
import { List, Text } from './sequence.js';
import { GSet, OrSet, TwoPhaseSet } from './set.js';
import type { Store } from './store.js';

/** Names of types in schemas. */
export const TYPE_NAMES = [
  'g-counter', 'pn-counter', 'g-set', '2p-set', 'or-set', 'lww-register', 'mv-register', 'enable-wins-flag',
  'disable-wins-flag', 'map', '2p2p-graph', 'or-graph', 'list', 'text',
] as const;
/** Name of a type in schemas. */
export type TypeName = (typeof TYPE_NAMES)[number];

// Functions, because maps hold maps: the classes are not all there when this module is loaded.
const MAKERS: Record<TypeName, () => Store> = {
  'g-counter': () => new GCounter(),
  'pn-counter': () => new PnCounter(),
  'g-set': () => new GSet(),
  '2p-set': () => new TwoPhaseSet(),
  'or-set': () => new OrSet(),
  'lww-register': () => new LwwRegister(),
  'mv-register': () => new MvRegister(),
  'enable-wins-flag': () => new EnableWinsFlag(),
  'disable-wins-flag': () => new DisableWinsFlag(),
  map: () => new CrdtMap(),
  '2p2p-graph': () => new TwoPhaseGraph(),
  'or-graph': () => new OrGraph(),
  list: () => new List(),
  text: () => new Text(),
};

/** Tags are places in the list of names, from 1. */
export function typeOfTag(tag: number): TypeName | undefined {
  return TYPE_NAMES[tag - 1];
}

export function tagOfType(name: string): number | undefined {
  const at = (TYPE_NAMES as readonly string[]).indexOf(name);
  return at < 0 ? undefined : at + 1;
}

/** Nothing yet, of a type that this version knows. */
export function emptyStore(tag: number): Store | undefined {
  const name = typeOfTag(tag);
  return name === undefined ? undefined : MAKERS[name]();
}

export function emptyOf(name: TypeName): Store {
  return MAKERS[name]();
}
