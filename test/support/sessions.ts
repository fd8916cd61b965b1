// Commands as documents show them, and what they say.

/** What is typed after a `$`, and what is shown below it. */
export interface Step {
  readonly command: string
  /** Undefined where a document does not show what it says. */
  readonly output: readonly string[] | undefined
}

/** The steps of a block: all of it is one command, unless it shows a session at a prompt. */
export function stepsOf(text: string): Step[] {
  if (!text.startsWith('$ ')) return [{ command: text, output: undefined }]
  const steps: { command: string; output: string[] }[] = []
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('$ ')) steps.push({ command: line.slice('$ '.length), output: [] })
    else steps.at(-1)?.output.push(line)
  }
  return steps
}

/**
 * Whether a command says what a document shows. Numbers and widths of columns may be others, and a line of three dots stands
 * for any lines.
 */
export function saysThat(shown: readonly string[], said: string): boolean {
  const lines = said.trimEnd() === '' ? [] : said.trimEnd().split('\n').map(withoutNumbers)
  return matches(shown.map(withoutNumbers), lines)
}

function matches(shown: readonly string[], lines: readonly string[]): boolean {
  const [first, ...rest] = shown
  if (first === undefined) return lines.length === 0
  if (first === '...') return lines.some((_, i) => matches(rest, lines.slice(i))) || rest.length === 0
  return lines[0] === first && matches(rest, lines.slice(1))
}

function withoutNumbers(line: string): string {
  return line
    .trim()
    .replace(/\d[\d.]*(-[\w-]+)?( [KMGTP]i?B| B\b)?/g, '#')
    .replace(/ {2,}/g, ' ')
}
