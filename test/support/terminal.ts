// The built command on a terminal, and what is to be seen there.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CLI } from '../cli/run.js'

const PROGRAM = fileURLToPath(new URL('terminal.py', import.meta.url))

/** What a terminal shows that obeys no control sequences, only a carriage return and a line feed. */
export class Screen {
  /** All lines, the last of them with the cursor. */
  readonly lines = ['']
  /** What was written up to each carriage return, without blanks at the end. */
  readonly frames: string[] = []
  /** Whether a line went on in the next one. */
  isWrapped = false
  /** What it would not obey. */
  readonly unknown: string[] = []
  columns: number
  #at = 0
  #written = ''

  constructor(columns: number) {
    this.columns = columns
  }

  /** Without blanks at the end. */
  get text(): string {
    return this.lines.map(line => line.trimEnd()).join('\n')
  }

  write(text: string): void {
    for (const character of text) {
      this.#written = character === '\n' ? '' : this.#written + character
      if (character === '\r') this.#return()
      else if (character === '\n') this.#feed()
      else if (/\p{C}/u.test(character)) this.unknown.push(character)
      else this.#put(character)
    }
  }

  #return(): void {
    const frame = this.#written.trimEnd()
    if (frame !== '') this.frames.push(frame)
    this.#written = ''
    this.#at = 0
  }

  #feed(): void {
    this.lines.push('')
    this.#at = 0
  }

  #put(character: string): void {
    if (this.#at >= this.columns) {
      this.isWrapped = true
      this.#feed()
    }
    const line = this.#line.padEnd(this.#at)
    this.lines[this.lines.length - 1] = line.slice(0, this.#at) + character + line.slice(this.#at + 1)
    this.#at++
  }

  get #line(): string {
    return this.lines.at(-1) ?? ''
  }
}

export interface Terminal {
  readonly screen: Screen
  /** By its exit status, or by the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
  resize(columns: number): void
  type(keys: string): void
  kill(): void
}

/** Runs a script of bash on a terminal; `"$NODE" "$CLI"` is the command. */
export function onTerminal(columns: number, script: string, cwd: string): Terminal {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  const env = { ...inherited, TZ: 'UTC', TERM: 'dumb', NO_COLOR: '1', NODE: process.execPath, CLI }
  const args = [PROGRAM, String(columns), 'bash', '-c', script]
  const child = spawn('python3', args, { cwd, env, stdio: ['pipe', 'pipe', 'inherit'] })
  const screen = new Screen(columns)
  child.stdout.setEncoding('utf8').on('data', (text: string) => screen.write(text))
  child.stdin.on('error', () => undefined)
  return {
    screen,
    ended: new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => resolve(code ?? (signal as NodeJS.Signals)))
    }),
    resize(columns) {
      screen.columns = Math.max(columns, screen.columns)
      child.stdin.write(`columns ${columns}\n`)
    },
    type: keys => void child.stdin.write(`type ${JSON.stringify(keys)}\n`),
    kill: () => void child.kill('SIGKILL'),
  }
}
