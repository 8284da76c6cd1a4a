import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const TARGET = fileURLToPath(new URL('../../../../../target/', import.meta.url));

/** The service's own binary, where it was built. */
export function serviceBinary(): string | undefined {
  const paths = [process.env['POINTSMAN_SYNC'], `${TARGET}debug/pointsman-sync`, `${TARGET}release/pointsman-sync`];
  return paths.find((path) => path !== undefined && existsSync(path));
}

/** A running service. */
export class Service {
  private constructor(
    readonly child: ChildProcess,
    readonly http: string,
  ) {}

  static async start(...flags: string[]): Promise<Service> {
    const listen = flags.some((flag) => flag.startsWith('--listen')) ? [] : ['--listen=127.0.0.1:0'];
    const child = spawn(serviceBinary() as string, ['serve', ...listen, ...flags], { stdio: ['ignore', 'pipe', 'ignore'] });
    const address = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the service ended with ${code}`)));
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        const ready = /^ready (http:\S+) replica/.exec(line);
        if (ready !== null) resolve(ready[1] as string);
      });
    });
    return new Service(child, address);
  }

  get url(): string {
    return `${this.http.replace('http:', 'ws:')}/`;
  }

  get port(): number {
    return Number(new URL(this.http).port);
  }

  /** How many sessions it has. */
  async open(): Promise<number> {
    const response = await fetch(`${this.http}/sessions`);
    return ((await response.json()) as { open: number }).open;
  }

  stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return Promise.resolve();
    return new Promise((resolve) => {
      this.child.once('exit', () => resolve());
      this.child.kill(signal);
    });
  }
}

/** Ports that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<Server>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  })));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** One address in front of services, as a gateway is: new connections go to where `port` says. */
export class Gateway {
  port = 0;
  /** Lets no WebSocket through, as a proxy does that knows nothing of them. */
  socketsBlocked = false;
  readonly #pairs = new Set<Socket>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((near) => {
      const far = connect(this.port, '127.0.0.1');
      for (const [from, to] of [[near, far], [far, near]] as const) {
        this.#pairs.add(from);
        from.on('data', (data: Buffer) => {
          if (from === near && this.socketsBlocked && /^upgrade: websocket/im.test(data.toString('latin1'))) from.destroy();
          else to.write(data);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => {
          this.#pairs.delete(from);
          to.destroy();
        });
      }
    });
  }

  static async start(): Promise<Gateway> {
    const gateway = new Gateway();
    await new Promise<void>((resolve) => gateway.#server.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as { port: number }).port}/`;
  }

  /** Cuts every connection without a word. */
  cut(): void {
    for (const socket of this.#pairs) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
