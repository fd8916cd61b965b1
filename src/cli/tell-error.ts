import { ReftarError } from '../errors.js'
import { fromNodeError } from '../sys/koffi.js'
import { COMMANDS, findCommand } from './commands.js'
import { escapeText } from './output.js'
import { FATAL } from './run.js'
import { styler } from './style.js'

/** Says what went wrong before a command began; of a command line, where to find out what would be right. */
export function tellError(thrown: unknown, argv: readonly string[]): void {
  const error = fromNodeError(thrown)
  if (!(error instanceof ReftarError)) throw error
  const prefix = styler(process.stderr)('red', 'reftar:')
  const hint = error.code === 'INVALID_ARGUMENT' ? `reftar: try '${helpFor(argv)}'\n` : ''
  process.stderr.write(`${prefix} ${escapeText(error.message)}\n${hint}`)
  process.exitCode = FATAL
}

function helpFor([first = '']: readonly string[]): string {
  const command = findCommand(first) ?? COMMANDS.find(({ letter }) => letter && isBundleWith(letter, first))
  return command ? `reftar ${command.name} --help` : 'reftar --help'
}

function isBundleWith(letter: string, word: string): boolean {
  return /^-[a-zA-Z]+$/.test(word) && word.includes(letter)
}
