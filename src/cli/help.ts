import type { Command } from './command.js'
import { OPTIONS, type OptionDeclaration, type OptionName } from './options.js'
import { type Style, styler } from './style.js'
import { wrap } from './wrap.js'

const WIDEST = 100

/** Of a command, or of the program. */
export async function runHelp(
  _: unknown,
  [name]: readonly string[],
  commands: readonly Command[],
): Promise<void> {
  const { stdout } = process
  const width = Math.min(stdout.columns ?? 80, WIDEST)
  const style = styler(stdout)
  const command = commands.find(
    ({ name: own, letter }) => name !== undefined && (own === name || letter === name),
  )
  stdout.write(command ? commandHelp(command, width, style) : programHelp(commands, width, style))
}

export function programHelp(commands: readonly Command[], width: number, style: Style): string {
  const heading = (text: string) => style('bold', text)
  return lines(
    `${heading('Usage:')} reftar COMMAND [OPTION]...`,
    '       reftar -cvf FILE PATH..., reftar -xvf FILE, reftar -tvf FILE',
    '',
    'Archives that keep shared storage shared.',
    '',
    heading('Commands:'),
    ...table(
      commands.map(({ name, letter, summary }) => [letter ? `${name}, ${letter}` : name, summary]),
      width,
    ),
    '',
    heading('Options:'),
    ...table(
      [
        ['-h, --help', 'this text, or that of a command'],
        ['    --version', 'the version of reftar'],
      ],
      width,
    ),
    '',
    heading('Examples:'),
    ...commands.filter(({ letter }) => letter).flatMap(({ examples }) => exampleLines(examples.slice(0, 1))),
    '',
    ...wrap(
      "'reftar help COMMAND' tells how to use a command. Exit status: 0 all is well, 1 done, but something that was named differs or was left out, 2 failed.",
      width,
    ),
  )
}

export function commandHelp(command: Command, width: number, style: Style): string {
  const heading = (text: string) => style('bold', text)
  const { description, examples, options } = command
  return lines(
    `${heading('Usage:')} ${usageOf(command)}`,
    ...description.flatMap(text => ['', ...wrap(text, width)]),
    '',
    heading('Options:'),
    ...table(
      options.map(name => [termOf(name), meaningOf(command, name)]),
      width,
    ),
    ...(examples.length > 0 ? ['', heading('Examples:'), ...exampleLines(examples)] : []),
  )
}

export function usageOf({ name, letter, operand }: Command): string {
  const words = operand ? `${operand.name}${operand.name === 'PATH' ? '...' : ''}` : ''
  const operands = operand ? (operand.isRequired ? ` ${words}` : ` [${words}]`) : ''
  const short = letter ? ` (or -${letter})` : ''
  return `reftar ${name}${short} [OPTION]...${operands}`
}

/** How an option is written. */
export function termOf(name: OptionName): string {
  const { letter, value }: OptionDeclaration = OPTIONS[name]
  return `${letter ? `-${letter}, ` : '    '}--${name}${value ? `=${value}` : ''}`
}

export function meaningOf({ wording }: Command, name: OptionName): string {
  return wording?.[name] ?? OPTIONS[name].meaning
}

function exampleLines(examples: Command['examples']): string[] {
  return examples.flatMap(({ command, meaning }) => [`  # ${meaning}`, `  ${command}`])
}

/** Terms with what they mean beside them. */
function table(rows: readonly (readonly [term: string, meaning: string])[], width: number): string[] {
  const indent = Math.max(...rows.map(([term]) => term.length)) + 4
  return rows.flatMap(([term, meaning]) => {
    const [first, ...rest] = wrap(meaning, width - indent)
    return [`  ${term.padEnd(indent - 2)}${first}`, ...rest.map(line => ' '.repeat(indent) + line)]
  })
}

function lines(...all: readonly string[]): string {
  return `${all.join('\n')}\n`
}
