import { ReftarError } from '../errors.js'
import { quotePath } from '../event.js'
import { compareBytes, equalBytes } from '../format/bytes.js'
import { latin1 } from '../format/latin1.js'
import { MAX_XATTRS, xattrsSize } from '../format/xattrs.js'
import type { Xattr } from '../record.js'
import { E2BIG } from '../sys/errno.js'
import { getXattr, listXattrs, removeXattr, setXattr, type XattrTarget } from '../sys/xattr.js'

/** Told of one thing that cannot be read, or set as it was stored. */
export type OnFailure = (what: string, error: ReftarError) => void

/** An attribute that XFS shows root, and that is a POSIX ACL in another form. */
const SHADOW = 'trusted.SGI_'
/** What a directory can bestow on what is made in it. */
const BESTOWED = ['system.posix_acl_access', 'system.posix_acl_default', 'btrfs.compression']

/** All that can be read; undefined where the filesystem has none. @throws SYSTEM_CALL */
export function captureXattrs(target: XattrTarget, onFailure: OnFailure): readonly Xattr[] | undefined {
  let names: Uint8Array[] | undefined
  try {
    names = listXattrs(target)
  } catch (error) {
    // More of them than one call can tell.
    if (!(error instanceof ReftarError) || error.errno !== E2BIG) throw error
    onFailure('the list of extended attributes', error)
    return undefined
  }
  if (!names || names.length === 0) return names && []
  const xattrs: Xattr[] = []
  for (const name of names.sort(compareBytes)) {
    if (latin1(name).startsWith(SHADOW)) continue
    attempt(name, onFailure, () => {
      const value = getXattr(target, name)
      if (value) xattrs.push({ name, value })
    })
  }
  const size = xattrsSize(xattrs)
  if (size <= MAX_XATTRS) return xattrs
  const message = `they have ${size} bytes together, the limit is ${MAX_XATTRS}`
  onFailure('extended attributes are left out', new ReftarError('LIMIT_EXCEEDED', message))
  return undefined
}

/** Whether a directory can have bestowed an attribute on what is new in it. */
export function isBestowed(name: Uint8Array): boolean {
  return BESTOWED.includes(latin1(name))
}

/** Whether an attribute gives a program rights that its user has not. */
export function isPrivilege(name: Uint8Array): boolean {
  return latin1(name) === 'security.capability'
}

/** Whether an attribute of what existed is to go: a label is the system's own. */
export function isForeign(name: Uint8Array): boolean {
  return latin1(name) !== 'security.selinux'
}

/**
 * Sets those that were stored, and takes away others.
 *
 * @param goes - whether one that was not stored is taken away
 * @throws SYSTEM_CALL
 */
export function applyXattrs(
  target: XattrTarget,
  wanted: readonly Xattr[],
  goes: (name: Uint8Array) => boolean,
  onFailure: OnFailure,
): void {
  const found = listXattrs(target)
  for (const name of found ?? []) {
    if (!goes(name) || wanted.some(xattr => equalBytes(xattr.name, name))) continue
    attempt(name, onFailure, () => removeXattr(target, name))
  }
  for (const { name, value } of wanted) attempt(name, onFailure, () => setXattr(target, name, value))
}

/** In words, which attributes are not as they were stored. @throws SYSTEM_CALL */
export function xattrDifferences(target: XattrTarget, wanted: readonly Xattr[]): string[] {
  const out: string[] = []
  const found = captureXattrs(target, (what, error) => out.push(`${what}: ${error.message}`)) ?? []
  const valueIn = (list: readonly Xattr[], name: Uint8Array) =>
    list.find(xattr => equalBytes(xattr.name, name))?.value
  for (const { name, value } of wanted) {
    const here = valueIn(found, name)
    if (!here) out.push(`lacks the extended attribute ${quotePath(name)}`)
    else if (!equalBytes(here, value)) out.push(`has another extended attribute ${quotePath(name)}`)
  }
  for (const { name } of found) {
    if (!valueIn(wanted, name)) out.push(`has an extended attribute ${quotePath(name)}, expected none`)
  }
  return out
}

function attempt(name: Uint8Array, onFailure: OnFailure, work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof ReftarError)) throw error
    onFailure(`the extended attribute ${quotePath(name)}`, error)
  }
}
