// Builds the library into dist/ (with types), and everything with tests into build/.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
rmSync('build', { recursive: true, force: true });
rmSync('dist', { recursive: true, force: true });
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], { stdio: 'inherit' });
cpSync('build/src', 'dist', { recursive: true });
if (existsSync('src/hub-worker.ts')) {
  const { build } = await import('esbuild');
  const common = { bundle: true, format: 'esm', target: 'es2022', legalComments: 'none', logLevel: 'warning' };
  await build({ ...common, entryPoints: ['build/src/hub-worker.js'], outfile: 'dist/browser/hub-worker.js', minify: true });
  await build({ ...common, entryPoints: ['build/src/index.js'], outfile: 'dist/browser/pointsman-sync.js' });
}
