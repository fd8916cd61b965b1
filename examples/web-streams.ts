// Sends an archive, compressed, to a server that takes PUT, and restores it from there: by web streams.
//
//     tsx examples/web-streams.ts put http://127.0.0.1:8080/images.reftar.gz images
//     tsx examples/web-streams.ts get http://127.0.0.1:8080/images.reftar.gz /srv/restored
import { pipeline } from 'node:stream/promises'
import { CompressionStream, DecompressionStream, ReadableStream } from 'node:stream/web'
import { create, extract } from 'reftar'

const [command, url = '', ...paths] = process.argv.slice(2)

if (command === 'put') {
  const body = ReadableStream.from(create(paths)).pipeThrough(new CompressionStream('gzip'))
  check(await fetch(url, { method: 'PUT', body, duplex: 'half' }))
} else {
  const { body } = check(await fetch(url))
  if (!body) throw new Error(`${url} has no body`)
  await pipeline(body.pipeThrough(new DecompressionStream('gzip')), extract(paths[0] ?? '.'))
}

function check(response: Response): Response {
  if (response.ok) return response
  throw new Error(`${url}: ${response.status} ${response.statusText}`)
}
