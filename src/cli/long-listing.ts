import type { ListedEntry } from '../list.js'
import type { EntryType, Metadata, Time } from '../record.js'
import { escapePath } from './output.js'

/** How wide owner and size are together, at first, and as tar has it. */
const OWNER_AND_SIZE = 19

/** A path, and a slash behind that of a directory. */
export function shownName({ entry, path }: ListedEntry): string {
  return escapePath(path) + (entry.type === 'directory' ? '/' : '')
}

/**
 * Lines as `tar -tv` has them, and after the size how much of the data of a file is shared. Like there, columns become
 * wider with what is in them, for nobody knows what comes.
 */
export class LongListing {
  readonly #numericOwner: boolean
  #width = OWNER_AND_SIZE

  constructor({ numericOwner }: { readonly numericOwner: boolean }) {
    this.#numericOwner = numericOwner
  }

  line(listed: ListedEntry): string {
    const { metadata, type } = listed.entry
    const { mode, modified, owner: who } = listed.link?.metadata ?? metadata
    const owner = ownerOf(who, this.#numericOwner)
    const amount = amountOf(listed)
    this.#width = Math.max(this.#width, owner.length + 1 + amount.length)
    const fields = [
      LETTERS[type] + permissions(mode),
      owner,
      amount.padStart(this.#width - owner.length - 1),
      shareOf(listed).padStart(4),
      time(modified),
      shownName(listed) + linkOf(listed),
    ]
    return fields.join(' ') + (listed.changed ? ' (changed while it was archived)' : '')
  }
}

const LETTERS: Record<EntryType, string> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  hardlink: 'h',
  characterDevice: 'c',
  blockDevice: 'b',
  fifo: 'p',
}

function amountOf({ entry, size }: ListedEntry): string {
  const { device } = entry.metadata
  return device ? `${device.major},${device.minor}` : String(size)
}

/** How much of the data of a file is that of earlier ones. Only all is 100 %, and only nothing is a dash. */
function shareOf({ size, holeBytes, sharedBytes, duplicateBytes }: ListedEntry): string {
  const earlier = sharedBytes + duplicateBytes
  if (earlier === 0) return '-'
  const percent = Math.floor((100 * earlier) / (size - holeBytes))
  return percent === 0 ? '<1%' : `${percent}%`
}

function linkOf({ entry, link }: ListedEntry): string {
  const { linkTarget } = entry.metadata
  if (linkTarget) return ` -> ${escapePath(linkTarget)}`
  return link ? ` link to ${escapePath(link.path)}` : ''
}

function permissions(mode: number | undefined): string {
  if (mode === undefined) return '?????????'
  const letters = Array.from('rwxrwxrwx', (letter, i) => (mode & (0o400 >> i) ? letter : '-'))
  const special = [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ] as const
  for (const [bit, at, letter] of special) {
    if (mode & bit) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase()
  }
  return letters.join('')
}

function ownerOf(owner: Metadata['owner'], isNumeric: boolean): string {
  if (!owner) return '?/?'
  const user = owner.user && !isNumeric ? escapePath(owner.user) : owner.uid
  const group = owner.group && !isNumeric ? escapePath(owner.group) : owner.gid
  return `${user}/${group}`
}

function time(modified: Time | undefined): string {
  const date = new Date((modified?.seconds ?? Number.NaN) * 1000)
  if (Number.isNaN(date.getTime())) return modified ? `@${modified.seconds}`.padEnd(16) : '?'.padEnd(16)
  const two = (value: number) => String(value).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`
}
