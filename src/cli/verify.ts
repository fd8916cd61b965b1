import { pipeline } from 'node:stream/promises'
import { type VerifySummary, verify } from '../verify.js'
import { openInput } from './archive-input.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { formatBytes, Output } from './output.js'
import { DIFFERS, DONE, run } from './run.js'

export interface VerifyCommand extends LimitOptions {
  readonly file: string
  readonly against?: string
  readonly verbose: boolean
  readonly json: boolean
}

export async function runVerify(command: VerifyCommand): Promise<void> {
  const { file, against, verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async signal => {
    const options = { ...(against !== undefined && { against }), limits: limitsOf(command) }
    const target = verify({ ...options, onEvent: output.event })
    await pipeline(await openInput(file, signal), target, { signal })
    const { summary } = target
    if (!json) for (const line of conclusion(summary, verbose)) output.line(line)
    return { status: summary.tree?.differences ? DIFFERS : DONE, summary }
  })
}

function conclusion({ archive, tree }: VerifySummary, verbose: boolean): string[] {
  const lines = verbose
    ? [
        `${archive.entries} entries, ${formatBytes(archive.logicalBytes)}: ${formatBytes(archive.archiveBytes)} of archive are good`,
      ]
    : []
  if (!tree) return lines
  const { differences, sharedBytes, keptBytes } = tree
  return [
    ...lines,
    differences === 1 ? '1 difference' : `${differences === 0 ? 'no' : differences} differences`,
    sharingKept(keptBytes, sharedBytes),
  ]
}

function sharingKept(kept: number, shared: number): string {
  if (shared === 0) return 'no sharing to keep'
  // Rounded down, so that only all is 100 %.
  const percent = Math.floor((kept / shared) * 1000) / 10
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(1)
  return `sharing kept ${percent} % (${mib(kept)} of ${mib(shared)} MiB)`
}
