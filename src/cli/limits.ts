import type { ExtractOptions } from '../extract.js'

type Limits = Required<NonNullable<ExtractOptions['limits']>>

/** The limits that can be set, as options of every command that reads an archive. */

export interface LimitOptions {
  readonly maxEntries?: number
  readonly maxReferences?: number
  readonly maxDepth?: number
  readonly maxSize?: number
  readonly maxExpansion?: number
}

const OPTIONS: Readonly<Record<keyof Limits, string>> = {
  entries: '--max-entries',
  references: '--max-references',
  depth: '--max-depth',
  logicalBytes: '--max-size',
  expansion: '--max-expansion',
}

export function limitsOf(options: LimitOptions): Partial<Limits> {
  const { maxEntries, maxReferences, maxDepth, maxSize, maxExpansion } = options
  return {
    ...(maxEntries !== undefined && { entries: maxEntries }),
    ...(maxReferences !== undefined && { references: maxReferences }),
    ...(maxDepth !== undefined && { depth: maxDepth }),
    ...(maxSize !== undefined && { logicalBytes: maxSize }),
    ...(maxExpansion !== undefined && { expansion: maxExpansion }),
  }
}

/** The option that raises a limit. */
export function limitOption(limit: string): string {
  return OPTIONS[limit as keyof Limits]
}
