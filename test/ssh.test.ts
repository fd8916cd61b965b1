// Archives through a real sshd, both ways, and connections that die half-way.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { shell } from './cli/run.js'
import { lostSharing } from './support/compare-storage.js'
import { compareTrees } from './support/compare-trees.js'
import { regularFiles, sharingKept } from './support/fiemap.js'
import { type FilesystemName, testDirectory } from './support/filesystems.js'
import { childrenOf, type SshServer, sshServer } from './support/ssh-server.js'
import { KIB, MIB, noise, overwrite, reflink, sourceAndTarget, sparse } from './support/trees.js'

process.umask(0o022)

const SHARED = 3 * 8 * MIB

/** A template and what was cloned from it, among what else there is; more than `SHARED` bytes are shared. */
function fill(source: string): void {
  const [template, images] = [join(source, 'template'), join(source, 'images')]
  fs.writeFileSync(template, noise(8 * MIB + 777, 'template'))
  fs.mkdirSync(images, { mode: 0o750 })
  for (const name of ['a', 'b', 'c', 'd']) reflink(template, join(images, name))
  overwrite(join(images, 'b'), 2 * MIB, noise(64 * KIB, 'changed'))
  fs.truncateSync(join(images, 'c'), 5 * MIB)
  fs.linkSync(join(images, 'd'), join(source, 'hard'))
  fs.symlinkSync('../template', join(images, 'link'))
  sparse(join(source, 'sparse'), 4 * MIB, [MIB, noise(10 * KIB, 'sparse')])
  fs.writeFileSync(join(source, 'large'), noise(12 * MIB, 'large'))
  fs.utimesSync(images, 1_000_000_000, 1_000_000_000.5)
}

function checkRestored(t: Test, source: string, target: string): void {
  execFileSync('sync', ['--file-system', source, target])
  t.same(compareTrees(source, target), [], 'equal trees')
  const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
  t.ok(sourceShared > SHARED, `${sourceShared} bytes are shared`)
  t.equal(keptShared, sourceShared, 'all sharing kept')
  t.same(lostSharing(source, target), [], 'block by block')
}

const DIRECTIONS = {
  'to the host': (host: string, source: string, target: string) =>
    `reftar create -C ${source} . | ${host} 'reftar extract -C ${target}'`,
  'from the host': (host: string, source: string, target: string) =>
    `${host} 'reftar create -C ${source} .' | reftar extract -C ${target}`,
}

for (const [from, to] of [
  ['btrfs', 'xfs'],
  ['xfs', 'btrfs'],
] as const satisfies [FilesystemName, FilesystemName][]) {
  t.test(`from ${from} to ${to}`, async t => {
    const [sourceDirectory, targetDirectory] = [testDirectory(t, from), testDirectory(t, to)]
    const server = await sshServer(t)
    if (!sourceDirectory || !targetDirectory || !server) return
    const source = join(sourceDirectory, 'source')
    fs.mkdirSync(source)
    fill(source)
    for (const [direction, command] of Object.entries(DIRECTIONS)) {
      const target = join(targetDirectory, direction.replaceAll(' ', '-'))
      fs.mkdirSync(target)
      const script = command(`ssh -F ${server.config} target`, source, target)
      const ended = await shell(`PATH=${server.bin}:$PATH; ${script}`)
      t.match(ended, { code: 0, stderr: '' }, script)
      await t.test(direction, async t => checkRestored(t, source, target))
    }
  })
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>

interface Place {
  readonly server: SshServer
  readonly source: string
  readonly target: string
}

interface Connection {
  readonly ssh: Child
  /** The pids of what serves the connection, and of the command that it runs. */
  readonly session: number
  readonly command: number
}

/** Who dies, and how ssh ends then. */
const VICTIMS: Record<string, { readonly strike: (connection: Connection) => void; readonly end: End }> = {
  'the client of ssh': { strike: ({ ssh }) => void ssh.kill('SIGKILL'), end: 'SIGKILL' },
  'the session of sshd': { strike: ({ session }) => void process.kill(session, 'SIGKILL'), end: 255 },
  'the command on the host': { strike: ({ command }) => void process.kill(command, 'SIGKILL'), end: 137 },
}

/** In bytes that have gone through: before the archive, in its header, and in the middle of it. */
const MOMENTS = [0, 100, 10 * MIB]

/** How a process ended: its status, or the signal. */
type End = number | NodeJS.Signals | null

function start(
  command: string,
  ...argv: readonly string[]
): { readonly child: Child; readonly ended: Promise<End> } {
  // The instrumentation of the test runner is not for these processes.
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(command, argv, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  child.stderr.resume()
  return {
    child,
    ended: new Promise(resolve => child.once('close', (code, signal) => resolve(code ?? signal))),
  }
}

/** The exit status of the command goes to a file as well: nobody may be left to hear of it. */
function onHost({ server, target }: Place, command: string) {
  return start('ssh', '-F', server.config, 'target', `trap 'echo $? > ${target}.status' EXIT; ${command}`)
}

async function statusOnHost({ target }: Place): Promise<number> {
  const file = `${target}.status`
  while (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') === '') await setTimeout(5)
  return Number(fs.readFileSync(file, 'utf8'))
}

/** What serves the only connection, and the command that its shell runs, once they are there. */
async function connected({ server }: Place): Promise<Omit<Connection, 'ssh'>> {
  for (;;) {
    const [session] = server.sessions()
    const [login] = session === undefined ? [] : childrenOf(session)
    const command = (login === undefined ? [] : childrenOf(login)).find(isNode)
    if (session !== undefined && command !== undefined) return { session, command }
    await setTimeout(5)
  }
}

/** A login shell may start others before. */
function isNode(pid: number): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('node\0')
  } catch {
    return false
  }
}

/** Lets so many bytes through, does something, and lets the rest follow. */
function after(count: number, act: () => void | Promise<void>) {
  return async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let left = count
    for await (const chunk of chunks) {
      if (left === Number.POSITIVE_INFINITY || chunk.byteLength <= left) {
        left -= chunk.byteLength
        yield chunk
        continue
      }
      yield chunk.subarray(0, left)
      await act()
      yield chunk.subarray(left)
      left = Number.POSITIVE_INFINITY
    }
  }
}

async function place(t: Test): Promise<Place | undefined> {
  const [directory, server] = [testDirectory(t, 'xfs'), await sshServer(t)]
  if (!directory || !server) return undefined
  const { source, target } = sourceAndTarget(directory)
  fill(source)
  return { server, source, target }
}

function checkNothingIsVisible(t: Test, { target }: Place, what: string): void {
  const staging = fs.readdirSync(target).filter(name => name.startsWith('.reftar-'))
  t.same(fs.readdirSync(target), staging, `${what}: nothing is published`)
}

t.test('a connection to the host that dies', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, server } = scene
  for (const [who, { strike, end }] of Object.entries(VICTIMS)) {
    for (const moment of MOMENTS) {
      const what = `${who}, after ${moment} bytes`
      fs.rmSync(`${target}.status`, { force: true })
      const ssh = onHost(scene, `reftar extract -C ${target}`)
      const connection = { ssh: ssh.child, ...(await connected(scene)) }
      const create = start(join(server.bin, 'reftar'), 'create', '-C', source, '.')
      const piping = pipeline(
        create.child.stdout,
        after(moment, async () => {
          strike(connection)
          await ssh.ended
        }),
        ssh.child.stdin,
      )
      await t.rejects(piping, { code: /EPIPE|ERR_STREAM_PREMATURE_CLOSE/ }, `${what}: nobody reads`)
      t.equal(await create.ended, 2, `${what}: create`)
      t.equal(await ssh.ended, end, `${what}: ssh`)
      const isKilled = who === 'the command on the host'
      t.equal(await statusOnHost(scene), isKilled ? 137 : 2, `${what}: extract`)
      checkNothingIsVisible(t, scene, what)
      if (!isKilled) t.same(fs.readdirSync(target), [], `${what}: nothing is left over`)
      for (const name of fs.readdirSync(target)) fs.rmSync(join(target, name), { recursive: true })
    }
  }
})

t.test('a connection from the host that dies', async t => {
  const scene = await place(t)
  if (!scene) return
  const { source, target, server } = scene
  for (const [who, { strike, end }] of Object.entries(VICTIMS)) {
    for (const moment of MOMENTS) {
      const what = `${who}, after ${moment} bytes`
      fs.rmSync(`${target}.status`, { force: true })
      const ssh = onHost(scene, `reftar create -C ${source} .`)
      const connection = { ssh: ssh.child, ...(await connected(scene)) }
      const extract = start(join(server.bin, 'reftar'), 'extract', '-C', target)
      await pipeline(
        ssh.child.stdout,
        after(moment, () => strike(connection)),
        extract.child.stdin,
      )
      t.equal(await extract.ended, 2, `${what}: extract`)
      t.equal(await ssh.ended, end, `${what}: ssh`)
      t.equal(await statusOnHost(scene), who === 'the command on the host' ? 137 : 2, `${what}: create`)
      t.same(fs.readdirSync(target), [], `${what}: nothing is published, and nothing left over`)
    }
  }
})
