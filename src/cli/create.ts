import { readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { create, type Dedup } from '../create.js'
import { isStandard } from './archive-file.js'
import { openOutput } from './archive-output.js'
import { formatBytes, Output } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface CreateCommand {
  readonly file: string
  readonly directory: string
  readonly verbose: boolean
  readonly json: boolean
  readonly blockSize: number
  readonly dedup: Dedup
  readonly digest: boolean
  readonly paranoid: boolean
  readonly numericOwner: boolean
  readonly oneFileSystem: boolean
  readonly snapshot: boolean
  readonly fsync: boolean
  readonly exclude: readonly string[]
  readonly excludeFrom: readonly string[]
  readonly excludeVcsIgnores: boolean
  readonly excludeCaches: boolean
}

export async function runCreate(paths: readonly string[], command: CreateCommand): Promise<void> {
  const { file, json, verbose, excludeFrom, fsync, ...options } = command
  const output = new Output({ ...command, stdoutIsTaken: isStandard(file) })
  await run(output, async signal => {
    const exclude = [...options.exclude, ...excludeFrom.flatMap(patternsOf)]
    const archive = await openOutput(file, signal, {
      fsync,
      onNote: message => output.event({ type: 'note', message }),
    })
    try {
      const { skip } = archive
      const source = create(paths, { ...options, exclude, skip, onEvent: output.event })
      await pipeline(source, archive.stream, { signal })
      // Whoever reads the names may be gone: then there is no archive.
      await output.end()
      archive.commit()
      const { tree, dedup: found, archive: written } = source.summary
      const conclusion = `${tree.entries} entries, ${formatBytes(tree.logicalBytes)}: ${formatBytes(tree.bytesRead)} read, ${formatBytes(tree.sharedBytes)} shared, ${formatBytes(found.duplicateBytes)} found equal, ${formatBytes(tree.holeBytes)} holes; archive ${formatBytes(written.archiveBytes)}`
      return {
        status: tree.problems > 0 ? DIFFERS : DONE,
        summary: source.summary,
        ...(verbose && !json && { conclusion }),
      }
    } finally {
      archive.abandon()
    }
  })
}

/** One pattern a line; blank lines and those that begin with `#` are none. */
function patternsOf(file: string): string[] {
  const lines = readFileSync(file === '-' ? 0 : file, 'utf8').split(/\r?\n/)
  return lines.filter(line => line.trim() !== '' && !line.startsWith('#'))
}
