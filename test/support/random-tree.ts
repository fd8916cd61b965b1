// Makes file trees by random operations, the same ones for the same seed on the same kind of filesystem. Uses nothing
// of src/. Every operation is one that the filesystem has to allow, so that one which fails is an error.
import * as fs from 'node:fs'
import { cloneRange } from './fiemap.js'
import { Random } from './random.js'
import {
  randomAcl,
  randomCapabilities,
  randomContent,
  randomName,
  randomRange,
  randomSize,
} from './random-values.js'
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  FS_NOATIME_FL,
  FS_NOCOW_FL,
  FS_NODUMP_FL,
  FS_PROJINHERIT_FL,
  fallocate,
  getInodeFlags,
  listXattrs,
  mknod,
  removeXattr,
  setInodeFlags,
  setModified,
  setProject,
  setXattr,
  withFile,
} from './system-calls.js'

export interface RandomTreeOptions {
  /** Whether some files are not copied on write, where the filesystem has that (default true). */
  readonly nocow?: boolean
}

type NodeType = 'file' | 'directory' | 'symlink' | 'special'

/** What one or more names stand for. */
interface Node {
  readonly type: NodeType
  readonly isNocow: boolean
}

/** A name; without one above it, in the root of the tree. */
interface Place {
  above: Place | undefined
  name: Buffer
  readonly node: Node
}

const KIB = 1024
const BLOCK = 4 * KIB
/** So that no path becomes too long. */
const MAX_DEPTH = 7
const BTRFS = 0x9123683e
const XFS = 0x58465342
const S_IFIFO = 0o010000
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
/** What every filesystem can store, in seconds before and after 1970. */
const SECONDS = 2 ** 31 - 1

/** Fills an empty directory, whose own attributes are left alone. */
export function makeRandomTree(
  directory: string,
  seed: number,
  { nocow = true }: RandomTreeOptions = {},
): void {
  const random = new Random(seed)
  const tree = new Tree(directory, random)
  const { type } = fs.statfsSync(directory)
  const actions: (readonly [number, Action])[] = [
    ...ACTIONS,
    ...(type === XFS ? XFS_ACTIONS : []),
    ...(type === BTRFS && nocow ? BTRFS_ACTIONS : []),
  ]
  for (let left = random.between(150, 300); left > 0; left--) random.weighted(actions)(tree, random)
  for (const place of tree.places) if (random.chance(0.3)) modify(tree, random, place)
}

/** What was made so far. */
class Tree {
  readonly places: Place[] = []
  readonly #root: Buffer
  readonly #random: Random

  constructor(root: string, random: Random) {
    this.#root = Buffer.from(root)
    this.#random = random
  }

  path(place: Place | undefined): Buffer {
    if (place === undefined) return this.#root
    return Buffer.concat([this.path(place.above), Buffer.from('/'), place.name])
  }

  /** The path from the root on. */
  below(place: Place | undefined): Buffer {
    return place === undefined ? Buffer.from('.') : this.path(place).subarray(this.#root.length + 1)
  }

  size(place: Place): number {
    return fs.lstatSync(this.path(place)).size
  }

  /** One of some types, or of all. */
  any(...types: readonly NodeType[]): Place | undefined {
    const places = this.places.filter(({ node }) => types.length === 0 || types.includes(node.type))
    return places.length > 0 ? this.#random.pick(places) : undefined
  }

  /** A new name somewhere. */
  free(): Pick<Place, 'above' | 'name'> {
    const directories = this.places.filter(
      place => place.node.type === 'directory' && depth(place) < MAX_DEPTH,
    )
    const above = this.#random.chance(0.3) ? undefined : this.#random.pick([undefined, ...directories])
    for (;;) {
      const name = randomName(this.#random)
      if (this.at(above, name) === undefined) return { above, name }
    }
  }

  at(above: Place | undefined, name: Buffer): Place | undefined {
    return this.places.find(place => place.above === above && place.name.equals(name))
  }

  isEmpty(directory: Place): boolean {
    return this.places.every(({ above }) => above !== directory)
  }

  add(where: Pick<Place, 'above' | 'name'>, node: Node): Place {
    const place = { ...where, node }
    this.places.push(place)
    return place
  }

  create(type: NodeType, make: (path: Buffer) => void, isNocow = false): Place {
    const place = this.add(this.free(), { type, isNocow })
    make(this.path(place))
    return place
  }

  forget(place: Place): void {
    this.places.splice(this.places.indexOf(place), 1)
  }
}

type Action = (tree: Tree, random: Random) => void

const ACTIONS: readonly (readonly [number, Action])[] = [
  [14, createFile],
  [7, makeDirectory],
  [3, makeSymlink],
  [3, makeSpecial],
  [4, onFile((_, random, path) => fs.appendFileSync(path, randomContent(random, randomSize(random))))],
  [12, onFile(writeSomewhere)],
  [6, onFile(truncate)],
  [6, onFile(punch)],
  [6, onFile(reserve)],
  [2, onFile(allocate)],
  [2, onFile(zero)],
  [2, onFile((_, __, path) => withFile(path, fs.constants.O_RDWR, fd => fs.fsyncSync(fd)))],
  [1, onFile((_, __, path) => void fs.readFileSync(path))],
  [14, cloneSomewhere],
  [5, cloneWithin],
  [8, cloneWhole],
  [3, copy],
  [5, makeLink],
  [8, rename],
  [4, unlink],
  [1, removeTree],
  [6, onAny()(setSomeXattr)],
  [2, onAny()(removeSomeXattr)],
  [3, onAny('file', 'directory', 'special')(setAcl)],
  [2, onAny('directory')((_, random, path) => setXattr(path, ACL_DEFAULT, randomAcl(random)))],
  [5, onAny('file', 'directory', 'special')((_, random, path) => fs.chmodSync(path, random.below(0o10000)))],
  [5, onAny()(changeOwner)],
  [5, onAny()((tree, random, _, place) => modify(tree, random, place))],
  [4, onAny('file', 'directory')(changeFlags)],
]

const XFS_ACTIONS: readonly (readonly [number, Action])[] = [
  [1, onFile(collapse)],
  [1, onFile(insert)],
  [2, onAny('file', 'directory')(changeProject)],
]

const BTRFS_ACTIONS: readonly (readonly [number, Action])[] = [[4, createNocowFile]]

type PlaceAction = (tree: Tree, random: Random, path: Buffer, place: Place) => void

function onAny(...types: readonly NodeType[]): (action: PlaceAction) => Action {
  return action => (tree, random) => {
    const place = tree.any(...types)
    if (place !== undefined) action(tree, random, tree.path(place), place)
  }
}

function onFile(action: PlaceAction): Action {
  return onAny('file')(action)
}

function createFile(tree: Tree, random: Random): void {
  tree.create('file', path => fs.writeFileSync(path, randomContent(random, randomSize(random))))
}

function createNocowFile(tree: Tree, random: Random): void {
  const make = (path: Buffer) => {
    fs.writeFileSync(path, '')
    withFile(path, 0, fd => setInodeFlags(fd, getInodeFlags(fd) | FS_NOCOW_FL))
    fs.writeFileSync(path, randomContent(random, randomSize(random)))
  }
  tree.create('file', make, true)
}

function makeDirectory(tree: Tree, random: Random): void {
  tree.create('directory', path => fs.mkdirSync(path, random.pick([0o755, 0o700, 0o777])))
}

function makeSymlink(tree: Tree, random: Random): void {
  const target = random.weighted<() => Buffer>([
    [3, () => randomName(random)],
    [1, () => tree.below(tree.any())],
    [1, () => Buffer.alloc(random.between(1, 900), '../')],
    [1, () => Buffer.from(random.pick(['/', '.', '/dev/null', 'x\n\x1b[31m']))],
  ])()
  tree.create('symlink', path => fs.symlinkSync(target, path))
}

function makeSpecial(tree: Tree, random: Random): void {
  const permissions = random.below(0o1000)
  const device = [random.below(512), random.below(2 ** 18)] as const
  const type = random.pick([S_IFIFO, S_IFIFO, S_IFCHR, S_IFBLK])
  const isFifo = type === S_IFIFO
  tree.create('special', path => mknod(path, type | permissions, ...(isFifo ? [] : device)))
}

function writeSomewhere(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const offset = random.below(tree.size(place) + random.pick([1, BLOCK, 128 * KIB]))
  const at = random.chance(0.3) ? offset - (offset % BLOCK) : offset
  const bytes = randomContent(random, randomSize(random))
  withFile(path, fs.constants.O_RDWR, fd => fs.writeSync(fd, bytes, 0, bytes.length, at))
}

function truncate(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const size = random.below(tree.size(place) + random.pick([1, BLOCK, 200 * KIB]))
  fs.truncateSync(path, random.chance(0.3) ? size - (size % BLOCK) : size)
}

function punch(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const [offset, length] = randomRange(random, tree.size(place))
  allocateAt(path, PUNCH, offset, length)
}

/** Inside of holes and over data, up to the end or beyond, or there only. */
function reserve(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const size = tree.size(place)
  const [offset, length] = randomRange(random, size + random.pick([0, 64 * KIB]))
  allocateAt(path, FALLOC_FL_KEEP_SIZE, random.chance(0.3) ? size + random.below(BLOCK) : offset, length)
}

function allocate(tree: Tree, random: Random, path: Buffer, place: Place): void {
  allocateAt(path, 0, ...randomRange(random, tree.size(place) + 64 * KIB))
}

function zero(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const keepSize = random.chance(0.5) ? FALLOC_FL_KEEP_SIZE : 0
  allocateAt(path, FALLOC_FL_ZERO_RANGE | keepSize, ...randomRange(random, tree.size(place) + 16 * KIB))
}

function collapse(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const blocks = Math.ceil(tree.size(place) / BLOCK) - 1
  if (blocks < 1) return
  const first = random.below(blocks)
  allocateAt(path, FALLOC_FL_COLLAPSE_RANGE, first * BLOCK, random.between(1, blocks - first) * BLOCK)
}

function insert(tree: Tree, random: Random, path: Buffer, place: Place): void {
  const blocks = Math.ceil(tree.size(place) / BLOCK)
  if (blocks === 0) return
  allocateAt(path, FALLOC_FL_INSERT_RANGE, random.below(blocks) * BLOCK, random.between(1, 16) * BLOCK)
}

function allocateAt(path: Buffer, mode: number, offset: number, length: number): void {
  withFile(path, fs.constants.O_RDWR, fd => fallocate(fd, mode, offset, length))
}

function cloneSomewhere(tree: Tree, random: Random): void {
  const [from, to] = [tree.any('file'), tree.any('file')]
  if (from !== undefined && to !== undefined) clone(tree, random, from, to)
}

function cloneWithin(tree: Tree, random: Random): void {
  const file = tree.any('file')
  if (file !== undefined) clone(tree, random, file, file)
}

function clone(tree: Tree, random: Random, from: Place, to: Place): void {
  // They differ in whether there are checksums, which an extent has or has not.
  if (from.node.isNocow !== to.node.isNocow) return
  const [size, sizeTo] = [tree.size(from), tree.size(to)]
  if (size === 0) return
  const blocks = Math.ceil(size / BLOCK)
  const first = random.below(blocks)
  const offset = first * BLOCK
  const offsetTo = random.below(Math.ceil(sizeTo / BLOCK) + random.pick([1, 20])) * BLOCK
  let length = Math.min(size - offset, random.between(1, blocks - first) * BLOCK)
  // A tail that is not a whole block can only become the tail of the other.
  if (length % BLOCK > 0 && offsetTo + length < sizeTo) length -= length % BLOCK
  const overlaps = from.node === to.node && Math.abs(offsetTo - offset) < length
  if (length > 0 && !overlaps) cloneRange(tree.path(from), offset, length, tree.path(to), offsetTo)
}

function cloneWhole(tree: Tree, random: Random): void {
  const from = tree.any('file')
  if (from === undefined || from.node.isNocow) return
  const place = tree.create('file', path => fs.writeFileSync(path, ''))
  if (tree.size(from) > 0) cloneRange(tree.path(from), 0, 0, tree.path(place), 0)
  if (random.chance(0.3)) writeSomewhere(tree, random, tree.path(place), place)
}

/** Equal bytes that share nothing. */
function copy(tree: Tree, random: Random): void {
  const from = tree.any('file')
  if (from === undefined) return
  const bytes = fs.readFileSync(tree.path(from))
  const start = random.chance(0.5) ? 0 : random.below(Math.ceil(bytes.length / BLOCK) + 1) * BLOCK
  tree.create('file', path => fs.writeFileSync(path, bytes.subarray(start)))
}

function makeLink(tree: Tree): void {
  const place = tree.any('file', 'symlink', 'special')
  if (place === undefined) return
  const link = tree.free()
  if (moved(() => fs.linkSync(tree.path(place), tree.path({ ...link, node: place.node }))))
    tree.add(link, place.node)
}

function rename(tree: Tree, random: Random): void {
  const place = tree.any()
  if (place === undefined) return
  const other = tree.any()
  const replaced = random.chance(0.4) && other && isReplaceable(tree, place, other) ? other : undefined
  const { above, name } = replaced ?? tree.free()
  if (isInside(above, place) || (place.node.type === 'directory' && depth(above) > 2)) return
  const to = tree.path({ above, name, node: place.node })
  if (!moved(() => fs.renameSync(tree.path(place), to))) return
  if (replaced !== undefined) tree.forget(replaced)
  Object.assign(place, { above, name })
}

/** Whether something could be moved: not into a directory whose project has to be that of all that is in it. */
function moved(move: () => void): boolean {
  try {
    move()
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EXDEV') return false
    throw error
  }
}

function isReplaceable(tree: Tree, place: Place, other: Place): boolean {
  if (place.node === other.node || isInside(place, other)) return false
  const isDirectory = other.node.type === 'directory'
  return isDirectory === (place.node.type === 'directory') && (!isDirectory || tree.isEmpty(other))
}

function unlink(tree: Tree): void {
  const place = tree.any('file', 'symlink', 'special')
  if (place === undefined) return
  fs.unlinkSync(tree.path(place))
  tree.forget(place)
}

function removeTree(tree: Tree): void {
  const directory = tree.any('directory')
  if (directory === undefined) return
  const below = tree.places.filter(place => isInside(place, directory))
  if (below.length > 10) return
  for (const place of below.sort((a, b) => depth(b) - depth(a))) {
    const path = tree.path(place)
    if (place.node.type === 'directory') fs.rmdirSync(path)
    else fs.unlinkSync(path)
    tree.forget(place)
  }
}

const XATTR_NAMES = ['a', 'comment', 'mime_type', 'with blank', 'x.y.z', '\u00e4\x80\n\x1b', 'n'.repeat(100)]
const ACL_ACCESS = Buffer.from('system.posix_acl_access')
const ACL_DEFAULT = Buffer.from('system.posix_acl_default')

function setSomeXattr(_: Tree, random: Random, path: Buffer, { node }: Place): void {
  const hasContent = node.type === 'file' || node.type === 'directory'
  const namespaces = hasContent ? ['user', 'user', 'trusted', 'security'] : ['trusted', 'security']
  if (node.type === 'file' && random.chance(0.2)) {
    setXattr(path, Buffer.from('security.capability'), randomCapabilities(random))
    return
  }
  const name = Buffer.from(`${random.pick(namespaces)}.${random.pick(XATTR_NAMES)}`, 'latin1')
  setXattr(path, name, random.bytes(random.pick([0, 1, random.below(100), random.below(3000)])))
}

function removeSomeXattr(_: Tree, random: Random, path: Buffer): void {
  const names = listXattrs(path)
    .filter(name => !name.toString('latin1').startsWith('trusted.SGI_'))
    .sort(Buffer.compare)
  if (names.length > 0) removeXattr(path, random.pick(names))
}

function setAcl(_: Tree, random: Random, path: Buffer): void {
  setXattr(path, ACL_ACCESS, randomAcl(random))
}

function changeOwner(_: Tree, random: Random, path: Buffer): void {
  const id = () => random.pick([0, 1, 1000, 65534, random.below(100_000), random.below(2 ** 32 - 1)])
  fs.lchownSync(path, id(), id())
}

function modify(tree: Tree, random: Random, place: Place): void {
  const seconds = BigInt(random.between(-SECONDS, SECONDS))
  const nanoseconds = BigInt(random.pick([0, 1, 999_999_999, random.below(1_000_000_000)]))
  setModified(tree.path(place), seconds * 1_000_000_000n + nanoseconds)
}

function changeFlags(_: Tree, random: Random, path: Buffer): void {
  const changed = random.pick([FS_NODUMP_FL, FS_NOATIME_FL, FS_NODUMP_FL | FS_NOATIME_FL])
  withFile(path, 0, fd => setInodeFlags(fd, getInodeFlags(fd) ^ changed))
}

function changeProject(_: Tree, random: Random, path: Buffer, { node }: Place): void {
  const project = random.pick([0, 1, random.below(2 ** 32 - 1)])
  withFile(path, 0, fd => {
    setProject(fd, project)
    if (node.type === 'directory') setInodeFlags(fd, getInodeFlags(fd) ^ FS_PROJINHERIT_FL)
  })
}

function depth(place: Place | undefined): number {
  return place === undefined ? 0 : 1 + depth(place.above)
}

function isInside(place: Place | undefined, directory: Place): boolean {
  return place !== undefined && (place === directory || isInside(place.above, directory))
}
