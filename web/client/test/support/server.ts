import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

import { decodeDigest, Document, encodeDigest, type Schema } from '../../src/crdt/index.js';
import { decodePacket, encodePacket, fromPayload, type Packet, type PacketOf, toPayload } from '../../src/wire/packet.js';

const WINDOW = 256 * 1024;
const SCHEMA: Schema = {
  likes: { type: 'g-counter' }, tags: { type: 'or-set' }, title: { type: 'lww-register' }, body: { type: 'text' },
};
const UNITS = {
  chat: { say: ['text'] }, files: { upload: ['streamId', 'name'], download: ['name'] }, system: { introspect: ['units'], echo: ['value'] },
};

interface Answer {
  readonly status: number;
  readonly value: unknown;
}

/** One socket of the test server. */
class Peer {
  sequence = 0;
  readonly documents: string[] = [];
  readonly uploads = new Map<number, { name: string; size: number; parts: Buffer[]; got: number; taken: boolean; room: number }>();
  readonly sending = new Map<number, { bytes: Buffer; sent: number; window: number }>();
  nextStream = -1;

  constructor(
    readonly server: TestServer,
    readonly socket: WebSocket,
    readonly token: string,
    readonly revision: string | null,
  ) {}

  send(packet: Packet): void {
    this.socket.send(encodePacket(packet));
  }

  event(name: string, json: unknown, origin?: { slot: number; position: number }): void {
    this.sequence += 1;
    this.send({ kind: 'event', sequence: this.sequence, name, origin, payload: toPayload(json) });
  }

  delta(document: number, payload: Uint8Array): void {
    this.sequence += 1;
    this.send({ kind: 'delta', id: -this.sequence, document, payload });
  }

  drain(delayMs: number, next: string): void {
    this.send({ kind: 'drain', delayMs, next, token: this.token, slot: this.server.slot });
  }

  pump(id: number): void {
    const stream = this.sending.get(id);
    if (stream === undefined) return;
    while (stream.window > 0 && stream.sent < stream.bytes.length) {
      const end = Math.min(stream.bytes.length, stream.sent + Math.min(64 * 1024, stream.window));
      this.send({ kind: 'stream-chunk', id, payload: stream.bytes.subarray(stream.sent, end) });
      stream.window -= end - stream.sent;
      stream.sent = end;
    }
    if (stream.sent < stream.bytes.length) return;
    this.sending.delete(id);
    this.send({ kind: 'stream-end', id });
  }
}

/** A small service in the binary dialect, with what the tests want to count and to break. */
export class TestServer {
  readonly peers = new Set<Peer>();
  readonly files = new Map<string, Buffer>();
  readonly documents = new Map<string, Document>();
  /** Calls that were done, in order; a call that is answered from the record is not in here. */
  readonly done: string[] = [];
  /** Addresses of all handshakes. */
  readonly handshakes: string[] = [];
  connectionsMost = 0;
  /** Refuse sockets, as a proxy does that knows nothing of them. */
  socketsBlocked = false;
  /** Do not answer calls whose method has this name. */
  silent: string | undefined;
  /** A document that nobody may open. */
  secret: string | undefined = 'secret';
  /** Do calls of this method, and lose the answer. */
  swallowed: string | undefined;
  deltasRefused = 0;
  /** Take deltas, and lose the answer. */
  deltasSwallowed = false;
  /** Give uploads no room beyond the first window. */
  creditHeld = false;
  /** Calls that were not answered. */
  held: (() => void)[] = [];
  /** Status of answers to deltas. */
  deltaStatus = 0;
  /** Grows when writers are retired. */
  incarnation = 1;
  slot = 1;
  revision = 'blue';
  readonly #records = new Map<string, Answer>();
  readonly #writers = new Map<string, number>();
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'pointsman.v1' });
  #position = 0;
  #tokens = 0;
  /** Serves other paths, for pages. */
  page: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;

  private constructor() {
    this.#http = createServer((request, response) => void this.#answerHttp(request, response));
    this.#http.on('upgrade', (request, socket, head) => {
      if (this.socketsBlocked) {
        socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (ws) => this.#welcome(ws, request));
    });
  }

  static async start(port = 0): Promise<TestServer> {
    const server = new TestServer();
    await new Promise<void>((resolve) => server.#http.listen(port, '127.0.0.1', resolve));
    return server;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/`;
  }

  get http(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Answers what was held back. */
  release(): void {
    for (const answer of this.held.splice(0)) answer();
  }

  /** Cuts every socket without a word. */
  cut(): void {
    for (const peer of this.peers) peer.socket.terminate();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  broadcast(name: string, json: unknown): void {
    this.#position += 1;
    for (const peer of this.peers) peer.event(name, json, { slot: this.slot, position: this.#position });
  }

  /** The same event once more, as a client hears it on its old and on its new socket. */
  repeat(name: string, json: unknown): void {
    for (const peer of this.peers) peer.event(name, json, { slot: this.slot, position: this.#position });
  }

  #welcome(socket: WebSocket, request: IncomingMessage): void {
    const url = new URL(request.url ?? '/', this.http);
    this.handshakes.push(url.search);
    this.#tokens += 1;
    const known = url.searchParams.get('token');
    const token = known ?? `token-${this.#tokens}`;
    const peer = new Peer(this, socket, token, url.searchParams.get('pointsman-revision'));
    this.peers.add(peer);
    this.connectionsMost = Math.max(this.connectionsMost, this.peers.size);
    socket.on('close', () => this.peers.delete(peer));
    socket.on('message', (data: Buffer) => {
      const packet = decodePacket(new Uint8Array(data));
      if (packet !== undefined) this.#packet(peer, packet);
    });
    const greeting = { revision: this.revision, replica: this.slot, token, writer: token, resumed: known !== null };
    peer.event('session/greeting', greeting);
  }

  #packet(peer: Peer, packet: Packet): void {
    switch (packet.kind) {
      case 'ping':
        peer.send({ kind: 'pong', seen: 0 });
        break;
      case 'call':
        this.#call(peer, packet);
        break;
      case 'delta':
        this.#delta(peer, packet);
        break;
      case 'digest':
        this.#digest(peer, packet);
        break;
      default:
        this.#stream(peer, packet);
    }
  }

  #call(peer: Peer, { id, method, payload }: PacketOf<'call'>): void {
    if (method === this.silent) {
      this.held.push(() => this.#call(peer, { kind: 'call', id, method, payload }));
      return;
    }
    const place = `${peer.token}:${id}`;
    let answer = this.#records.get(place);
    if (answer === undefined) {
      answer = this.#do(peer, method, fromPayload(payload));
      // What opens and closes documents is of a socket: it is done anew on each.
      if (!method.startsWith('document/')) this.#records.set(place, answer);
    }
    if (method === this.swallowed) return;
    const result = answer.status === 0 ? toPayload(answer.value) : new TextEncoder().encode(String(answer.value));
    peer.send({ kind: 'callback', id, status: answer.status, payload: result });
  }

  #do(peer: Peer | undefined, method: string, given: unknown): Answer {
    const args = (Array.isArray(given) ? (given[0] ?? {}) : (given ?? {})) as Record<string, any>;
    this.done.push(method);
    switch (method) {
      case 'system/echo':
      case 'echo':
        return { status: 0, value: given };
      case 'system/introspect':
        return { status: 0, value: UNITS };
      case 'chat/say':
        if (typeof args['text'] !== 'string' || args['text'] === '') return { status: 400, value: 'text: give text of 1 to 16384 bytes' };
        this.broadcast('chat/message', { text: args['text'] });
        return { status: 0, value: 'ok' };
      case 'document/open':
        return peer === undefined ? { status: 400, value: 'needs a socket' } : this.#open(peer, args['name']);
      case 'document/close':
        return { status: 0, value: null };
      case 'files/upload': {
        const upload = peer?.uploads.get(args['streamId']);
        if (upload === undefined) return { status: 400, value: 'streamId: give the id of a stream that you have begun' };
        upload.name = args['name'];
        upload.taken = true;
        return { status: 0, value: 'ok' };
      }
      case 'files/download':
        return peer === undefined ? { status: 400, value: 'needs a socket' } : this.#download(peer, args['name']);
      default:
        return { status: 404, value: `there is no method ${method}` };
    }
  }

  #open(peer: Peer, name: string): Answer {
    if (name === this.secret) return { status: 403, value: 'name: you may not read this document' };
    if (!this.documents.has(name)) this.documents.set(name, new Document(SCHEMA));
    peer.documents.push(name);
    if (!this.#writers.has(peer.token)) this.#writers.set(peer.token, 100 + this.#writers.size);
    const writer = { slot: this.#writers.get(peer.token), incarnation: this.incarnation };
    return { status: 0, value: { document: peer.documents.length - 1, schema: SCHEMA, writer } };
  }

  #digest(peer: Peer, { id, document, payload }: PacketOf<'digest'>): void {
    const { state } = this.documents.get(peer.documents[document] as string) as Document;
    peer.delta(document, state.missing(decodeDigest(payload)).encode());
    peer.send({ kind: 'callback', id, status: 0, payload: encodeDigest(state.digest()) });
  }

  #delta(peer: Peer, { id, document, payload }: PacketOf<'delta'>): void {
    const answer = (status: number, text = ''): void =>
      peer.send({ kind: 'callback', id, status, payload: new TextEncoder().encode(text) });
    if (this.deltaStatus !== 0) {
      this.deltasRefused += 1;
      answer(this.deltaStatus, 'as the test wants');
      return;
    }
    const name = peer.documents[document] as string;
    const delta = Document.delta(payload.slice());
    const slot = this.#writers.get(peer.token);
    const known = (this.documents.get(name) as Document).state.context;
    const strange = delta.context.difference(known).intervals;
    if (strange.some(({ first }) => first.slot === slot && first.incarnation < this.incarnation)) {
      answer(410, 'the writer was retired');
    } else if (strange.some(({ first }) => first.slot !== slot)) {
      answer(400, 'names dots that are neither of the writer nor known');
    } else {
      this.change(name, delta.encode(), peer);
      if (!this.deltasSwallowed) answer(0);
    }
  }

  /** Joins a delta and tells everybody who has the document. */
  change(name: string, bytes: Uint8Array, but?: Peer): void {
    (this.documents.get(name) as Document).join(Document.delta(bytes));
    for (const peer of this.peers) {
      peer.documents.forEach((open, index) => {
        if (open === name && peer !== but) peer.delta(index, bytes);
      });
    }
  }

  /** A change of the server's own. */
  operate(name: string, operation: object): void {
    const document = this.documents.get(name) as Document;
    const delta = document.applyJson(operation, { slot: this.slot, incarnation: 1 }, 1_700_000_000_000);
    if (delta !== undefined) this.change(name, delta.encode());
  }

  #download(peer: Peer, name: string): Answer {
    const bytes = this.files.get(name);
    if (bytes === undefined) return { status: 404, value: `name: there is no file ${name}` };
    const id = peer.nextStream;
    peer.nextStream -= 1;
    peer.sending.set(id, { bytes, sent: 0, window: WINDOW });
    peer.send({ kind: 'stream-init', id, size: bytes.length, name });
    peer.pump(id);
    return { status: 0, value: { streamId: id } };
  }

  #stream(peer: Peer, packet: Packet): void {
    if (packet.kind === 'stream-init') {
      peer.uploads.set(packet.id, { name: packet.name, size: packet.size, parts: [], got: 0, taken: false, room: WINDOW });
    } else if (packet.kind === 'stream-chunk') {
      const upload = peer.uploads.get(packet.id);
      if (upload === undefined) return;
      upload.parts.push(Buffer.from(packet.payload));
      upload.got += packet.payload.length;
      upload.room -= packet.payload.length;
      if (upload.room < 0) {
        peer.uploads.delete(packet.id);
        peer.send({ kind: 'stream-abort', id: packet.id, status: 400, reason: 'more bytes than the credit' });
      } else if (!this.creditHeld) {
        upload.room += packet.payload.length;
        peer.send({ kind: 'credit', id: packet.id, bytes: packet.payload.length });
      }
    } else if (packet.kind === 'stream-end') {
      const upload = peer.uploads.get(packet.id);
      if (upload?.taken === true && upload.got === upload.size) this.files.set(upload.name, Buffer.concat(upload.parts));
    } else if (packet.kind === 'stream-abort') {
      peer.sending.delete(packet.id);
      peer.uploads.delete(packet.id);
    } else if (packet.kind === 'credit') {
      const stream = peer.sending.get(packet.id);
      if (stream === undefined) return;
      stream.window += packet.bytes;
      peer.pump(packet.id);
    }
  }

  async #answerHttp(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', this.http);
    const answer = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (pathname === '/api' && request.method === 'GET') {
      answer(200, UNITS);
    } else if (pathname.startsWith('/api/') && request.method === 'POST') {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const { status, value } = this.#do(undefined, pathname.slice(5), JSON.parse(Buffer.concat(parts).toString() || '[]'));
      answer(status === 0 ? 200 : status, status === 0 ? value : { message: value });
    } else if (this.page !== undefined) {
      this.page(request, response);
    } else {
      answer(404, { message: 'nothing here' });
    }
  }
}
