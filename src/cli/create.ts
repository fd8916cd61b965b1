import { pipeline } from 'node:stream/promises'
import { create, type Dedup } from '../create.js'
import { isStandard, openOutput } from './archive-file.js'
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
}

export async function runCreate(paths: readonly string[], command: CreateCommand): Promise<void> {
  const { file, directory, blockSize, dedup, digest, paranoid } = command
  const output = new Output({ ...command, stdoutIsTaken: isStandard(file) })
  await run(output, async signal => {
    const archive = await openOutput(file, signal)
    try {
      const { exclude } = archive
      const source = create(paths, {
        directory,
        blockSize,
        dedup,
        digest,
        paranoid,
        exclude,
        onEvent: output.event,
      })
      await pipeline(source, archive.stream, { signal })
      archive.commit()
      const { tree, dedup: found, archive: written } = source.summary
      if (command.verbose && !command.json) {
        output.message(
          `${tree.entries} entries, ${formatBytes(tree.logicalBytes)}: ${formatBytes(tree.bytesRead)} read, ` +
            `${formatBytes(tree.sharedBytes)} shared, ${formatBytes(found.duplicateBytes)} found equal, ${formatBytes(tree.holeBytes)} holes; archive ${formatBytes(written.archiveBytes)}`,
        )
      }
      return { status: tree.problems > 0 ? DIFFERS : DONE, summary: source.summary }
    } finally {
      archive.abandon()
    }
  })
}
