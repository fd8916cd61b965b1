import { parseArgs } from 'node:util'
import type { ReftarError } from '../errors.js'
import type { Command } from './command.js'
import { COMMANDS, findCommand, HELP } from './commands.js'
import { didYouMean, misuse } from './misuse.js'
import { type Given, isKnown, unknownOption, valuesOf } from './option-values.js'
import { keyOf, OPTIONS, type OptionDeclaration } from './options.js'
import { TAR_LETTERS } from './tar-options.js'

/** What somebody asks for. */
export interface Invocation {
  readonly command: Command
  readonly values: Readonly<Record<string, unknown>>
  readonly operands: readonly string[]
}

/** Options that are commands, as tar has it: `-c` and `--create`. */
const LETTERED = COMMANDS.filter(({ letter }) => letter !== undefined)

/** @throws INVALID_ARGUMENT for what is no command, no option, or not as an option wants it */
export function parseCommandLine(argv: readonly string[]): Invocation | 'version' {
  const args = withDashes(argv)
  const { tokens } = parseArgs({ args, options: KNOWN, strict: false, allowPositionals: true, tokens: true })
  const given = tokens.flatMap(token => (token.kind === 'option' ? [token] : []))
  const words = tokens.flatMap(token => (token.kind === 'positional' ? [token.value] : []))
  const { command, operands, options } = chosen(args, words, given)
  // In a bundle, it is an option of tar that has nothing to do with help.
  if (given.some(({ name, index }) => name === 'help' && /^(-h$|--)/.test(args[index] ?? '')))
    return { command: HELP, values: {}, operands: command && command !== HELP ? [command.name] : operands }
  if (given.some(({ name }) => name === 'version')) return 'version'
  if (!command) {
    const unknown = options.find(({ name }) => !isKnown(name))
    throw unknown ? unknownOption(unknown) : misuse('no command, expected one')
  }
  const values = valuesOf(command, options)
  checkOperands(command, operands, values)
  return { command, values, operands }
}

/** As parseArgs wants them, and with the ones that every command line may have. */
const KNOWN = Object.fromEntries<{ type: 'string' | 'boolean'; short?: string }>([
  ...Object.entries<OptionDeclaration>(OPTIONS).map(
    ([name, { letter, value }]) =>
      [name, { type: value ? 'string' : 'boolean', ...(letter && { short: letter }) }] as const,
  ),
  ...LETTERED.map(({ name, letter = '' }) => [name, { type: 'boolean', short: letter }] as const),
  ['version', { type: 'boolean' }],
])

/** Old manners: in `cvf FILE`, the letters have no dash, and their values follow in order. */
function withDashes(argv: readonly string[]): string[] {
  const [first = '', ...rest] = argv
  const letters = Array.from(first)
  const isBundle =
    !findCommand(first) &&
    letters.filter(letter => LETTERED.some(command => command.letter === letter)).length === 1 &&
    letters.every(
      letter => Object.values(KNOWN).some(({ short }) => short === letter) || TAR_LETTERS.has(letter),
    )
  if (!isBundle) return [...argv]
  const takesValue = (letter: string) =>
    Object.values(KNOWN).some(({ short, type }) => short === letter && type === 'string')
  const flags = letters.filter(letter => !takesValue(letter))
  const valued = letters.filter(takesValue).flatMap(letter => [`-${letter}`, ...rest.splice(0, 1)])
  return [`-${flags.join('')}`, ...valued, ...rest]
}

/** The command, what is left of the words, and what is left of the options. */
function chosen(args: readonly string[], words: readonly string[], given: readonly Given[]) {
  const isLettered = ({ name }: Given) => LETTERED.some(command => command.name === name)
  const lettered = given.filter(isLettered)
  const options = given.filter(token => !isLettered(token))
  const [first, ...operands] = words
  const named = first === undefined ? undefined : findCommand(first)
  const [letter] = lettered
  if (letter && !(named && args[0] === first)) {
    const other = lettered.find(({ name }) => name !== letter.name)
    if (other) throw misuse(`'${letter.rawName}' and '${other.rawName}' are two commands, expected one`)
    return { command: findCommand(letter.name), operands: words, options }
  }
  if (letter) throw misuse(`'${first}' and '${letter.rawName}' are two commands, expected one`)
  if (first !== undefined && !named) {
    const unknown = options.find(({ name }) => !isKnown(name))
    throw unknown && args[0] !== first ? unknownOption(unknown) : unknownCommand(first)
  }
  return { command: named, operands, options }
}

function checkOperands(
  { name, operand }: Command,
  operands: readonly string[],
  values: Invocation['values'],
): void {
  const named = operand?.unless ? values[keyOf(operand.unless)] : []
  if (operand?.isRequired && operands.length + (named as string[]).length === 0) {
    throw misuse(`no ${operand.name}, expected at least one`)
  }
  const [first, second] = operands
  if (!operand && first !== undefined) throw misuse(`'${first}' is one word too many: ${name} takes no names`)
  if (operand && operand.name !== 'PATH' && second !== undefined) {
    throw misuse(`'${second}' is one word too many: ${name} takes one`)
  }
  if (operand?.choices && first !== undefined && !operand.choices.includes(first)) {
    throw misuse(`'${first}' is no ${operand.name}, expected one of ${operand.choices.join(', ')}`)
  }
  if (operand?.name === 'COMMAND' && first !== undefined && !findCommand(first)) throw unknownCommand(first)
}

function unknownCommand(name: string): ReftarError {
  const names = COMMANDS.map(command => command.name)
  return misuse(`unknown command '${name}'${didYouMean(name, names)}`)
}
