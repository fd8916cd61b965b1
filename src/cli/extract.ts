import { pipeline } from 'node:stream/promises'
import { extractFrom } from '../extract.js'
import type { Reflink, WriteSummary } from '../stream/reflink-writer.js'
import { openInput, openLentInput, unlent } from './archive-input.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { formatBytes, Output } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface ExtractCommand extends LimitOptions {
  readonly file: string
  readonly directory: string
  readonly verbose: boolean
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
}

export async function runExtract(command: ExtractCommand): Promise<void> {
  const { file, directory, overwrite, keepExisting, json, verbose, ...options } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async signal => {
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
      await pipeline(input.stream, target, { signal })
    } finally {
      await input.close()
    }
    const { summary } = target
    return {
      status: unreadable + summary.target.problems + summary.archive.losses > 0 ? DIFFERS : DONE,
      summary,
      ...(verbose && !json && { conclusion: conclusionOf(summary.target) }),
    }
  })
}

function conclusionOf({
  entries,
  logicalBytes,
  clonedBytes,
  copiedBytes,
  copyReasons,
}: WriteSummary): string {
  const reasons = Object.entries(copyReasons).map(([reason, bytes]) => `${formatBytes(bytes)} ${reason}`)
  const copied = copiedBytes > 0 ? `, ${formatBytes(copiedBytes)} copied (${reasons.join(', ')})` : ''
  return `${entries} entries, ${formatBytes(logicalBytes)}: ${formatBytes(clonedBytes)} cloned${copied}`
}
