import type { ReftarError } from '../errors.js'
import type { Command } from './command.js'
import { COMMANDS } from './commands.js'
import { didYouMean, misuse } from './misuse.js'
import { findOption, keyOf, OPTIONS, type OptionDeclaration } from './options.js'
import { tarHint } from './tar-options.js'

/** An option as it was given. */
export interface Given {
  readonly name: string
  /** With its dashes. */
  readonly rawName: string
  /** Of which argument it is a part. */
  readonly index: number
  readonly value?: string | undefined
  readonly inlineValue?: boolean | undefined
}

/** The value of every option of a command, by the names that it has for what runs. */
export function valuesOf(command: Command, tokens: readonly Given[]): Record<string, unknown> {
  const values = defaults(command)
  const seen = new Set<string>()
  for (const { name, rawName, value, inlineValue } of tokens) {
    const option = findOption(name)
    if (!option || !isKnown(name)) throw unknownOption({ name, rawName }, command)
    if (!command.options.some(taken => taken === name)) throw misuse(elsewhere(rawName, name, command))
    if (!option.value && inlineValue) throw misuse(`'${rawName}' takes no value, found '${value}'`)
    if (option.once && seen.has(name))
      throw misuse(`'${rawName}' is given twice: all paths begin at one directory`)
    seen.add(name)
    const key = keyOf(name)
    const one = option.value ? read(rawName, option, value) : !name.startsWith('no-')
    values[key] = option.repeated ? [...(values[key] as unknown[]), one] : one
  }
  for (const name of seen) {
    const other = findOption(name)?.conflicts
    if (other && seen.has(other)) throw misuse(`'--${name}' and '--${other}' exclude each other`)
  }
  return values
}

function defaults(command: Command): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const name of command.options) {
    const option: OptionDeclaration = OPTIONS[name]
    if (option.repeated) values[keyOf(name)] = []
    else if (option.default !== undefined) values[keyOf(name)] = option.default
    else if (!option.value && !option.depends) values[keyOf(name)] = name.startsWith('no-')
  }
  return values
}

function read(rawName: string, option: OptionDeclaration, value: string | undefined): string | number {
  if (value === undefined) throw misuse(`'${rawName}' needs a value: ${option.value}`)
  if (option.choices && !option.choices.includes(value)) {
    throw misuse(`'${rawName}' is '${value}', expected one of ${option.choices.join(', ')}`)
  }
  if (option.value !== 'N' && option.value !== 'BYTES') return value
  const number = Number(value)
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number)) {
    throw misuse(`'${rawName}' is '${value}', expected a whole number`)
  }
  return number
}

export function unknownOption(
  { name, rawName }: Pick<Given, 'name' | 'rawName'>,
  command?: Command,
): ReftarError {
  const hint = tarHint(name === 'help' ? 'h' : name)
  if (hint !== undefined) return misuse(`unknown option '${rawName}': ${hint}`)
  const names = (command?.options ?? Object.keys(OPTIONS)).map(option => `--${option}`)
  return misuse(`unknown option '${rawName}'${rawName.startsWith('--') ? didYouMean(rawName, names) : ''}`)
}

/** Help that was asked for is not looked for any more: this is a letter in a bundle. */
export function isKnown(name: string): boolean {
  return findOption(name) !== undefined && name !== 'help'
}

function elsewhere(rawName: string, name: string, command: Command): string {
  const owners = COMMANDS.filter(({ options }) => options.some(option => option === name))
  return `'${rawName}' is an option of ${owners.map(owner => owner.name).join(', ')}, not of ${command.name}`
}
