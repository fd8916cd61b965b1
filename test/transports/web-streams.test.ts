// Archives through web streams: the example, which sends and fetches them by HTTP, and what dies half-way.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { CompressionStream, ReadableStream } from 'node:stream/web'
import t, { type Test } from 'tap'
import { create } from '../../src/create.js'
import { extract } from '../../src/extract.js'
import { compareTrees } from '../support/compare-trees.js'
import { example } from '../support/example.js'
import { regularFiles, sharingKept } from '../support/fiemap.js'
import { testDirectory } from '../support/filesystems.js'
import {
  archive,
  descriptorsAfter,
  MIB,
  noise,
  reflink,
  settledDescriptors,
  sourceAndTarget,
} from '../support/trees.js'

process.umask(0o022)

/** A server that keeps what is put there, once it is complete. */
class Store {
  kept: Buffer | undefined
  /** How it gives what it has. */
  give = (response: ServerResponse, kept: Buffer): void => void response.end(kept)
  /** Of the requests that ended too early. */
  readonly aborted: string[] = []
  readonly #server = createServer((request, response) => void this.#answer(request, response))

  async start(t: Test): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    t.teardown(() => {
      this.#server.close()
      this.#server.closeAllConnections()
    })
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}/images.reftar.gz`
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'PUT') {
      if (this.kept) this.give(response, this.kept)
      else response.writeHead(404).end()
      return
    }
    try {
      this.kept = await buffer(request)
      response.writeHead(201).end()
    } catch (error) {
      this.aborted.push((error as NodeJS.ErrnoException).code ?? '')
    }
  }
}

interface Place {
  readonly source: string
  readonly target: string
  readonly store: Store
  readonly url: string
}

async function place(t: Test): Promise<Place | undefined> {
  const directory = testDirectory(t, 'btrfs')
  if (directory === undefined) return undefined
  const { source, target } = sourceAndTarget(directory)
  for (const name of ['a', 'b', 'c']) fs.writeFileSync(join(source, name), noise(4 * MIB + 3, name))
  reflink(join(source, 'a'), join(source, 'd'))
  const store = new Store()
  return { source, target, store, url: await store.start(t) }
}

t.test('put, and got', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, url } = scene
  t.match(await example('web-streams', ['get', url, target]), { code: 1, stderr: /404 Not Found/ }, 'nothing')
  t.match(await example('web-streams', ['put', url, '.'], { cwd: source }), { code: 0, stderr: '' }, 'put')
  t.match(await example('web-streams', ['get', url, target]), { code: 0, stderr: '' }, 'got')
  execFileSync('sync', ['--file-system', target])
  t.same(compareTrees(source, target), [])
  const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
  t.ok(sourceShared > 4 * MIB, `${sourceShared} bytes are shared`)
  t.equal(keptShared, sourceShared, 'all sharing kept')
})

t.test('a source that fails: the server has nothing', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, store, url } = scene
  const ended = await example('web-streams', ['put', url, 'a', 'nothing'], { cwd: source })
  t.match(ended, { code: 1, stderr: /fetch failed|SYSTEM_CALL/ })
  t.equal(store.kept, undefined)
})

t.test('a server that gives less, or something else: nothing is published', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, store, url } = scene
  t.match(await example('web-streams', ['put', url, '.'], { cwd: source }), { code: 0 })
  const whole = store.kept as Buffer
  const damaged = Buffer.from(whole)
  damaged.writeUInt8(whole.readUInt8(6 * MIB) ^ 1, 6 * MIB)
  const cases: Record<string, Store['give']> = {
    'dies after the first byte': response => {
      response.writeHead(200, { 'content-length': whole.byteLength })
      response.write(whole.subarray(0, 1), () => response.destroy())
    },
    'dies in the middle': response => {
      response.write(whole.subarray(0, 6 * MIB), () => response.destroy())
    },
    'ends too early': response => void response.end(whole.subarray(0, -1)),
    'has another bit': response => void response.end(damaged),
  }
  for (const [what, give] of Object.entries(cases)) {
    store.give = give
    const ended = await example('web-streams', ['get', url, target])
    t.match(ended, { code: 1, stderr: /Error/ }, what)
    t.same(fs.readdirSync(target), [], `${what}: nothing is published`)
  }
})

t.test('a web stream of an archive that is cancelled closes all that is open', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source } = scene
  const before = await settledDescriptors()
  for (const make of [
    () => ReadableStream.from(create(['.'], { directory: source })),
    () =>
      ReadableStream.from(create(['.'], { directory: source })).pipeThrough(new CompressionStream('gzip')),
  ]) {
    for (const count of [0, 1, 3]) {
      const reader = make().getReader()
      for (let i = 0; i < count; i++) await reader.read()
      await reader.cancel()
      t.equal(await descriptorsAfter(before), before, `after ${count}`)
    }
  }
})

t.test('a target that fails cancels the web stream before it', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target } = scene
  const { bytes } = await archive(['.'], { directory: source })
  fs.writeFileSync(join(target, 'a'), 'in the way')
  let isCancelled = false
  const stream = new ReadableStream<Uint8Array>({
    start: controller => controller.enqueue(Uint8Array.from(bytes.subarray(0, 9 * MIB))),
    cancel: () => {
      isCancelled = true
    },
  })
  await t.rejects(pipeline(stream, extract(target)), { code: 'TARGET_EXISTS' })
  t.ok(isCancelled)
  t.same(fs.readdirSync(target), ['a'])
})
