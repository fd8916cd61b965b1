/**
 * Options of tar that are none here, and what to do instead. Those that mean the same here have the same names; see
 * options.ts.
 */

const COMPRESSION =
  "compress in a pipe, as in 'reftar create DIR | zstd > FILE' and 'zstd -dc FILE | reftar extract'"
const ALWAYS_HOLES = 'holes are always kept'
const ALWAYS_ATTRIBUTES = 'extended attributes, ACLs and labels are always stored and restored'
const NO_APPEND = 'an archive is written once, and never changed: create another one'
const COMPARE = "use 'reftar verify --against DIR'"
const NO_REPLACING = 'nothing that exists is replaced, unless --overwrite is given'
const LINKS = 'symbolic links are stored as links'
const LEADING_SLASH = "a leading '/' is always left out"
const RENAMING = 'names are restored as they are stored: rename what was restored'

const HINTS: ReadonlyMap<string, string> = new Map([
  ...each(['z', 'j', 'J', 'Z', 'a', 'I', 'gzip', 'gunzip', 'bzip2', 'xz', 'lzma', 'zstd'], COMPRESSION),
  ...each(['compress', 'auto-compress', 'use-compress-program'], COMPRESSION),
  ...each(['S', 'sparse'], ALWAYS_HOLES),
  ...each(['xattrs', 'acls', 'selinux'], ALWAYS_ATTRIBUTES),
  ...each(['r', 'u', 'A', 'append', 'update', 'catenate', 'concatenate', 'delete'], NO_APPEND),
  ...each(['d', 'diff', 'compare', 'W'], COMPARE),
  ...each(['k', 'keep-old-files'], NO_REPLACING),
  ...each(['skip-old-files'], 'use --keep-existing'),
  ...each(['U', 'unlink-first'], 'use --overwrite'),
  ...each(['h', 'dereference'], LINKS),
  ...each(['P', 'absolute-names'], LEADING_SLASH),
  ...each(['preserve-permissions'], 'use --same-permissions'),
  ...each(['get'], 'use --extract'),
  ...each(['strip-components', 'transform', 'xform'], RENAMING),
  ...each(['totals'], 'use --verbose'),
])

/** Letters that tar knows. */
export const TAR_LETTERS: ReadonlySet<string> = new Set(
  [...HINTS.keys()].filter(({ length }) => length === 1),
)

/** What to do instead of an option of tar. */
export function tarHint(name: string): string | undefined {
  return HINTS.get(name)
}

function each(names: readonly string[], hint: string): (readonly [string, string])[] {
  return names.map(name => [name, hint] as const)
}
