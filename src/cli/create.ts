import { readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { type CreateOptions, type CreateSummary, create, createRecords, type Dedup } from '../create.js'
import { archiveFile } from '../stream/archive-file.js'
import { isStandard } from './archive-file.js'
import { openDirectly } from './archive-output.js'
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
  readonly zeroCopy: boolean
  readonly exclude: readonly string[]
  readonly excludeFrom: readonly string[]
  readonly excludeVcsIgnores: boolean
  readonly excludeCaches: boolean
}

export async function runCreate(command: CreateCommand, paths: readonly string[]): Promise<void> {
  const { json, verbose, excludeFrom, ...options } = command
  const output = new Output({ ...command, stdoutIsTaken: isStandard(command.file) })
  await run(output, async signal => {
    const exclude = [...options.exclude, ...excludeFrom.flatMap(patternsOf)]
    const summary = await write(
      paths,
      { ...options, exclude, onEvent: output.event },
      () => output.end(),
      signal,
    )
    return {
      status: summary.tree.problems > 0 ? DIFFERS : DONE,
      summary,
      ...(verbose && !json && { conclusion: conclusionOf(summary) }),
    }
  })
}

type WriteOptions = CreateOptions & Pick<CreateCommand, 'file' | 'fsync' | 'zeroCopy'>

/** @param onComplete - whoever reads the names may be gone: then there is no archive */
async function write(
  paths: readonly string[],
  options: WriteOptions,
  onComplete: () => Promise<void>,
  signal: AbortSignal,
): Promise<CreateSummary> {
  const direct = await openDirectly(options.file, signal)
  if (direct) {
    const source = create(paths, { ...options, skip: direct.skip })
    await pipeline(source, direct.stream, { signal })
    await onComplete()
    return source.summary
  }
  const archive = archiveFile(options.file, { ...options, onComplete })
  const closed = new Promise(resolve => archive.once('close', resolve))
  const source = createRecords(paths, { ...options, skip: archive.files })
  try {
    await pipeline(source, archive, { signal })
  } finally {
    await closed
  }
  return { ...source.summary, archive: archive.summary }
}

function conclusionOf({ tree, dedup, archive }: CreateSummary): string {
  return `${tree.entries} entries, ${formatBytes(tree.logicalBytes)}: ${formatBytes(tree.bytesRead)} read, ${formatBytes(tree.sharedBytes)} shared, ${formatBytes(dedup.duplicateBytes)} found equal, ${formatBytes(tree.holeBytes)} holes; archive ${formatBytes(archive.archiveBytes)}`
}

/** One pattern a line; blank lines and those that begin with `#` are none. */
function patternsOf(file: string): string[] {
  const lines = readFileSync(file === '-' ? 0 : file, 'utf8').split(/\r?\n/)
  return lines.filter(line => line.trim() !== '' && !line.startsWith('#'))
}
