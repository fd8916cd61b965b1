// Extracts in a process of a user without any privilege.
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { ExtractOptions } from '../../src/extract.js'
import { BECOME_NOBODY, ended, moduleCommand } from './trees.js'

export const NOBODY = 65534

export interface Told {
  readonly type: 'problem' | 'note' | 'error'
  readonly message: string
  readonly code?: string
  readonly path?: string
}

/** Restores an archive as nobody, to whom the target is given; returns all that is told but the entries. */
export async function extractAsNobody(
  bytes: Uint8Array,
  target: string,
  options: ExtractOptions & { readonly umask?: number } = {},
  group = NOBODY,
): Promise<Told[]> {
  const file = join(target, '..', 'archive of nobody')
  fs.writeFileSync(file, bytes)
  fs.chownSync(target, NOBODY, group)
  // New files get its group.
  if (group !== NOBODY) fs.chmodSync(target, 0o2755)
  const script = `
    const { createReadStream } = await import('node:fs')
    const { pipeline } = await import('node:stream/promises')
    const { extract } = await import('./src/extract.ts')
    ${BECOME_NOBODY}
    const [file, target, { umask = 0o022, ...options }] = ${JSON.stringify([file, target, options])}
    process.umask(umask)
    const tell = ({ type, message, code, path }) =>
      console.log(JSON.stringify({ type, message, code, path: path && Buffer.from(path).toString() }))
    const onEvent = event => event.type === 'entry' || tell(event)
    const sink = extract(target, { ...options, onEvent })
    const closed = new Promise(resolve => sink.once('close', resolve))
    await pipeline(createReadStream(file), sink).catch(error => tell({ type: 'error', ...error, message: error.message }))
    await closed`
  const { code, output } = await ended(...moduleCommand(script))
  fs.rmSync(file)
  if (code !== 0) throw new Error(output)
  const lines = output.split('\n').filter(line => line !== '')
  return lines.map(line => JSON.parse(line) as Told)
}
