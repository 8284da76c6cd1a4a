// As it comes, but for idle sockets: those of the bench may be silent for longer than a minute.
import { Server } from '@hocuspocus/server'

await new Server({ address: '127.0.0.1', port: Number(process.env.PORT), quiet: true, timeout: 600_000 }).listen()
