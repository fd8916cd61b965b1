import { createHash } from 'node:crypto'
import { joinPath } from '../format/path.js'
import { AT_FDCWD, openat } from '../sys/directory.js'
import { close, OPEN_FILE, readAtAsync } from '../sys/file.js'
import { type Layout, layoutOf, type MappedExtent, mapOf } from './layout.js'
import type { SampleFile } from './sample.js'

const READ = 1024 * 1024

/** The files of a tree that do not have the bytes that were written to them. @throws SYSTEM_CALL, the reason of `signal` */
export async function changedFiles(
  tree: Uint8Array,
  files: readonly SampleFile[],
  signal: AbortSignal,
): Promise<SampleFile[]> {
  const changed: SampleFile[] = []
  for (const file of files) {
    const fd = open(tree, file)
    try {
      const digest = await digestOf(fd, signal)
      if (!digest.equals(file.digest)) changed.push(file)
    } finally {
      close(fd)
    }
  }
  return changed
}

async function digestOf(fd: number, signal: AbortSignal): Promise<Buffer> {
  const hash = createHash('sha256')
  for (let at = 0; ; ) {
    const bytes = await readAtAsync(fd, at, READ)
    signal.throwIfAborted()
    if (bytes.byteLength === 0) return hash.digest()
    hash.update(bytes)
    at += bytes.byteLength
  }
}

/** Which files of two equal trees lie at the same places. @throws SYSTEM_CALL */
export function layoutOfTrees(
  source: Uint8Array,
  restored: Uint8Array,
  files: readonly SampleFile[],
): Layout<SampleFile> {
  return layoutOf(files.map(file => ({ file, source: mapIn(source, file), restored: mapIn(restored, file) })))
}

function mapIn(tree: Uint8Array, file: SampleFile): MappedExtent[] {
  const fd = open(tree, file)
  try {
    return mapOf(fd, file.size)
  } finally {
    close(fd)
  }
}

function open(tree: Uint8Array, { path }: SampleFile): number {
  return openat(AT_FDCWD, joinPath([tree, path]), OPEN_FILE)
}
