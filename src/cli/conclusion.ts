import type { CreateSummary } from '../create.js'
import type { ArchiveSummary } from '../stream/archive-summary.js'
import type { WriteSummary } from '../stream/reflink-writer.js'
import type { ComparisonSummary } from '../stream/tree-comparer.js'
import type { VerifySummary } from '../verify.js'
import { count, formatBytes, shareOf } from './amounts.js'

/** What is asked for, and so is no loss. */
const WANTED = 'not asked for'

/** Of reasons that `copyReasons` and `lossReasons` have. */
const IN_WORDS: Readonly<Record<string, string>> = {
  EOPNOTSUPP: 'the target cannot clone (EOPNOTSUPP)',
  ENOTTY: 'the target cannot clone (ENOTTY)',
  ENOSYS: 'the kernel cannot clone (ENOSYS)',
  EXDEV: 'the target is on more than one filesystem (EXDEV)',
  'EINVAL (NOCOW)': 'the target is NOCOW (EINVAL)',
  EINVAL: 'the filesystem cannot clone it (EINVAL)',
  EPERM: 'a file may not be changed (EPERM)',
  ETXTBSY: 'a file is in use as swap (ETXTBSY)',
  'not aligned': 'not aligned to the blocks of the target',
  'smaller than a block': 'smaller than a block of the target',
}

/** What was archived, and what became of it. */
export function archived({ tree, dedup, archive }: CreateSummary, seconds: number): string[] {
  const parts = [
    `${formatBytes(tree.bytesRead)} read`,
    `${formatBytes(archive.dataBytes)} stored`,
    `${formatBytes(tree.sharedBytes)} shared`,
    `${formatBytes(dedup.duplicateBytes)} found equal`,
    `${formatBytes(tree.holeBytes)} holes`,
  ]
  return [`${counted(tree)}: ${parts.join(', ')}`, size(archive, seconds)]
}

/** What was restored, and of what it was made. */
export function restored(target: WriteSummary, archive: ArchiveSummary, seconds: number): string[] {
  const { writtenBytes, zeroCopyBytes, clonedBytes, copiedBytes, holeBytes, clones, refusedClones } = target
  const calls = refusedClones > 0 ? `${clones} of ${clones + refusedClones} calls` : count(clones, 'call')
  const parts = [
    `${formatBytes(writtenBytes)} written`,
    ...(zeroCopyBytes > 0 ? [`${formatBytes(zeroCopyBytes)} cloned out of the archive`] : []),
    `${formatBytes(clonedBytes)} cloned in ${calls}`,
    ...(copiedBytes > 0 ? [`${formatBytes(copiedBytes)} copied`] : []),
    `${formatBytes(holeBytes)} holes`,
  ]
  return [`${counted(target)}: ${parts.join(', ')}`, ...kept(target), size(archive, seconds)]
}

/** What was found of an archive, and of the tree that it was compared with. */
export function verified({ archive, tree }: VerifySummary, verbose: boolean, seconds: number): string[] {
  const { dataBytes, sharedBytes, duplicateBytes, holeBytes } = archive
  const parts = [
    `${formatBytes(dataBytes)} stored`,
    `${formatBytes(sharedBytes)} shared`,
    `${formatBytes(duplicateBytes)} found equal`,
    `${formatBytes(holeBytes)} holes`,
  ]
  const lines = verbose ? [`${counted(archive)}: ${parts.join(', ')}`, size(archive, seconds)] : []
  if (!tree) return lines
  const { differences } = tree
  return [
    ...lines,
    differences === 0 ? 'no differences' : count(differences, 'difference'),
    sharingKept(tree),
  ]
}

function sharingKept({ keptBytes, sharedBytes }: ComparisonSummary): string {
  if (sharedBytes === 0) return 'no sharing to keep'
  // Rounded down, so that only all is 100 %.
  const percent = Math.floor((keptBytes / sharedBytes) * 1000) / 10
  return `sharing kept ${percent} % (${shareOf(keptBytes, sharedBytes)})`
}

/** Whether what was shared is shared again, and why not; nothing where nothing was shared. */
export function kept({ sharedBytes, keptBytes, lossReasons }: WriteSummary): string[] {
  if (sharedBytes === 0) return []
  const all = `${shareOf(keptBytes, sharedBytes)} that were shared are shared again`
  const reasons = Object.entries(lossReasons)
  if (reasons.length === 0) return [all]
  const words = reasons.map(([reason, bytes]) => {
    return `${reasons.length > 1 ? `${formatBytes(bytes)} ` : ''}${IN_WORDS[reason] ?? reason}`
  })
  return [`${all}; ${formatBytes(sharedBytes - keptBytes)} copied: ${words.join(', ')}`]
}

/** As {@link kept}, where sharing was lost that nobody wanted to lose. */
export function lost(target: WriteSummary): string[] {
  return Object.keys(target.lossReasons).some(reason => reason !== WANTED) ? kept(target) : []
}

function size({ archiveBytes, ratio }: ArchiveSummary, seconds: number): string {
  return `archive ${formatBytes(archiveBytes)}, ratio ${ratio.toFixed(1)}; ${seconds.toFixed(1)} s`
}

function counted({ entries, logicalBytes }: { readonly entries: number; readonly logicalBytes: number }) {
  return `${count(entries, 'entry', 'entries')}, ${formatBytes(logicalBytes)}`
}
