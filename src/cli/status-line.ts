import { closeSync } from 'node:fs'
import { isForeground, lockTerminal } from '../sys/terminal.js'

/** What a terminal is taken to have where it does not say. */
const COLUMNS = 80
const STDERR = 2

/**
 * A line on the terminal of stderr that is written anew again and again, until something else takes its place. It takes no
 * more than what every terminal obeys: blanks, and a carriage return.
 */
export class StatusLine {
  /** Of what is shown, in columns. */
  #length = 0
  /** A descriptor that keeps other processes of this kind from the same line: `create | extract` are two of them. */
  #lock: number | undefined

  /** How many columns there are: not the last one, after which some terminals go on to the next line. */
  get width(): number {
    return Math.max(1, (process.stderr.columns || COLUMNS) - 1)
  }

  /** @param text - of characters that take one column each */
  show(text: string): void {
    if (!this.#isOurs()) return
    const line = text.slice(0, this.width)
    process.stderr.write(`\r${line.padEnd(Math.min(this.#length, this.width))}`)
    this.#length = line.length
  }

  clear(): void {
    if (this.#length === 0) return
    this.#length = 0
    // To the edge, for the terminal may have put there what was typed.
    if (isForeground()) process.stderr.write(`\r${' '.repeat(this.width)}\r`)
  }

  /** Clears it for good. */
  close(): void {
    this.clear()
    this.#unlock()
  }

  #isOurs(): boolean {
    if (!isForeground()) {
      this.#length = 0
      this.#unlock()
      return false
    }
    try {
      this.#lock ??= lockTerminal(STDERR)
      return this.#lock !== undefined
    } catch {
      // Where nobody can lock it, nobody else has.
      return true
    }
  }

  #unlock(): void {
    if (this.#lock !== undefined) closeSync(this.#lock)
    this.#lock = undefined
  }
}
