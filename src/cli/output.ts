import { fstatSync } from 'node:fs'
import { ReftarError } from '../errors.js'
import { pathBytes, quotePath, type ReftarEvent } from '../event.js'
import { fromNodeError } from '../sys/koffi.js'
import { limitOption } from './limits.js'
import { StatusLine } from './status-line.js'
import { styler } from './style.js'

/**
 * What the command says. Messages go to stderr with `reftar: ` in front; names go to stdout, or to stderr while stdout
 * carries an archive. With `json`, that stream has one object a line instead, and the last of them is the summary.
 */
export interface OutputOptions {
  readonly json: boolean
  readonly verbose: boolean
  /** Whether progress is told; where that is not said, on a terminal only. */
  readonly progress?: boolean
  /** Stdout carries an archive. */
  readonly stdoutIsTaken: boolean
}

/** How progress is told: in one line of a terminal, by objects of JSON, or by lines of text. */
export type ProgressWay = 'screen' | 'events' | 'lines'

type Fields = { readonly type: string; readonly path?: Uint8Array } & Record<string, unknown>

const FLUSH = 64 * 1024

export class Output {
  readonly json: boolean
  readonly verbose: boolean
  /** Undefined where it is told to nobody. */
  readonly progress: ProgressWay | undefined
  readonly #stream: NodeJS.WriteStream
  readonly #status = new StatusLine()
  #lines = ''
  #drained: Promise<void> | undefined
  #failure: Error | undefined

  constructor(options: OutputOptions) {
    const { json, verbose, stdoutIsTaken } = options
    this.json = json
    this.verbose = verbose
    this.progress = wayOf(options)
    this.#stream = stdoutIsTaken ? process.stderr : process.stdout
  }

  /** Calls back when nobody reads what is said. */
  onError(report: (error: Error) => void): void {
    for (const stream of new Set([this.#stream, process.stderr])) {
      stream.on('error', error => {
        this.#failure ??= error
        report(error)
      })
    }
  }

  /** Resolves once everything that was said is taken. @throws what {@link Output.onError} reported */
  async end(): Promise<void> {
    this.flush()
    await new Promise<void>(resolve => this.#stream.write('', () => resolve()))
    if (this.#failure) throw this.#failure
  }

  /** For `onEvent` of every stage. */
  readonly event = (event: ReftarEvent): void => {
    switch (event.type) {
      case 'entry':
        if (this.json && this.verbose) this.object({ ...event })
        else if (this.verbose) this.line(escapePath(event.path))
        break
      case 'problem':
      case 'note':
        if (this.json) this.object({ ...event })
        if (this.json && this.#stream === process.stderr) return
        if (event.type === 'note') this.message(event.message)
        else this.#say(styler(process.stderr)('yellow', 'reftar:'), event.message)
    }
  }

  /** A line of text. */
  line(text: string): void {
    this.#lines += `${text}\n`
    if (this.#lines.length >= FLUSH) this.flush()
  }

  /** A line of JSON; `path` is given as text, and in Base64 too where it is not UTF-8. */
  object({ path, ...fields }: Fields): void {
    const { type, ...rest } = fields
    const json = JSON.stringify({ type, ...(path && pathFields(path)), ...rest })
    this.line(json.replace(UNPRINTABLE, escapeUnits))
  }

  /** A message for people. */
  message(text: string): void {
    this.#say('reftar:', text)
  }

  #say(prefix: string, text: string): void {
    this.flush()
    this.#status.clear()
    process.stderr.write(`${prefix} ${text}\n`)
  }

  /** What stands on the last line of the terminal until something else is said. @param text - for a width in columns */
  status(text: (width: number) => string): void {
    this.flush()
    this.#status.show(text(this.#status.width))
  }

  endStatus(): void {
    this.#status.close()
  }

  error(error: unknown): void {
    const { code, path, offset, message } = describe(error)
    if (this.json) this.object({ type: 'error', code, ...(path && { path }), offset, message })
    if (!this.json || this.#stream !== process.stderr)
      this.#say(styler(process.stderr)('red', 'reftar:'), message)
  }

  flush(): void {
    if (this.#lines.length === 0) return
    this.#status.clear()
    const isTaken = this.#stream.write(this.#lines)
    this.#lines = ''
    if (isTaken || this.#drained) return
    this.#drained = new Promise(resolve => {
      const go = () => {
        this.#drained = undefined
        resolve()
      }
      this.#stream.once('drain', go).once('close', go)
    })
  }

  /** What to wait for, by who can, before more is said: whoever reads it is slow. */
  get drained(): Promise<void> | undefined {
    return this.#drained
  }
}

/** Where what is said goes into a pipe, whoever reads it may be at work on the same screen. */
function wayOf({ json, progress, stdoutIsTaken }: OutputOptions): ProgressWay | undefined {
  if (progress === false) return undefined
  if (json) return progress ? 'events' : undefined
  const isFree = progress || stdoutIsTaken || !isPipe(1)
  if (process.stderr.isTTY && isFree) return 'screen'
  return progress ? 'lines' : undefined
}

function isPipe(fd: number): boolean {
  const status = fstatSync(fd)
  return status.isFIFO() || status.isSocket()
}

function describe(thrown: unknown) {
  const error = fromNodeError(thrown)
  if (!(error instanceof ReftarError)) {
    return { code: 'SYSTEM_CALL', path: undefined, offset: undefined, message: escapeText(String(error)) }
  }
  const { code, path = pathFrom(thrown), offset, limit } = error
  const message = limit === undefined ? error.message : `${error.message}: ${limitOption(limit)} raises it`
  const isNamed =
    path === undefined ||
    (path.byteLength === 0 && code !== 'SYSTEM_CALL') ||
    message.includes(quotePath(path))
  return { code, path, offset, message: isNamed ? message : `${quotePath(path)}: ${message}` }
}

/** The file that an error of node:fs names. */
function pathFrom(error: unknown): Uint8Array | undefined {
  const { path } = error as NodeJS.ErrnoException
  return path === undefined ? undefined : pathBytes(path)
}

const UTF_8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** A path as it stands in JSON: as text, and in Base64 too where it is not UTF-8. */
export function pathFields(path: Uint8Array): { path: string; pathBase64?: string } {
  const text = UTF_8.decode(path)
  const isText = Buffer.from(text).equals(path)
  return isText ? { path: text } : { path: text, pathBase64: Buffer.from(path).toString('base64') }
}

/** As {@link quotePath}, without the quotes. */
export function escapePath(path: Uint8Array): string {
  return path.byteLength === 0 ? '.' : quotePath(path).slice(1, -1).replaceAll("\\'", "'")
}

/** What a terminal would obey, and JSON leaves as it is. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu

/** A text of one line, with every character that is not printable escaped. */
export function escapeText(text: string): string {
  return text.replace(UNPRINTABLE, character => escapePath(pathBytes(character)))
}

function escapeUnits(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    return `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
  }).join('')
}
