import { findDuplicates } from './duplicates.js'
import { type ErrorCode, ReftarError } from './errors.js'
import { type Common, type Path, pathBytes, pathList, quotePath } from './event.js'
import { pathOf } from './fs/directory-tree.js'
import { leftOut, shownPath, walkFiles } from './fs/file-walk.js'
import { selectPaths } from './fs/selection.js'
import { StorageSurvey } from './fs/storage-survey.js'
import { type SharingReport, SharingTally } from './sharing-report.js'
import { Turn } from './stream/turn.js'

/** How far {@link sharing} has come. */
export interface SharingProgress {
  /** Whose storage is known. */
  files: number
  /** Sum of their sizes, in bytes. */
  logicalBytes: number
  /** With `content`: in bytes. */
  bytesRead: number
}

/** What {@link sharing} takes. */
export interface SharingOptions extends Common {
  /** Where relative paths begin; the working directory by default. */
  readonly directory?: Path
  /** Read all files, and find what is equal in them but not shared; false by default. */
  readonly content?: boolean
  /** Counted up as it goes on, for whoever looks at it meanwhile. */
  readonly progress?: SharingProgress
}

/**
 * Finds which ranges of files share storage. It is true of the moment: files that are written meanwhile may be told as
 * they were. Each inode counts once, symbolic links are not followed, and what cannot be read is told as a problem.
 *
 * @throws through the promise: INVALID_ARGUMENT for no path, an empty one, one with `..`, and two of the same name;
 *   SYSTEM_CALL when a path that was given cannot be read; the reason of `signal`
 */
export async function sharing(paths: Iterable<Path>, options: SharingOptions = {}): Promise<SharingReport> {
  const { directory = '.', content = false, onEvent = () => undefined, signal } = options
  const { progress = { files: 0, logicalBytes: 0, bytesRead: 0 } } = options
  const list = pathList(paths)
  const selection = selectPaths(list, () => undefined)
  const shown = (path: Uint8Array) => shownPath(selection, path)
  let problems = 0
  const onProblem = (code: ErrorCode, path: Uint8Array, message: string) => {
    problems++
    onEvent({ type: 'problem', code, path, message: `${quotePath(path)}: ${message}` })
  }
  signal?.throwIfAborted()
  const turn = new Turn()
  const makeWay = async () => {
    await turn.yield()
    signal?.throwIfAborted()
  }

  const survey = new StorageSurvey()
  for (const file of walkFiles(selection, { directory: pathBytes(directory), onProblem })) {
    try {
      const waiting = survey.take(file)
      if (waiting) await waiting
      progress.files++
      progress.logicalBytes += file.status.size
    } catch (error) {
      if (!(error instanceof ReftarError)) throw error
      onProblem('SOURCE_SKIPPED', shown(pathOf(file.directory, file.name)), leftOut(error))
    }
    if (turn.isDue) await makeWay()
  }
  for (const message of notesOf(survey)) onEvent({ type: 'note', message })
  const tally = new SharingTally(survey, shown)
  for (const range of survey.ranges()) {
    tally.count(range)
    if (turn.isDue) await makeWay()
  }
  if (!content) return tally.report(problems)

  const duplicates = await findDuplicates(list, progress, {
    directory,
    ...(signal && { signal }),
    onEvent(event) {
      // What was left out was named before.
      if (event.type !== 'problem' || event.code === 'SOURCE_SKIPPED') return
      problems++
      onEvent(event)
    },
  })
  const named = duplicates.map(({ path, earlier, bytes }) => ({
    path: shown(path),
    earlier: shown(earlier),
    bytes,
  }))
  return tally.report(problems, named)
}

function notesOf({ hasUntold, hasUnproven }: StorageSurvey): string[] {
  return [
    ...(hasUntold ? ['what compressed extents share is left out: only root can tell them apart'] : []),
    ...(hasUnproven ? ['some addresses may be wrong: only those of btrfs and XFS are sure'] : []),
  ]
}
