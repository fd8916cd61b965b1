import type { Command } from './command.js'
import { OPTIONS, type OptionDeclaration, type OptionName } from './options.js'
import { print } from './print.js'
import { DESCRIPTION, EXIT_STATUS, SHORT_FORMS } from './program.js'
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
  await print(command ? commandHelp(command, width, style) : programHelp(commands, width, style))
}

export function programHelp(commands: readonly Command[], width: number, style: Style): string {
  const heading = (text: string) => style('bold', text)
  const [usage, ...others] = ['reftar COMMAND [OPTION]...', ...SHORT_FORMS]
  return lines(
    `${heading('Usage:')} ${usage}`,
    ...others.map(form => `       ${form}`),
    ...DESCRIPTION.flatMap(text => ['', ...wrap(text, width)]),
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
        ['-h, --help', 'how to use a command'],
        ['    --version', 'the version of reftar'],
      ],
      width,
    ),
    '',
    heading('Examples:'),
    ...commands.filter(({ letter }) => letter).flatMap(({ examples }) => exampleLines(examples.slice(0, 1))),
    '',
    heading('Exit status:'),
    ...table(EXIT_STATUS, width),
  )
}

export function commandHelp(command: Command, width: number, style: Style): string {
  const heading = (text: string) => style('bold', text)
  const { description, examples, options } = command
  const [usage, ...others] = usagesOf(command)
  return lines(
    `${heading('Usage:')} ${usage}`,
    ...others.map(form => `       ${form}`),
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

/** The ways to call a command. */
export function usagesOf({ name, letter, operand }: Command): string[] {
  const words = operand ? `${operand.name}${operand.name === 'PATH' ? '...' : ''}` : ''
  const operands = operand ? (operand.isRequired ? ` ${words}` : ` [${words}]`) : ''
  return [name, ...(letter ? [`-${letter}`] : [])].map(word => `reftar ${word} [OPTION]...${operands}`)
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
