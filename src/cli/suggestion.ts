import { closestMatch } from 'leven'

/** The one of some names that somebody may have meant. */
export function closest(word: string, names: readonly string[]): string | undefined {
  const maxDistance = Math.max(1, Math.floor(word.length / 3))
  return closestMatch(word, [...names], { maxDistance })
}
