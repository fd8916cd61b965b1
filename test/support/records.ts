// Makes records by hand, and sends them through stages.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ArchiveRecord, Data, Entry } from '../../src/record.js'
import type { Stage } from '../../src/stream/stage.js'

export const END: ArchiveRecord = { kind: 'end', state: 'whole' }

export function fileEntry(name: string, ordinal: number): Entry {
  const base = { kind: 'entry', ordinal, parent: 0, linked: false, type: 'file' } as const
  return { ...base, name: new TextEncoder().encode(name), metadata: { mode: 0o640 } }
}

export function data(bytes: Uint8Array, mayBeShared = false): Data {
  return { kind: 'data', bytes, mayBeShared }
}

/** What a stage makes of some input. */
export async function through<T>(
  input: Iterable<unknown> | AsyncIterable<unknown>,
  stage: Stage<T, object>,
): Promise<T[]> {
  const output: T[] = []
  await pipeline(Readable.from(input), stage, async source => {
    for await (const item of source) output.push(item)
  })
  return output
}

/** Copies of parts of one length, and what is left. */
export function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += size) yield Uint8Array.from(bytes.subarray(at, at + size))
}
