import type { OptionName, Values } from './options.js'

/** What is given to a command besides options. */
export interface Operand {
  /** PATH stands for any number of files and directories, DIR for one directory. */
  readonly name: 'PATH' | 'DIR' | 'COMMAND' | 'SHELL'
  readonly isRequired: boolean
  /** An option that names them, too. */
  readonly unless?: OptionName
  readonly choices?: readonly string[]
  readonly meaning: string
}

export interface Example {
  readonly command: string
  readonly meaning: string
}

/** @param commands - all that there are, for what tells of them */
type Run<Value> = (values: Value, operands: readonly string[], commands: readonly Command[]) => Promise<void>

export interface Command {
  readonly name: string
  /** As tar has it: `reftar -c` is `reftar create`. */
  readonly letter?: string
  readonly summary: string
  /** Paragraphs. */
  readonly description: readonly string[]
  readonly operand?: Operand
  /** In the order of help. */
  readonly options: readonly OptionName[]
  /** How the meaning of an option reads here, where that is clearer. */
  readonly wording?: { readonly [Name in OptionName]?: string }
  readonly examples: readonly Example[]
  /** What runs is loaded only now: every command starts faster without the others. */
  load(): Promise<Run<never>>
}

/** The compiler holds that what runs asks for no option that is not declared. */
export function command<const Name extends OptionName>(
  declared: Omit<Command, 'options' | 'load'> & {
    readonly options: readonly Name[]
    load(): Promise<Run<Values<Name>>>
  },
): Command {
  return declared
}
