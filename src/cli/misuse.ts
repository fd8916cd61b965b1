import type { ReftarError } from '../errors.js'
import { findCommand } from './commands.js'
import { escapeText } from './output.js'
import { FATAL } from './run.js'
import { styler } from './style.js'

/** Says what is wrong with a command line, and where to find out what would be right. */
export function tellMisuse({ message }: ReftarError): void {
  const command = findCommand(process.argv[2] ?? '')
  const help = command ? `reftar ${command.name} --help` : 'reftar --help'
  const prefix = styler(process.stderr)('red', 'reftar:')
  process.stderr.write(`${prefix} ${escapeText(message)}\nreftar: try '${help}'\n`)
  process.exitCode = FATAL
}
