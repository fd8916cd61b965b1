import type { Owner } from '../record.js'
import { groupId, groupName, userId, userName } from '../sys/owners.js'
import type { Status } from '../sys/status.js'

/** Numbers, and names unless only numbers are wanted. */
export function captureOwner({ uid, gid }: Status, numeric: boolean): Owner {
  if (numeric) return { uid, gid }
  if (captured?.uid === uid && captured.gid === gid) return captured
  const user = userName(uid)
  const group = groupName(gid)
  captured = { uid, gid, ...(user && { user }), ...(group && { group }) }
  return captured
}

/** The last one: most files of a tree have the same owner. */
let captured: Owner | undefined

/** Who an owner is on this system: a name goes before a number, as long as it is known here. */
export function ownerHere(
  { user, uid, group, gid }: Owner,
  numeric: boolean,
): { readonly uid: number; readonly gid: number } {
  if (numeric) return { uid, gid }
  return { uid: idFor(user, uid, userId), gid: idFor(group, gid, groupId) }
}

/** A mark at the beginning makes it another name. */
const UTF_8 = new TextDecoder('utf-8', { ignoreBOM: true })

function idFor(name: Uint8Array | undefined, id: number, look: (name: string) => number | undefined): number {
  return (name && look(UTF_8.decode(name))) ?? id
}
