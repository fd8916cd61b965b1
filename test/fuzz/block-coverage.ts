import { type Profiler, Session } from 'node:inspector/promises'
import { fileURLToPath } from 'node:url'

const SOURCE = new URL('../../src/', import.meta.url).href

/** Which blocks of src have been run, as V8 counts them, in this process. */
export class BlockCoverage {
  readonly #session: Session
  readonly #seen = new Set<string>()

  private constructor(session: Session) {
    this.#session = session
  }

  static async start(): Promise<BlockCoverage> {
    const session = new Session()
    session.connect()
    await session.post('Profiler.enable')
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
    return new BlockCoverage(session)
  }

  /** How many blocks were ever run. */
  get blocks(): number {
    return this.#seen.size
  }

  /** Whether a block was run since the last call that never was before. */
  async isNew(): Promise<boolean> {
    const before = this.#seen.size
    const { result } = await this.#session.post('Profiler.takePreciseCoverage')
    for (const script of result) if (isOurs(script)) this.#see(script)
    return this.#seen.size > before
  }

  stop(): void {
    this.#session.disconnect()
  }

  #see({ scriptId, functions }: Profiler.ScriptCoverage): void {
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges)
        if (count > 0) this.#seen.add(`${scriptId}:${startOffset}-${endOffset}`)
    }
  }
}

/** By its URL, or its path, as whoever loaded it has named it. */
function isOurs({ url }: Profiler.ScriptCoverage): boolean {
  return url.startsWith(SOURCE) || url.startsWith(fileURLToPath(SOURCE))
}
