import type { Data, Reference } from '../record.js'
import { openat } from '../sys/directory.js'
import { close, OPEN_FILE, readAt } from '../sys/file.js'
import { isSameFile, isUnchanged, type Status, statFd } from '../sys/status.js'
import { Coverage } from './coverage.js'
import type { Directory, DirectoryTree } from './directory-tree.js'
import type { ExaminedFile, Look } from './examined-files.js'
import { type FileMap, fileMap } from './file-map.js'
import { FileSharing, type Findings } from './file-sharing.js'
import { FileSources } from './file-source.js'
import { PagedStore } from './paged-store.js'
import { plannedRanges } from './planned-ranges.js'
import { type SeenFile, SeenFiles } from './seen-files.js'
import { isSettled } from './settle.js'
import { type SharedExtent, sharedPart } from './shared-extents.js'
import { type Overlap, SharedMap } from './shared-map.js'
import type { Storage, Storages } from './storages.js'
import type { TreeRequest } from './tree-request.js'

/** A range of the file in hand that lies where a range of an earlier file lay. */
interface Candidate {
  readonly extent: SharedExtent
  readonly overlap: Overlap
}

/** Whether files refer to each other at all, and whether the bytes of each pair are compared, whatever addresses say. */
type SharingRequest = Pick<TreeRequest, 'shared' | 'paranoid' | 'summary'>

const COMPARE = 1024 * 1024
/** Of the map, in bytes. */
const MAP_MEMORY = 32 * 1024 * 1024
const NO_FD = -1
const NONE: ReadonlySet<number> = new Set()

/**
 * Knows which storage was archived, so that a file which shares it can refer to it. A physical address is true only
 * while nothing moves: the order of calls here is what makes it proof.
 */
export class Sharing {
  readonly #tree: DirectoryTree
  readonly #store = new PagedStore(MAP_MEMORY)
  readonly #map: SharedMap
  /** There for as long as anybody has one of the sources: it may be read after everything was closed here. */
  readonly sources: FileSources
  readonly #storages: Storages
  readonly #request: SharingRequest

  constructor(tree: DirectoryTree, storages: Storages, request: SharingRequest) {
    this.#tree = tree
    this.sources = new FileSources(tree, new SeenFiles(new PagedStore()))
    this.#storages = storages
    this.#request = request
    this.#map = new SharedMap(this.#store)
  }

  close(): void {
    this.#store.close()
  }

  /**
   * Maps an open file before it is read. The caller then calls fstat, reads, calls fstat again, and says by
   * {@link FileSharing.changed} what came of it.
   *
   * @throws SYSTEM_CALL
   */
  examine(fd: number, status: Status, directory: Directory, name: Uint8Array): FileSharing {
    const now = Date.now()
    const storage = this.#storages.of(fd, status)
    const map = fileMap(fd, status, storage)
    const mapped = statFd(fd)
    const examined = hrtime()
    const file = { directory, name, status: mapped, examined, isTrusted: isSettled(mapped, now) }
    const first = this.#findings(fd, storage, map, examined)
    return new FileSharing(this.sources, file, this.#map, storage, first, offset => {
      const map = fileMap(fd, mapped, storage, offset)
      return isUnchanged(statFd(fd), mapped) ? this.#findings(fd, storage, map, hrtime()) : undefined
    })
  }

  #findings(fd: number, storage: Storage, map: FileMap, examined: number): Findings {
    const extents = this.#request.shared ? map.shared : []
    const proven = extents.length > 0 ? this.#prove(fd, storage, this.#candidates(extents)) : NONE
    return { map, extents, proven, examined }
  }

  /**
   * References for all of a file that another thread has mapped: undefined unless all of it is shared with files that were
   * looked at before that, and that still lie where they did.
   */
  references(file: ExaminedFile): Reference[] | undefined {
    const { status, looks, began } = file
    const storage = this.#storages.known(status.dev)
    if (!storage?.proves || this.#request.paranoid) return undefined
    const extents = this.#extentsOf(file, storage)
    const candidates = this.#candidates(extents)
    // Storage that was free in between may have gone to another file.
    for (const file of candidates.keys()) if (this.sources.files.get(file).examined > began) return undefined
    const proven = this.#prove(NO_FD, storage, candidates, looks)
    const ranges = plannedRanges(this.#map, extents, ({ file }) => proven.has(file), storage.blockSize)
    const references: Reference[] = []
    let end = 0
    for (const { offset, length, address } of ranges) {
      if (offset !== end || address === undefined) return undefined
      references.push({ kind: 'reference', address, length, origin: 'shared' })
      end += length
    }
    return end === status.size ? references : undefined
  }

  /**
   * The data of a file that another thread has read, at an address of the record stream: undefined where it was not, or
   * anything lay there before.
   */
  first(file: ExaminedFile, directory: Directory, name: Uint8Array, address: number): Data | undefined {
    const { status, content, ended } = file
    const storage = this.#storages.known(status.dev)
    if (!content || !storage) return undefined
    const extents = this.#extentsOf(file, storage)
    if (this.#candidates(extents).size > 0) return undefined
    const number = this.sources.files.add({ directory, name, status, examined: ended, isTrusted: true })
    for (const { space, position, length, offset } of extents)
      this.#map.insert(space, position, length, { file: number, offset, address: address + offset })
    const from = { source: this.sources.source(number), offset: 0 }
    return { kind: 'data', bytes: content, mayBeShared: extents.length > 0, from }
  }

  #extentsOf({ shared }: ExaminedFile, { id }: Storage): SharedExtent[] {
    return this.#request.shared ? shared.map(extent => ({ ...extent, space: id })) : []
  }

  #candidates(extents: readonly SharedExtent[]): Map<number, Candidate[]> {
    const candidates = new Map<number, Candidate[]>()
    for (const extent of extents) {
      for (const overlap of this.#map.find(extent.space, extent.position, extent.length)) {
        const { file } = overlap.sighting
        const list = candidates.get(file)
        if (list) list.push({ extent, overlap })
        else candidates.set(file, [{ extent, overlap }])
      }
    }
    return candidates
  }

  /** Earlier files of which all candidates were found to be still the same storage. */
  #prove(
    fd: number,
    storage: Storage,
    candidates: ReadonlyMap<number, readonly Candidate[]>,
    looks: readonly Look[] = [],
  ): ReadonlySet<number> {
    const proven = new Set<number>()
    for (const [file, list] of candidates) {
      const seen = this.sources.files.get(file)
      if (!seen.isTrusted) continue
      const look = looks.find(({ status }) => isSameFile(status, seen.status))
      const isThere = look ? wasThere(look, seen, storage, list) : this.#isStillThere(seen, storage, list, fd)
      if (isThere) proven.add(file)
    }
    return proven
  }

  #isStillThere(file: SeenFile, storage: Storage, candidates: readonly Candidate[], fd: number): boolean {
    let seen: number
    try {
      seen = openat(this.#tree.fd(file.directory), file.name, OPEN_FILE)
    } catch {
      return false
    }
    try {
      // Whatever took its name may not be a file at all, and only files have a map.
      if (!isUnchanged(statFd(seen), file.status)) return false
      const inOrder = candidates.toSorted((a, b) => offsetOf(a) - offsetOf(b))
      const end = candidates.reduce((most, each) => Math.max(most, offsetOf(each) + each.overlap.length), 0)
      const now = new Coverage(offset => sharedPart(seen, file.status, storage, offset, end))
      const isThere = inOrder.every(candidate => {
        if (!isAt(now, candidate)) return false
        if (storage.proves && !this.#request.paranoid) return true
        const { extent, overlap } = candidate
        const { sighting, start, length } = overlap
        return this.#isEqual(fd, extent.offset + start - extent.position, seen, sighting.offset, length)
      })
      return isThere && isUnchanged(statFd(seen), file.status)
    } finally {
      close(seen)
    }
  }

  #isEqual(a: number, offsetA: number, b: number, offsetB: number, length: number): boolean {
    for (let done = 0; done < length; done += COMPARE) {
      const count = Math.min(COMPARE, length - done)
      const bytesA = readAt(a, offsetA + done, count)
      const bytesB = readAt(b, offsetB + done, count)
      this.#request.summary.bytesRead += 2 * count
      if (bytesA.byteLength !== count || Buffer.compare(bytesA, bytesB) !== 0) return false
    }
    return true
  }
}

/** Whether a look at an earlier file found it unchanged, and all candidates where they lay. */
function wasThere(
  { status, shared }: Look,
  file: SeenFile,
  { id }: Storage,
  candidates: readonly Candidate[],
): boolean {
  const extents = shared.map(extent => ({ ...extent, space: id }))
  const then = new Coverage(() => ({ extents, end: status.size }))
  return isUnchanged(status, file.status) && candidates.every(candidate => isAt(then, candidate))
}

/** Whether the earlier file has the range where it had it. */
function isAt(file: Coverage, { extent, overlap: { sighting, start, length } }: Candidate): boolean {
  return file.has(extent.space, sighting.offset, start, length)
}

/** Where in the earlier file it lay, in bytes. */
function offsetOf({ overlap }: Candidate): number {
  return overlap.sighting.offset
}

/** In nanoseconds, the same for all threads. */
function hrtime(): number {
  return Number(process.hrtime.bigint())
}
