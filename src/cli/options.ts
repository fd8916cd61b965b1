/** What a value is, by the word that stands for it in help; without one, an option takes none. */
export type ValueKind = 'FILE' | 'DIR' | 'GLOB' | 'HOW' | 'N' | 'BYTES'

export interface OptionDeclaration {
  readonly letter?: string
  readonly value?: ValueKind
  readonly choices?: readonly string[]
  readonly default?: string | number
  /** Each adds to a list. */
  readonly repeated?: true
  /** Tar gives a second one another meaning: none is taken. */
  readonly once?: true
  /** Without it, the default depends on who runs the command. */
  readonly depends?: true
  readonly conflicts?: string
  /** For help, the man page and completion. */
  readonly meaning: string
}

/**
 * Every option, once: it means the same wherever it is taken, and which commands take it stands in commands.ts. A command
 * gets its value by the name in camelCase; `no-digest` sets `digest` to false.
 */
export const OPTIONS = {
  file: {
    letter: 'f',
    value: 'FILE',
    default: '-',
    meaning: "the archive; '-', the default, is stdin or stdout",
  },
  directory: { letter: 'C', value: 'DIR', default: '.', once: true, meaning: 'where all paths begin' },
  verbose: { letter: 'v', meaning: 'name the entries, and say at the end what was done' },
  json: { meaning: 'one JSON object a line, the last one the summary' },
  progress: {
    depends: true,
    meaning: 'tell how far it has come: the default on a terminal, elsewhere a line now and then',
  },
  'no-progress': { depends: true, meaning: 'do not tell how far it has come' },
  'block-size': {
    value: 'N',
    default: 4096,
    meaning: 'the unit of the archive in bytes, a power of two from 512 to 65536; 4096 by default',
  },
  dedup: {
    value: 'HOW',
    choices: ['content', 'shared', 'none'],
    default: 'content',
    meaning: "what is stored once: equal 'content', the default, only 'shared' storage, or 'none'",
  },
  'no-digest': { meaning: 'leave the SHA-256 of the data out: only CRC32 protects it then' },
  paranoid: { meaning: 'read and compare shared storage instead of trusting its addresses' },
  snapshot: { meaning: 'read a clone of each file, so that it is stored as it was at one moment' },
  'files-from': {
    letter: 'T',
    value: 'FILE',
    repeated: true,
    meaning: 'archive what a file names, one a line, as well; may be repeated',
  },
  null: { meaning: 'a name of --files-from ends with a zero byte, not with its line' },
  exclude: {
    value: 'GLOB',
    repeated: true,
    meaning: 'leave out what matches, and all below; may be repeated',
  },
  'exclude-from': {
    letter: 'X',
    value: 'FILE',
    repeated: true,
    meaning: 'leave out what matches the globs in a file, one a line; may be repeated',
  },
  'exclude-vcs-ignores': { meaning: 'leave out what the .gitignore files of the tree name' },
  'exclude-caches': { meaning: 'leave out what is in directories with a CACHEDIR.TAG, but the tag' },
  'one-file-system': { meaning: 'leave out what is on other filesystems, or in other subvolumes' },
  'numeric-owner': { meaning: 'go by the numbers of users and groups, not by their names' },
  reflink: {
    value: 'HOW',
    choices: ['auto', 'exact', 'always', 'never'],
    default: 'auto',
    meaning:
      "what references become: 'auto' clones what is shared or large, and copies the rest; 'exact' clones only what was shared; 'always' fails where it cannot clone; 'never' copies",
  },
  overwrite: {
    conflicts: 'keep-existing',
    meaning: 'replace names that exist by new files, and set the metadata of directories that exist',
  },
  'keep-existing': { meaning: 'leave names that exist as they are, and name them' },
  'keep-partial': { meaning: 'after an error, keep the entries that are whole' },
  'same-owner': { depends: true, meaning: 'restore owners; the default for root' },
  'no-same-owner': {
    depends: true,
    meaning: 'files belong to whoever extracts them; the default without root',
  },
  'same-permissions': { letter: 'p', depends: true, meaning: 'restore modes as they are; the default' },
  'no-same-permissions': {
    depends: true,
    meaning: 'subtract the umask from modes, and drop setuid, setgid, sticky and capabilities',
  },
  devices: { depends: true, meaning: 'make device nodes; the default for root' },
  'no-devices': { depends: true, meaning: 'leave device nodes out; the default without root' },
  fsync: { meaning: 'write everything to disk before and after it gets its name' },
  'no-zero-copy': { meaning: 'write all data, even where it could be cloned into or out of the archive' },
  force: { meaning: 'try it, even where there is not enough room for it' },
  salvage: { meaning: 'restore what is whole in a damaged archive, and name what is lost' },
  against: { value: 'DIR', meaning: 'compare the archive with the tree below a directory' },
  content: { meaning: 'read the files too, and find what is equal but not shared' },
  'max-entries': { value: 'N', meaning: 'take no archive with more entries' },
  'max-references': { value: 'N', meaning: 'take no archive with more references' },
  'max-depth': { value: 'N', meaning: 'take no archive with more directories within each other' },
  'max-size': { value: 'BYTES', meaning: 'take no archive with more bytes in all files together' },
  'max-expansion': {
    value: 'BYTES',
    meaning: 'take no archive with more bytes of files for each of its own',
  },
  help: { letter: 'h', meaning: 'tell how to use it' },
} as const satisfies Record<string, OptionDeclaration>

export type OptionName = keyof typeof OPTIONS

/** The options of all commands that read an archive: see limits.ts. */
export const LIMITS = ['max-entries', 'max-references', 'max-depth', 'max-size', 'max-expansion'] as const

/** An option by its name; undefined where there is none. */
export function findOption(name: string): OptionDeclaration | undefined {
  return Object.hasOwn(OPTIONS, name) ? OPTIONS[name as OptionName] : undefined
}

/** Where a command finds the value of an option. */
export function keyOf(name: string): string {
  return name.replace(/^no-/, '').replace(/-./g, ([, letter = '']) => letter.toUpperCase())
}

type CamelCase<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name
type Key<Name extends string> = CamelCase<Name extends `no-${infer Positive}` ? Positive : Name>

type Single<Option> = Option extends { choices: readonly (infer Choice)[] }
  ? Choice
  : Option extends { value: 'N' | 'BYTES' }
    ? number
    : Option extends { value: string }
      ? string
      : boolean
type Value<Option> = Option extends { repeated: true } ? readonly Single<Option>[] : Single<Option>
type IsGiven<Option> = Option extends { default: unknown } | { repeated: true }
  ? true
  : Option extends { value: string } | { depends: true }
    ? false
    : true

/** What a command gets that takes these options. */
export type Values<Name extends OptionName> = {
  readonly [N in Name as IsGiven<(typeof OPTIONS)[N]> extends true ? Key<N> : never]: Value<
    (typeof OPTIONS)[N]
  >
} & {
  readonly [N in Name as IsGiven<(typeof OPTIONS)[N]> extends true ? never : Key<N>]?: Value<
    (typeof OPTIONS)[N]
  >
}
