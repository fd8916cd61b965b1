import { pipeline } from 'node:stream/promises'
import { verify } from '../verify.js'
import { openInput } from './archive-input.js'
import { verified } from './conclusion.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { Output } from './output.js'
import { archiveFigures } from './progress-line.js'
import { DIFFERS, DONE, run } from './run.js'

export interface VerifyCommand extends LimitOptions {
  readonly file: string
  readonly against?: string
  readonly verbose: boolean
  readonly progress?: boolean
  readonly json: boolean
}

export async function runVerify(command: VerifyCommand): Promise<void> {
  const { file, against, verbose, json } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async (signal, progress) => {
    const options = { ...(against !== undefined && { against }), limits: limitsOf(command) }
    const input = await openInput(file, signal)
    const target = verify({ ...options, onEvent: output.event })
    progress.follow(() => archiveFigures(target.summary.archive, input.size))
    await pipeline(input.stream, target, { signal })
    const { summary } = target
    if (!json) for (const line of verified(summary, verbose, progress.seconds)) output.line(line)
    return { status: summary.tree?.differences ? DIFFERS : DONE, summary }
  })
}
