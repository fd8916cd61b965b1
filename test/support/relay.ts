// Hands connections on to a server, and knows how much has passed.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

export interface Relay {
  readonly port: number
  /** The first lines of the requests that passed, as of HTTP. */
  readonly requests: string[]
}

/** In bytes, of all connections: to the server, and from it. */
export interface Passed {
  up: number
  down: number
}

/**
 * Until the test ends.
 *
 * @param onPassed - called after each piece; while it works, nothing more passes on that connection
 */
export async function relay(
  t: { teardown(handler: () => void): unknown },
  to: number,
  onPassed: (passed: Readonly<Passed>) => void | Promise<void>,
): Promise<Relay> {
  const requests: string[] = []
  const passed: Passed = { up: 0, down: 0 }
  const sockets = new Set<Socket>()

  function handOn(from: Socket, to: Socket, way: keyof Passed): void {
    sockets.add(from)
    from.on('error', () => to.destroy())
    from.on('end', () => to.end())
    from.on('close', () => sockets.delete(from))
    from.on('data', async bytes => {
      if (way === 'up') requests.push(...(bytes.toString('latin1').match(/^[A-Z]+ \S+(?= HTTP)/gm) ?? []))
      from.pause()
      if (!to.write(bytes)) await Promise.race([once(to, 'drain'), once(to, 'close')]).catch(() => undefined)
      passed[way] += bytes.byteLength
      await onPassed(passed)
      from.resume()
    })
  }

  const server = createServer(client => {
    const upstream = connect(to, '127.0.0.1')
    handOn(client, upstream, 'up')
    handOn(upstream, client, 'down')
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  await once(server, 'listening')
  return { port: (server.address() as { port: number }).port, requests }
}
