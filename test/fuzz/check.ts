import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ReftarError } from '../../src/errors.js'
import { extract } from '../../src/extract.js'
import { list } from '../../src/list.js'
import { verify } from '../../src/verify.js'
import { setFlags } from '../support/attributes.js'

/** So that what an archive asks for is never a matter of patience. */
const limits = { logicalBytes: 64 * 1024 * 1024, depth: 200, entries: 5000 }
/** Codes that say that this target cannot be as the archive has it, though the archive is sound. */
const OF_TARGETS = new Set(['SYSTEM_CALL', 'TARGET_EXISTS'])
/** Milliseconds. */
const PATIENCE = 5000

async function codeOf(stream: NodeJS.WritableStream, bytes: Uint8Array): Promise<string> {
  const closed = new Promise(resolve => stream.once('close', resolve))
  const timer = setTimeout(
    () => (stream as unknown as { destroy(e: Error): void }).destroy(new Error('it hangs')),
    PATIENCE,
  )
  try {
    await pipeline(Readable.from([Uint8Array.from(bytes)], { objectMode: false }), stream)
    return 'sound'
  } catch (error) {
    await closed
    if (error instanceof ReftarError) return error.code
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function listed(bytes: Uint8Array): Promise<string> {
  const stage = list({ limits })
  const reading = (async () => {
    for await (const _ of stage);
  })()
  const code = await codeOf(stage, bytes)
  await reading.catch(() => undefined)
  return code
}

/** What is wrong with how an input is read; undefined when nothing is. `directory` is empty before and after. */
export async function wrongOf(bytes: Uint8Array, directory: string): Promise<string | undefined> {
  const target = join(directory, 'target')
  const outside = join(directory, 'outside')
  fs.mkdirSync(target)
  fs.writeFileSync(outside, 'outside')
  try {
    const codes = { list: await listed(bytes), verify: await codeOf(verify({ limits }), bytes) }
    if (codes.list !== codes.verify) return `list finds ${codes.list}, verify ${codes.verify}`
    const extracted = await codeOf(extract(target, { limits, devices: false }), bytes)
    const isSame = extracted === codes.list || (codes.list === 'sound' && OF_TARGETS.has(extracted))
    // What is refused by the target may come before what is wrong with the archive.
    if (!isSame && !OF_TARGETS.has(extracted)) return `list finds ${codes.list}, extract ${extracted}`
    const names = fs.readdirSync(target)
    if (extracted !== 'sound' && names.length > 0) return `extract finds ${extracted}, and leaves ${names}`
    const known = fs.readdirSync(directory).sort().join()
    if (known !== 'outside,target' || fs.readFileSync(outside, 'latin1') !== 'outside')
      return `outside is ${known}`
    clear(target)
    fs.mkdirSync(target)
    const salvaged = await codeOf(extract(target, { limits, devices: false, salvage: true }), bytes)
    const allowed = ['sound', 'LIMIT_EXCEEDED', ...OF_TARGETS]
    return allowed.includes(salvaged) ? undefined : `salvage finds ${salvaged}`
  } finally {
    clear(target)
    fs.rmSync(outside, { force: true })
  }
}

/** Removes a directory, whatever flags were given to what is in it. */
function clear(target: string): void {
  try {
    fs.rmSync(target, { recursive: true, force: true })
  } catch {
    allowChanges(Buffer.from(target))
    fs.rmSync(target, { recursive: true, force: true })
  }
}

function allowChanges(path: Buffer): void {
  const status = fs.lstatSync(path)
  if (status.isFile() || status.isDirectory()) setFlags(path, 0)
  if (!status.isDirectory()) return
  for (const name of fs.readdirSync(path, { encoding: 'buffer' })) {
    allowChanges(Buffer.concat([path, Buffer.from('/'), name]))
  }
}
