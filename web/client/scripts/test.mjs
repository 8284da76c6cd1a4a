// Runs the compiled tests of one folder: node scripts/test.mjs unit | browser.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const folder = `build/test/${process.argv[2] ?? 'unit'}`;
const files = readdirSync(folder).filter((name) => name.endsWith('.test.js')).map((name) => `${folder}/${name}`);
const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', '--test-reporter=spec', ...files], { stdio: 'inherit' });
process.exit(status ?? 1);
