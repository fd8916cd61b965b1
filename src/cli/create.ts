import { pipeline } from 'node:stream/promises'
import { type CreateOptions, type CreateSummary, create, createRecords, type Dedup } from '../create.js'
import type { Path } from '../event.js'
import { archiveFile } from '../stream/archive-file.js'
import { isStandard } from './archive-file.js'
import { openDirectly } from './archive-output.js'
import { archived } from './conclusion.js'
import { namesIn, patternsIn } from './file-lists.js'
import { Output } from './output.js'
import type { Progress } from './progress.js'
import type { Figures } from './progress-line.js'
import { DIFFERS, DONE, run } from './run.js'

export interface CreateCommand {
  readonly file: string
  readonly directory: string
  readonly verbose: boolean
  readonly progress?: boolean
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
  readonly filesFrom: readonly string[]
  readonly null: boolean
  readonly exclude: readonly string[]
  readonly excludeFrom: readonly string[]
  readonly excludeVcsIgnores: boolean
  readonly excludeCaches: boolean
}

export async function runCreate(command: CreateCommand, paths: readonly string[]): Promise<void> {
  const { json, verbose, filesFrom, excludeFrom, ...options } = command
  const output = new Output({ ...command, stdoutIsTaken: isStandard(command.file) })
  await run(output, async (signal, progress) => {
    const exclude = [...options.exclude, ...excludeFrom.flatMap(patternsIn)]
    const names = filesFrom.flatMap(file => namesIn(file, command.null))
    const summary = await write(
      [...paths, ...names],
      { ...options, exclude, onEvent: output.event },
      { signal, progress, onComplete: () => output.end() },
    )
    return {
      status: summary.tree.problems > 0 ? DIFFERS : DONE,
      summary,
      ...(verbose && !json && { conclusion: archived(summary, progress.seconds) }),
    }
  })
}

type WriteOptions = CreateOptions & Pick<CreateCommand, 'file' | 'fsync' | 'zeroCopy'>

interface Run {
  readonly signal: AbortSignal
  readonly progress: Progress
  /** Whoever reads the names may be gone: then there is no archive. */
  readonly onComplete: () => Promise<void>
}

async function write(paths: readonly Path[], options: WriteOptions, run: Run): Promise<CreateSummary> {
  const { signal, progress, onComplete } = run
  const direct = await openDirectly(options.file, signal)
  if (direct) {
    const source = create(paths, { ...options, skip: direct.skip })
    progress.follow(() => figuresOf(source.summary))
    await pipeline(source, direct.stream, { signal })
    await onComplete()
    return source.summary
  }
  const archive = archiveFile(options.file, { ...options, onComplete })
  const closed = new Promise(resolve => archive.once('close', resolve))
  const source = createRecords(paths, { ...options, skip: archive.files })
  progress.follow(() => figuresOf(source.summary))
  try {
    await pipeline(source, archive, { signal })
  } finally {
    await closed
  }
  return { ...source.summary, archive: archive.summary }
}

function figuresOf({ tree, dedup }: Omit<CreateSummary, 'archive'>): Figures {
  const { entries, bytesRead, logicalBytes, sharedBytes } = tree
  return { entries, bytesRead, logicalBytes, sharedBytes: sharedBytes + dedup.duplicateBytes }
}
