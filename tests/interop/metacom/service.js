// Starts the real service on a free port, and ends it with the test.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = process.env.POINTSMAN_SYNC ?? new URL('../../../target/debug/pointsman-sync', import.meta.url).pathname;

export const start = async (test, ...flags) => {
  const data = await mkdtemp(join(tmpdir(), 'pointsman-interop-'));
  const child = spawn(PROGRAM, ['serve', '--listen=127.0.0.1:0', '--drain-delay-ms=0', `--data=${data}`, ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, RUST_LOG: 'warn' },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  test.after(async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(data, { recursive: true });
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const ready = /^ready http:\/\/(\S+) replica \d+$/.exec(line);
    if (ready) return { address: ready[1], data, child, ended };
  }
  throw new Error('the service ended before it was ready');
};
