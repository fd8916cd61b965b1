import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { create, createRecords } from '../create.js'
import type { Common } from '../event.js'
import { extract } from '../extract.js'
import { archiveFile } from '../stream/archive-file.js'
import { archiveSource } from '../stream/archive-source.js'
import { reflinkWriter } from '../stream/reflink-writer.js'
import { verify } from '../verify.js'

/** How an archive is made and restored: as a stream of bytes, or as a file that is cloned into and out of. */
export type Way = 'stream' | 'zeroCopy'

/** Numbers of bytes. */
export interface ArchivedFigures {
  readonly entries: number
  readonly archiveBytes: number
  /** What was cloned into the archive, and not written. */
  readonly zeroCopyBytes: number
}

/** Numbers of bytes. */
export interface RestoredFigures {
  readonly writtenBytes: number
  readonly clonedBytes: number
  readonly copiedBytes: number
  readonly zeroCopyBytes: number
}

type Options = Common & { readonly signal: AbortSignal }

/** @throws as create and archiveFile do */
export async function archiveTree(
  way: Way,
  source: Buffer,
  names: readonly string[],
  archive: Buffer,
  { signal, onEvent }: Options,
): Promise<ArchivedFigures> {
  const options = { directory: source, ...(onEvent && { onEvent }) }
  if (way === 'stream') {
    const origin = create(names, options)
    await flow([origin, createWriteStream(archive, { flags: 'wx' })], signal)
    const { entries, archiveBytes } = origin.summary.archive
    return { entries, archiveBytes, zeroCopyBytes: 0 }
  }
  const file = archiveFile(archive, options)
  await flow([createRecords(names, options), file], signal)
  return file.summary
}

/** @throws as extract and archiveSource do */
export async function restoreTree(
  way: Way,
  archive: Buffer,
  restored: Buffer,
  { signal, onEvent }: Options,
): Promise<RestoredFigures> {
  const options = onEvent ? { onEvent } : {}
  if (way === 'stream') {
    const target = extract(restored, options)
    await flow([createReadStream(archive), target], signal)
    return target.summary.target
  }
  const target = reflinkWriter(restored, options)
  await flow([archiveSource(archive), target], signal)
  return target.summary
}

/** Each difference is told as a problem. @throws as verify does */
export async function compareTree(
  archive: Buffer,
  tree: Buffer,
  { signal, onEvent }: Options,
): Promise<void> {
  await flow([createReadStream(archive), verify({ against: tree, ...(onEvent && { onEvent }) })], signal)
}

type Flow = readonly [NodeJS.ReadableStream, NodeJS.WritableStream]

/** A pipeline, and all that it rolls back where it fails. */
async function flow([from, to]: Flow, signal: AbortSignal): Promise<void> {
  const closed = [from, to].map(stream => new Promise(resolve => stream.once('close', resolve)))
  try {
    await pipeline(from, to, { signal })
  } finally {
    await Promise.all(closed)
  }
}
