// Restores an archive from a server: all of it, or nothing where the connection dies.
//
//     tsx examples/http-client.ts http://127.0.0.1:8080/images /srv/restored
import { pipeline } from 'node:stream/promises'
import { extract } from 'reftar'

const [url = '', directory = '.'] = process.argv.slice(2)

const response = await fetch(url)
if (!response.ok || !response.body) throw new Error(`${url}: ${response.status} ${response.statusText}`)
await pipeline(response.body, extract(directory))
