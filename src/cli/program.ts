/** What help and the man page say of the program as a whole. */

export const SUMMARY = 'archives that keep shared storage shared'

export const DESCRIPTION: readonly string[] = [
  'reftar archives files and restores them, through a file, a pipe, ssh or any other stream of bytes. What shares storage at the source, as clones of files and snapshots do on btrfs and XFS, is stored once, and shares storage again where it is restored. Equal content is found, too. Where the target cannot share, the same archive restores to plain copies.',
  'Without -f, the archive goes to stdout and comes from stdin.',
]

/** As it is typed, besides commands by their names. */
export const SHORT_FORMS: readonly string[] = [
  'reftar -cvf FILE PATH...',
  'reftar -xvf FILE [-C DIR]',
  'reftar -tvf FILE',
]

type Row = readonly [term: string, meaning: string]

export const EXIT_STATUS: readonly Row[] = [
  ['0', 'all is well'],
  ['1', 'it is done, but something that was named on stderr differs or was left out'],
  ['2', 'it failed, or the command line is wrong'],
]

export const ENVIRONMENT: readonly Row[] = [
  ['NO_COLOR', 'if it is not empty, nothing is shown in colours'],
  ['FORCE_COLOR', 'if it is set, colours are shown without a terminal, too; 0 shows none'],
  ['TERM', "a 'dumb' terminal is shown no colours"],
  ['TZ', 'the time zone of what list -v shows'],
  ['TMPDIR', 'where tables go that are too large for memory; they have no names there'],
]
