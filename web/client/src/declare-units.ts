#!/usr/bin/env node
// pointsman-sync-types http://127.0.0.1:8080 > units.d.ts
import { declareUnits, structureOf } from './scaffold.js';

const { process } = globalThis as unknown as {
  process: { argv: string[]; exitCode: number; stdout: { write(text: string): void }; stderr: { write(text: string): void } };
};
const [, , url, name] = process.argv;
if (url === undefined || !/^https?:/.test(url)) {
  process.stderr.write('usage: pointsman-sync-types http://host:port [NameOfTheInterface] > units.d.ts\n');
  process.exitCode = 2;
} else {
  try {
    process.stdout.write(declareUnits(await structureOf(url), name));
  } catch (error) {
    process.stderr.write(`${url}: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
