import { caught, ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { linkat, renameat, renameExchange, renameNoReplace, unlinkat } from '../sys/directory.js'
import { EEXIST, EINVAL, EMLINK, ENOENT, ENOSYS, EOPNOTSUPP, EPERM } from '../sys/errno.js'
import { systemError } from '../sys/koffi.js'
import { privateName } from '../sys/private-name.js'
import { statAt } from '../sys/status.js'

/** Renames what one open directory has to a name in another. */
export type Rename = (from: number, fromName: Uint8Array, to: number, toName: Uint8Array) => void

/** Without the flags of renameat2(2), as NFS and many of FUSE are. */
const NO_FLAGS = [EINVAL, ENOSYS, EOPNOTSUPP]
/** For directories, and on filesystems without hard links: link(2). */
const NO_LINKS = [EPERM, EMLINK, ENOSYS, EOPNOTSUPP]

/**
 * To a name that nothing has. Where that takes more than one step, a hard link does it for whatever can have one, and
 * the rest is renamed after a look.
 *
 * @throws SYSTEM_CALL, with EEXIST for a name that is taken
 */
export const renameToFree: Rename = (from, fromName, to, toName) => {
  if (isDone(NO_FLAGS, () => renameNoReplace(from, fromName, to, toName))) return
  if (isDone(NO_LINKS, () => linkat(from, fromName, to, toName))) {
    try {
      unlinkat(from, fromName)
    } catch (error) {
      unlinkat(to, toName)
      throw error
    }
    return
  }
  if (isDone([ENOENT], () => statAt(to, toName))) throw systemError('renameat', EEXIST, toName)
  renameat(from, fromName, to, toName)
}

/**
 * Lets two names change places, of which the first is in a directory that is private. Where that takes more than one step,
 * the second names nothing for a moment.
 *
 * @throws SYSTEM_CALL; TARGET_CHANGED when what had the second name is left in `from`, under another one
 */
export const exchange: Rename = (from, fromName, to, toName) => {
  if (isDone(NO_FLAGS, () => renameExchange(from, fromName, to, toName))) return
  const aside = Buffer.from(privateName())
  renameat(to, toName, from, aside)
  try {
    renameToFree(from, fromName, to, toName)
  } catch (error) {
    orElse(aside, toName, () => renameToFree(from, aside, to, toName))
    throw error
  }
  try {
    renameat(from, aside, from, fromName)
  } catch (error) {
    orElse(aside, toName, () => {
      renameat(to, toName, from, fromName)
      renameToFree(from, aside, to, toName)
    })
    throw error
  }
}

/** What cannot be undone leaves what had a name under another one. */
function orElse(aside: Uint8Array, name: Uint8Array, undo: () => void): void {
  try {
    undo()
  } catch (error) {
    const message = `what was ${quotePath(name)} is now ${quotePath(aside)}: ${caught(error).message}`
    throw new ReftarError('TARGET_CHANGED', message)
  }
}

/** Returns false for an error that says that it cannot be done like this. */
function isDone(errors: readonly number[], call: () => void): boolean {
  try {
    call()
    return true
  } catch (error) {
    if (errors.includes(caught(error).errno as number)) return false
    throw error
  }
}
