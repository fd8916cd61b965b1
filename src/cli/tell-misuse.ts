import type { ReftarError } from '../errors.js'
import { COMMANDS, findCommand } from './commands.js'
import { escapeText } from './output.js'
import { FATAL } from './run.js'
import { styler } from './style.js'

/** Says what is wrong with a command line, and where to find out what would be right. */
export function tellMisuse({ message }: ReftarError, [first = '']: readonly string[]): void {
  const prefix = styler(process.stderr)('red', 'reftar:')
  const command = findCommand(first) ?? COMMANDS.find(({ letter }) => letter && isBundleWith(letter, first))
  const help = command ? `reftar ${command.name} --help` : 'reftar --help'
  process.stderr.write(`${prefix} ${escapeText(message)}\nreftar: try '${help}'\n`)
  process.exitCode = FATAL
}

function isBundleWith(letter: string, word: string): boolean {
  return /^-[a-zA-Z]+$/.test(word) && word.includes(letter)
}
