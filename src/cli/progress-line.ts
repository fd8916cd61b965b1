import type { DecodeSummary } from '../stream/extent-decoder.js'
import { count, formatBytes } from './amounts.js'

/** How far something has come. */
export interface Figures {
  readonly entries: number
  /** Of files, or of the archive. */
  readonly bytesRead: number
  /** What `bytesRead` will be in the end, where that is known. */
  readonly totalBytes?: number | undefined
  /** The sizes of files together, as far as they have come. */
  readonly logicalBytes: number
  /** Of these, what is stored or cloned as a reference to other data. */
  readonly sharedBytes?: number
}

/** At a moment. */
export interface Snapshot extends Figures {
  readonly seconds: number
  /** Of `bytesRead`. */
  readonly bytesPerSecond: number
  /** A whole number, where it can be known. */
  readonly secondsLeft?: number
}

/** Of an archive that is read, of which `totalBytes` are known. */
export function archiveFigures(
  { entries, archiveBytes, logicalBytes, sharedBytes, duplicateBytes }: DecodeSummary,
  totalBytes: number | undefined,
): Figures {
  return {
    entries,
    bytesRead: archiveBytes,
    totalBytes,
    logicalBytes,
    sharedBytes: sharedBytes + duplicateBytes,
  }
}

interface Part {
  readonly text: string
  /** The lower, the longer it stays. */
  readonly rank: number
}

/**
 * How far it has come, in one line: what matters least is left out until it fits.
 *
 * @param width - in columns
 */
export function progressLine(snapshot: Snapshot, width: number): string {
  const parts = partsOf(snapshot)
  for (;;) {
    const line = parts.map(({ text }) => text).join(' ')
    if (line.length <= width || parts.length === 1) return line.replace(/[,:]$/, '')
    const last = Math.max(...parts.map(({ rank }) => rank))
    parts.splice(
      parts.findIndex(({ rank }) => rank === last),
      1,
    )
  }
}

function partsOf(snapshot: Snapshot): Part[] {
  const { entries, bytesRead, totalBytes, logicalBytes, sharedBytes, seconds } = snapshot
  const { bytesPerSecond, secondsLeft } = snapshot
  const isRead = bytesRead === totalBytes
  const parts: (Part | undefined)[] = [
    { text: `${count(entries, 'entry', 'entries')},`, rank: 5 },
    { text: `${short(logicalBytes)}:`, rank: 1 },
    { text: `${short(bytesRead)} read,`, rank: 0 },
    sharedBytes === undefined ? undefined : { text: `${short(sharedBytes)} shared,`, rank: 4 },
    isRead ? undefined : { text: `${short(bytesPerSecond)}/s,`, rank: 3 },
    { text: `${clock(Math.floor(seconds))} so far,`, rank: 7 },
    totalBytes ? { text: `${Math.floor((bytesRead / totalBytes) * 100)} %,`, rank: 6 } : undefined,
    secondsLeft === undefined ? undefined : { text: `${clock(secondsLeft)} left`, rank: 2 },
    isRead ? { text: 'finishing', rank: 2 } : undefined,
  ]
  return parts.filter(part => part !== undefined)
}

/** With three digits at most, and nothing behind a point where there are three before it. */
function short(bytes: number): string {
  return formatBytes(Math.round(bytes)).replace(/(\d{3,})\.\d/, '$1')
}

/** Whole seconds, as 1:02:03. */
function clock(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const two = (value: number) => String(value).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}
