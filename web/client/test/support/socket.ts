import { WebSocket } from 'ws';

import type { SocketMaker } from '../../src/index.js';

/** Sockets of the package `ws`, which by default waits 30 s for the other end's farewell and keeps the tests from ending. */
export const socket: SocketMaker = (url, subprotocol) => new WebSocket(url, subprotocol, { closeTimeout: 200 } as object) as any;
