import { type ErrorCode, ReftarError } from '../errors.js'
import type { Metadata } from '../record.js'
import { EACCES, EPERM } from '../sys/errno.js'
import {
  type Access,
  changeMode,
  changeModeAt,
  changeOwner,
  changeOwnerAt,
  setModified,
  setModifiedAt,
} from '../sys/file.js'
import { systemError } from '../sys/koffi.js'
import { S_IFLNK, type Status, sameTime, statAt, statFd, typeOf } from '../sys/status.js'
import { setXattr } from '../sys/xattr.js'
import { Bestowal } from './bestowal.js'
import type { Directory } from './directory-tree.js'
import { applyXattrs, isBestowed, isForeign, isPrivilege, type OnFailure } from './extended-attributes.js'
import { applyEarlyFlags, applyFlags, applyLateAttributes, lateAttributes } from './inode-attributes.js'
import { PERMISSIONS, timeText, xattrTargetOf } from './metadata.js'
import { ownerHere } from './owners.js'

/** What of the metadata is restored; the opposites leave it to whoever extracts. */
export interface MetadataPolicy {
  /** Give entries to the owners that they had. */
  readonly sameOwner: boolean
  /** Give entries the exact mode that they had, whatever the umask, and programs their capabilities. */
  readonly samePermissions: boolean
  /** Owners are their numbers, whatever their names are here. */
  readonly numericOwner: boolean
}

export interface MetadataVoice {
  readonly onNote: (message: string) => void
  readonly onProblem: (code: ErrorCode, path: Uint8Array, message: string) => void
}

/** What is set when all names are in their places. */
export type LateMetadata = Pick<Metadata, 'flags' | 'project'>

const SET_ID = 0o6000
const STICKY = 0o1000
const BTRFS_COMPRESSION = 'btrfs.compression'

/**
 * Sets the metadata of restored entries, in the order that keeps it: storage flags on the empty file; then, after the
 * data, owner, extended attributes, mode, times; last what forbids any change. What cannot be set is told as a problem;
 * to a user who is not root and may not set it, once as a note.
 */
export class MetadataWriter {
  readonly #policy: MetadataPolicy
  readonly #voice: MetadataVoice
  readonly #isRoot = process.geteuid?.() === 0
  readonly #umask = process.umask()
  readonly #noted = new Set<string>()

  constructor(policy: MetadataPolicy, voice: MetadataVoice) {
    this.#policy = policy
    this.#voice = voice
  }

  /** The mode of a new directory, or file, of which none was captured. */
  defaultMode(bits: number): number {
    return bits & ~this.#umask
  }

  /** For a file that is open and empty: how its data is to be stored. */
  begin(fd: number, directory: Directory, metadata: Metadata): void {
    directory.bestowal ??= new Bestowal()
    directory.bestowal.learn(fd, metadata)
    if (directory.bestowal.suffices(metadata)) return
    applyEarlyFlags(fd, metadata)
    const compression = metadata.xattrs?.find(({ name }) => Buffer.from(name).equals(COMPRESSION))
    if (!compression) return
    try {
      setXattr(fd, compression.name, compression.value)
    } catch (error) {
      // It is set once more with all the others, and told then.
      if (!(error instanceof ReftarError)) throw error
    }
  }

  /** All of a directory that has its entries; returns what is left for {@link finishLate}. */
  finish(fd: number, metadata: Metadata, path: () => Uint8Array): LateMetadata | undefined {
    return this.#finish(fd, statFd(fd), metadata, isBestowed, path)
  }

  /**
   * All of a file that has its data. Most need but their time, and one look tells that the rest is right, too.
   *
   * @param bestowal - what it has had from the beginning; undefined where that may have changed
   */
  finishFile(
    fd: number,
    bestowal: Bestowal | undefined,
    metadata: Metadata,
    path: () => Uint8Array,
  ): { readonly status: Status; readonly late: LateMetadata | undefined } {
    const { modified } = metadata
    const isPlain = bestowal?.suffices(metadata) === true
    if (isPlain && modified) setModified(fd, modified, 'kept')
    const status = statFd(fd)
    if (isPlain && this.#isRight(status, metadata)) return { status, late: undefined }
    return { status, late: this.#finish(fd, status, metadata, isBestowed, path) }
  }

  /** As {@link finish}, of a directory that was there before. */
  finishExisting(fd: number, metadata: Metadata, path: () => Uint8Array): LateMetadata | undefined {
    return this.#finish(fd, statFd(fd), metadata, isForeign, path)
  }

  #finish(
    fd: number,
    status: Status,
    metadata: Metadata,
    goes: (name: Uint8Array) => boolean,
    path: () => Uint8Array,
  ): LateMetadata | undefined {
    const onFailure = this.#onFailure(path)
    const owned = this.#owner(status, metadata, onFailure, (uid, gid) => changeOwner(fd, uid, gid))
    // Before the attributes: of a flag, btrfs makes an attribute of its own.
    applyFlags(fd, metadata, onFailure)
    this.#xattrs(fd, status, metadata, goes, onFailure)
    this.#mode(status, metadata, owned, onFailure, mode => {
      changeMode(fd, mode)
      return statFd(fd)
    })
    this.#time(metadata, onFailure, (time, access) => {
      setModified(fd, time, access)
      return statFd(fd)
    })
    return lateAttributes(fd, metadata)
  }

  /** All of what has no content: `fd` has it open with O_PATH. */
  finishSpecial(
    fd: number,
    directory: number,
    name: Uint8Array,
    status: Status,
    metadata: Metadata,
    path: () => Uint8Array,
  ): void {
    const onFailure = this.#onFailure(path)
    const owned = this.#owner(status, metadata, onFailure, (uid, gid) =>
      changeOwnerAt(directory, name, uid, gid),
    )
    this.#xattrs(fd, status, metadata, isBestowed, onFailure)
    if (typeOf(status) !== S_IFLNK) {
      this.#mode(status, metadata, owned, onFailure, mode => {
        changeModeAt(directory, name, mode)
        return statAt(directory, name)
      })
    }
    this.#time(metadata, onFailure, (time, access) => {
      setModifiedAt(directory, name, time, access)
      return statAt(directory, name)
    })
  }

  finishLate(fd: number, late: LateMetadata, path: () => Uint8Array): void {
    applyLateAttributes(fd, late, this.#onFailure(path))
  }

  /** Only the mode, of what had to stay readable until now. */
  finishMode(fd: number, metadata: Metadata, path: () => Uint8Array): void {
    const status = statFd(fd)
    const owner = this.#ownerHere(metadata)
    const owned = !owner || (status.uid === owner.uid && status.gid === owner.gid)
    this.#mode(status, metadata, owned, this.#onFailure(path), mode => {
      changeMode(fd, mode)
      return statFd(fd)
    })
  }

  /** What `mode` becomes under the policy. */
  modeOf(mode: number): number {
    return this.#policy.samePermissions ? mode : mode & ~(this.#umask | SET_ID | STICKY)
  }

  /** Says once what holds for every entry. */
  note(message: string): void {
    if (this.#noted.has(message)) return
    this.#noted.add(message)
    this.#voice.onNote(message)
  }

  /** Whether nothing that {@link statFd} shows is left to be set. */
  #isRight(status: Status, metadata: Metadata): boolean {
    const { mode, modified } = metadata
    const owner = this.#ownerHere(metadata)
    return (
      (!owner || (status.uid === owner.uid && status.gid === owner.gid)) &&
      (mode === undefined || (status.mode & PERMISSIONS) === this.modeOf(mode)) &&
      (!modified || sameTime(status.modified, modified))
    )
  }

  #owner(
    status: Status,
    metadata: Metadata,
    onFailure: OnFailure,
    change: (uid: number, gid: number) => void,
  ): boolean {
    const owner = this.#ownerHere(metadata)
    if (!owner) return true
    const { uid, gid } = owner
    if (status.uid === uid && status.gid === gid) return true
    if (!this.#policy.sameOwner) {
      if (!this.#isRoot) this.note('owners are not restored: only root can')
      return false
    }
    return attempt(`owner ${uid}:${gid}`, onFailure, () => change(uid, gid))
  }

  #ownerHere({ owner }: Metadata): { readonly uid: number; readonly gid: number } | undefined {
    return owner && ownerHere(owner, this.#policy.numericOwner)
  }

  #xattrs(
    fd: number,
    status: Status,
    { xattrs }: Metadata,
    goes: (name: Uint8Array) => boolean,
    onFailure: OnFailure,
  ): void {
    if (!xattrs || (typeOf(status) === S_IFLNK && xattrs.length === 0)) return
    const wanted = this.#policy.samePermissions ? xattrs : xattrs.filter(({ name }) => !isPrivilege(name))
    applyXattrs(xattrTargetOf(fd, status), wanted, goes, onFailure)
  }

  #mode(
    status: Status,
    { mode, xattrs }: Metadata,
    owned: boolean,
    onFailure: OnFailure,
    change: (mode: number) => Status,
  ): void {
    if (mode === undefined) return
    // Another owner's program is not to run with the rights of this one.
    const wanted = this.modeOf(owned ? mode : mode & ~SET_ID)
    // A write or a new owner takes setuid and setgid away, and an ACL changes the mode: what was seen holds without them.
    const isKnown = ((wanted | status.mode) & SET_ID) === 0 && !xattrs?.length
    if (isKnown && (status.mode & PERMISSIONS) === wanted) return
    attempt(`mode ${wanted.toString(8)}`, onFailure, () => {
      // Of a group that a user is not in, the kernel drops setgid without a word.
      const found = change(wanted).mode & PERMISSIONS
      if (found !== wanted) throw systemError(`fchmod gives ${found.toString(8)}`, EPERM)
    })
  }

  #time(
    { modified }: Metadata,
    onFailure: OnFailure,
    set: (time: NonNullable<typeof modified>, access: Access) => Status,
  ): void {
    if (!modified) return
    attempt('the modification time', onFailure, () => {
      let found = set(modified, 'kept').modified
      // A filesystem on libfuse 2 takes both times or none, and says nothing.
      if (!sameTime(found, modified)) found = set(modified, 'now').modified
      if (sameTime(found, modified)) return
      const message = `the filesystem made ${timeText(found)} of ${timeText(modified)}`
      throw new ReftarError('DIFFERENT', message)
    })
  }

  #onFailure(path: () => Uint8Array): OnFailure {
    return (what, error) => {
      const { errno } = error
      const mayNot = errno === EPERM || errno === EACCES
      if (mayNot && !this.#isRoot) this.note(`${what} is not restored: ${error.message}`)
      else this.#voice.onProblem(error.code, path(), `${what} is not restored: ${error.message}`)
    }
  }
}

const COMPRESSION = Buffer.from(BTRFS_COMPRESSION)

function attempt(what: string, onFailure: OnFailure, work: () => void): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (!(error instanceof ReftarError)) throw error
    onFailure(what, error)
    return false
  }
}
