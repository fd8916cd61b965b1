import { ReftarError } from '../errors.js'
import { closest } from './suggestion.js'

/** Of what is wrong with a command line. */
export function misuse(message: string): ReftarError {
  return new ReftarError('INVALID_ARGUMENT', message)
}

/** The end of a message about a word that is unknown. */
export function didYouMean(word: string, names: readonly string[]): string {
  const suggestion = closest(word, names)
  return suggestion === undefined ? '' : `, did you mean '${suggestion}'?`
}
