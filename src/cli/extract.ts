import { pipeline } from 'node:stream/promises'
import { type ExtractSummary, extractFrom } from '../extract.js'
import type { Reflink } from '../stream/reflink-writer.js'
import { isStandard } from './archive-file.js'
import { type LentInput, openInput, openLentInput, unlent } from './archive-input.js'
import { lost, restored } from './conclusion.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { Output } from './output.js'
import type { Figures } from './progress-line.js'
import { checkRoom } from './room.js'
import { DIFFERS, DONE, run } from './run.js'

export interface ExtractCommand extends LimitOptions {
  readonly file: string
  readonly directory: string
  readonly verbose: boolean
  readonly progress?: boolean
  readonly json: boolean
  readonly reflink: Reflink
  readonly overwrite: boolean
  readonly keepExisting: boolean
  readonly keepPartial: boolean
  readonly sameOwner?: boolean
  readonly samePermissions?: boolean
  readonly numericOwner: boolean
  readonly devices?: boolean
  readonly fsync: boolean
  readonly salvage: boolean
  readonly zeroCopy: boolean
  readonly force: boolean
}

export async function runExtract(command: ExtractCommand): Promise<void> {
  const { file, directory, overwrite, keepExisting, json, verbose, ...options } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async (signal, progress) => {
    const existing = overwrite ? 'overwrite' : keepExisting ? 'keep' : 'refuse'
    let unreadable = 0
    const onUnreadable = (path: Uint8Array, message: string) => {
      unreadable++
      output.event({ type: 'problem', code: 'SYSTEM_CALL', path, message })
    }
    const input =
      options.salvage || !options.zeroCopy
        ? unlent(await openInput(file, signal, options.salvage ? onUnreadable : undefined))
        : await openLentInput(file, directory, signal)
    const target = extractFrom(input.source, directory, {
      ...options,
      existing,
      limits: limitsOf(command),
      onEvent: output.event,
    })
    try {
      if (isForeseeable(command, input)) await checkRoom(file, directory, options.reflink, output)
      progress.follow(() => figuresOf(target.summary, input.size))
      await pipeline(input.stream, target, { signal })
    } finally {
      input.stream.destroy()
      await input.close()
    }
    const { summary } = target
    const conclusion = verbose
      ? restored(summary.target, summary.archive, progress.seconds)
      : lost(summary.target)
    return {
      status: unreadable + summary.target.problems + summary.archive.losses > 0 ? DIFFERS : DONE,
      summary,
      ...(!json && { conclusion }),
    }
  })
}

/** What is cloned out of the archive, kept as it is, or lost, is not written. */
function isForeseeable(command: ExtractCommand, { size, source }: LentInput): boolean {
  const { file, reflink, keepExisting, salvage, force } = command
  const isCloned = source !== undefined && (reflink === 'auto' || reflink === 'always')
  return size !== undefined && !isStandard(file) && !(isCloned || keepExisting || salvage || force)
}

function figuresOf({ archive, target }: ExtractSummary, size: number | undefined): Figures {
  const { archiveBytes, logicalBytes } = archive
  const { entries, clonedBytes } = target
  return { entries, bytesRead: archiveBytes, totalBytes: size, logicalBytes, sharedBytes: clonedBytes }
}
