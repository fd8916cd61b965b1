import type { Command } from '../command.js'
import { OPTIONS, type OptionDeclaration, type OptionName } from '../options.js'

/** What can stand somewhere: paths, some words, or nothing that can be guessed. */
export type Completed = 'files' | 'directories' | readonly string[] | undefined

/** The value of an option; undefined also where it takes none. */
export function valueIs(name: OptionName): Completed {
  const { value, choices }: OptionDeclaration = OPTIONS[name]
  if (choices) return choices
  return value === 'FILE' ? 'files' : value === 'DIR' ? 'directories' : undefined
}

/** What is given to a command besides options. */
export function operandIs({ operand }: Command, commands: readonly Command[]): Completed {
  switch (operand?.name) {
    case 'PATH':
      return 'files'
    case 'DIR':
      return 'directories'
    case 'COMMAND':
      return commands.map(({ name }) => name)
    default:
      return operand?.choices
  }
}

export function takesValue(name: OptionName): boolean {
  return 'value' in OPTIONS[name]
}

export function letterOf(name: OptionName): string | undefined {
  const { letter }: OptionDeclaration = OPTIONS[name]
  return letter
}

/** The beginning of a meaning, for where there is little room. */
export function brief(meaning: string): string {
  return meaning.replace(/[;:].*/, '')
}
