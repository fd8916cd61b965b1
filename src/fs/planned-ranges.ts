import type { SharedExtent } from './shared-extents.js'
import type { SharedMap, Sighting } from './shared-map.js'

/** A range of a file, in bytes of that file; contiguous and in order they cover its shared storage. */
export interface PlannedRange {
  readonly offset: number
  readonly length: number
  /** Where equal bytes went, or undefined for the first of their kind. */
  readonly address: number | undefined
  readonly extent: SharedExtent
}

/**
 * The shared ranges of a file in order; each is looked up only when it is asked for, so a file may share with itself.
 *
 * @param isProven - whether it may refer to what was seen, which may be in the file itself
 * @param unit - in bytes: parts of it cannot be shared
 */
export function* plannedRanges(
  seen: SharedMap,
  extents: readonly SharedExtent[],
  isProven: (sighting: Sighting) => boolean,
  unit: number,
): Generator<PlannedRange, void, undefined> {
  for (const extent of extents) {
    let at = extent.position
    const end = extent.position + extent.length
    const part = (from: number, to: number, address: number | undefined): PlannedRange => ({
      offset: extent.offset + from - extent.position,
      length: to - from,
      address,
      extent,
    })
    for (const { start, length: all, sighting } of [
      ...seen.find(extent.space, extent.position, extent.length),
    ]) {
      // The last block of an earlier file, of which this one has more: only the whole of it can be shared.
      const overhang = start + all < end ? (start + all) % unit : 0
      const length = all - overhang
      if (length <= 0) continue
      if (!isProven(sighting)) continue
      if (start > at) yield part(at, start, undefined)
      yield part(start, start + length, sighting.address)
      at = start + length
    }
    if (at < end) yield part(at, end, undefined)
  }
}
