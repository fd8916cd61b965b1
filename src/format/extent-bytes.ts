import type { Extent } from '../record.js'
import type { ExtentRow } from './extent-row.js'

/** What the extents of files hold, in bytes. */
export interface ExtentBytes {
  /** Sum of the sizes of all files: all of the following together. */
  logicalBytes: number
  /** Of data. */
  dataBytes: number
  /** Of references to what shared storage at the source. */
  sharedBytes: number
  /** Of references to what was found equal. */
  duplicateBytes: number
  holeBytes: number
  missingBytes: number
}

export function noExtentBytes(): ExtentBytes {
  return { logicalBytes: 0, dataBytes: 0, sharedBytes: 0, duplicateBytes: 0, holeBytes: 0, missingBytes: 0 }
}

export function countExtent(bytes: ExtentBytes, extent: Extent | ExtentRow): void {
  const length = extent.kind === 'data' ? extent.bytes.byteLength : extent.length
  bytes.logicalBytes += length
  switch (extent.kind) {
    case 'reference':
      if (extent.origin === 'shared') bytes.sharedBytes += length
      else bytes.duplicateBytes += length
      break
    case 'hole':
      bytes.holeBytes += length
      break
    case 'missing':
      bytes.missingBytes += length
      break
    default:
      bytes.dataBytes += length
  }
}
