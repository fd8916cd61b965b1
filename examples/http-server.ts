// Serves each file and directory in a directory as an archive of its own.
//
//     tsx examples/http-server.ts /srv 8080
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { create, type ReftarEvent } from 'reftar'

const [directory = '.', port = '8080'] = process.argv.slice(2)

/** Without this, a file that cannot be read would be left out, and the client would not know. */
function onEvent(event: ReftarEvent): void {
  if (event.type === 'problem') throw new Error(event.message)
}

const server = createServer(async (request, response) => {
  try {
    const name = decodeURIComponent(request.url?.slice(1) ?? '')
    const isThere = (await readdir(directory)).includes(name)
    // Whichever dies takes the other with it: where the client goes away, nothing more is read, and where the archive fails,
    // no client takes what came for all of it.
    if (isThere) await pipeline(create([name], { directory, onEvent }), response)
    else response.writeHead(404).end()
  } catch (error) {
    console.error(`${request.url}: ${error}`)
    response.destroy()
  }
})

server.listen(Number(port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
})
