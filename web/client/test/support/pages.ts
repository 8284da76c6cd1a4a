import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';

const DIST = fileURLToPath(new URL('../../../dist/browser/', import.meta.url));
const PAGE = '<!doctype html><meta charset="utf-8"><title>tab</title>';

/** What the page's own script offers; `client` is made by `open`. */
export interface PageOptions {
  readonly url: string;
  readonly http?: string;
  readonly worker?: string | undefined;
  readonly offline?: boolean;
}

export function chromium(): string | undefined {
  const paths = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/google-chrome', '/usr/bin/chromium-browser'];
  return paths.find((path) => path !== undefined && existsSync(path));
}

export function launch(): Promise<Browser> {
  const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-timer-throttling', '--disable-gpu'];
  return puppeteer.launch({ executablePath: chromium() as string, args });
}

/** Serves an empty page, the bundle of the client and that of the worker. */
export function servePage(request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? '/', 'http://page');
  const script = /^\/(pointsman-sync|hub-worker)\.js$/.exec(pathname);
  if (script !== null) {
    response.writeHead(200, { 'content-type': 'text/javascript' });
    response.end(readFileSync(`${DIST}${script[1]}.js`));
  } else if (pathname === '/') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(PAGE);
  } else {
    response.writeHead(404);
    response.end();
  }
}

/** Pages on an address of their own, for services that serve none. */
export async function pageServer(): Promise<{ address: string; server: Server }> {
  const server = createServer(servePage);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

/** Opens a tab with a client; `prepare` runs in the page before anything else. */
export async function openTab(browser: Browser, address: string, options: PageOptions, prepare?: string): Promise<Page> {
  const page = await browser.newPage();
  if (prepare !== undefined) await page.evaluateOnNewDocument(prepare);
  await page.goto(address);
  await page.evaluate(async (given) => {
    const path = '/pointsman-sync.js';
    const { Client } = await import(path);
    const begun = performance.now();
    const tab = globalThis as any;
    tab.heard = [];
    tab.states = [];
    tab.client = new Client(given.url, given);
    tab.client.onState((state: string) => tab.states.push([state, performance.now() - begun]));
    tab.client.on('*', (data: unknown, name: string) => tab.heard.push([name, data]));
  }, options as any);
  return page;
}

/** Runs text in the page, in which `client` is the client. */
export function inTab<T>(page: Page, script: string): Promise<T> {
  return page.evaluate(`(async () => { ${script} })()`) as Promise<T>;
}

/** What of the tab is in that state. */
export function waitForState(page: Page, state: string): Promise<unknown> {
  return inTab(page, `await client.until(${JSON.stringify(state)}); return true`);
}

/** Milliseconds until the state was reached for the first time. */
export function timeTo(page: Page, state: string): Promise<number> {
  return inTab(page, `return states.find(([state]) => state === ${JSON.stringify(state)})[1]`);
}
