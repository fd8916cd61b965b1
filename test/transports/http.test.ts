// Archives through HTTP, as the examples serve and fetch them, and what dies half-way.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { compareTrees } from '../support/compare-trees.js'
import { type Example, example, startExample } from '../support/example.js'
import { regularFiles, sharingKept } from '../support/fiemap.js'
import { testDirectory } from '../support/filesystems.js'
import { relay } from '../support/relay.js'
import { MIB, noise, reflink, sourceAndTarget } from '../support/trees.js'

process.umask(0o022)

interface Place {
  readonly source: string
  readonly target: string
  readonly server: Example & { readonly port: number }
}

/** A server of a directory `images`. */
async function place(t: Test): Promise<Place | undefined> {
  const directory = testDirectory(t, 'xfs')
  if (directory === undefined) return undefined
  const { source, target } = sourceAndTarget(directory)
  const images = join(source, 'images')
  fs.mkdirSync(images)
  for (const name of ['a', 'b', 'c']) fs.writeFileSync(join(images, name), noise(8 * MIB + 3, name))
  reflink(join(images, 'a'), join(images, 'd'))
  const started = startExample('http-server', [source, '0'])
  t.teardown(() => void started.child.kill())
  const [line] = await once(started.child.stdout, 'data')
  return { source, target, server: { ...started, port: Number(new URL(String(line)).port) } }
}

function url(port: number): string {
  return `http://127.0.0.1:${port}/images`
}

/** What a process has open below a directory. */
function openFiles({ child }: Example, directory: string): string[] {
  const fds = `/proc/${child.pid}/fd`
  return fs.readdirSync(fds).flatMap(fd => {
    try {
      return fs.readlinkSync(join(fds, fd)).startsWith(directory) ? fd : []
    } catch {
      return []
    }
  })
}

t.test('a directory is served, and restored', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, server } = scene
  t.match(await example('http-client', [url(server.port), target]), { code: 0, stderr: '' })
  execFileSync('sync', ['--file-system', target])
  t.same(compareTrees(source, target), [])
  const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
  t.ok(sourceShared > 8 * MIB, `${sourceShared} bytes are shared`)
  t.equal(keptShared, sourceShared, 'all sharing kept')
  t.same(openFiles(server, source), [], 'and nothing is left open')
})

t.test('only what is in the directory is served', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, server } = scene
  fs.mkdirSync(join(source, '..', 'secret'))
  for (const path of ['', 'none', '..', '%2e%2e', '../secret', '%2e%2e%2fsecret', 'images/a', 'images%2fa']) {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ host: '127.0.0.1', port: server.port, path: `/${path}` }, resolve).on('error', reject)
    })
    t.equal(response.resume().statusCode, 404, path)
  }
  const request = get({ host: '127.0.0.1', port: server.port, path: '/%' })
  t.match(await once(request, 'error'), [{ code: 'ECONNRESET' }], 'and what is no name is none')
})

t.test('a file that cannot be archived: the client fails, and nothing is published', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, server } = scene
  execFileSync('truncate', ['-s', '4E', join(source, 'images/too-large')])
  const ended = await example('http-client', [url(server.port), target])
  t.match(ended, { code: 1, stderr: /terminated|closed|ECONNRESET/ })
  t.same(fs.readdirSync(target), [])
  server.child.kill()
  t.match((await server.ended).stderr, /'images\/too-large': left out: its size is/)
})

t.test('a server that dies: nothing is published', async t => {
  for (const moment of [1, 12 * MIB]) {
    const scene = await place(t)
    if (!scene) return
    const { target, server } = scene
    let isStruck = false
    const relayed = await relay(t, server.port, async ({ down }) => {
      if (isStruck || down < moment) return
      isStruck = true
      server.child.kill('SIGKILL')
      await server.ended
    })
    const ended = await example('http-client', [url(relayed.port), target])
    t.match(ended, { code: 1, stderr: /terminated|closed|ECONNRESET/ }, `after ${moment} bytes`)
    t.same(fs.readdirSync(target), [], `after ${moment} bytes`)
  }
})

t.test('a client that goes away: the archive ends, and nothing is left open', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, server } = scene
  for (const moment of [0, 1, 12 * MIB]) {
    for (const isPatient of [true, false]) {
      const what = `after ${moment} bytes, ${isPatient ? 'waiting' : 'reading'}`
      const request = get(url(server.port)).on('error', () => undefined)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      response.on('error', () => undefined)
      let read = 0
      for (; read < moment; ) read += ((response.read() ?? (await readable(response))) as Buffer).byteLength
      // The server waits, too, with files open.
      if (isPatient) while (openFiles(server, source).length === 0) await setTimeout(5)
      response.destroy()
      while (openFiles(server, source).length > 0) await setTimeout(5)
      t.pass(`${what}: everything is closed`)
    }
  }
  t.match(await example('http-client', [url(server.port), target]), { code: 0 }, 'and it goes on serving')
  t.equal(server.child.exitCode, null)
  server.child.kill()
  t.match((await server.ended).stderr, /\/images: Error.*Premature close/)
})

async function readable(response: IncomingMessage): Promise<Buffer> {
  await once(response, 'readable')
  return response.read() ?? Buffer.alloc(0)
}
