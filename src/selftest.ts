import { setImmediate } from 'node:timers/promises'
import { withPath } from './errors.js'
import { type Common, type Path, pathBytes, quotePath, type ReftarEvent } from './event.js'
import { joinPath } from './format/path.js'
import { type Ability, type AbilityName, abilitiesIn } from './selftest/abilities.js'
import { Folder } from './selftest/folder.js'
import type { Layout } from './selftest/layout.js'
import { PrivateDirectory } from './selftest/private-directory.js'
import {
  type ArchivedFigures,
  archiveTree,
  compareTree,
  type RestoredFigures,
  restoreTree,
  type Way,
} from './selftest/round-trip.js'
import { Sample, type SampleFile } from './selftest/sample.js'
import { changedFiles, layoutOfTrees } from './selftest/trees.js'
import { filesystemOf } from './sys/filesystem.js'
import { filesystemName } from './sys/filesystem-name.js'

export type { Ability, AbilityName, Layout, SampleFile, Way }

/** What a selftest tells as it goes on; numbers of bytes. */
export type SelftestStep =
  /** Where it works. */
  | { readonly type: 'filesystem'; readonly name: string; readonly blockSize: number }
  | ({ readonly type: 'ability' } & Ability)
  | { readonly type: 'made'; readonly files: number; readonly size: number; readonly sharedBytes: number }
  | ({ readonly type: 'archived'; readonly way: Way } & ArchivedFigures)
  | ({ readonly type: 'restored'; readonly way: Way } & RestoredFigures)
  /** Undefined where files do not tell where they lie. */
  | { readonly type: 'compared'; readonly way: Way; readonly layout?: Layout<SampleFile> }

export interface SelftestOptions extends Common {
  readonly onStep?: (step: SelftestStep) => void
}

export interface SelftestSummary {
  /** How much did not come out right. */
  readonly problems: number
}

/** The parts of the tree that is archived. */
const NAMES = ['images', 'oddities', 'reports']
const IMAGES = Buffer.from('images')

/**
 * Finds out what can be done in a directory, then archives and restores a tree of files there, in each way that there is, and
 * compares content, metadata and sharing. What did not come out right is told as a problem. Everything that was made is
 * removed in the end, however that comes.
 *
 * @throws through the promise: SYSTEM_CALL for what failed, and is not only impossible there; the errors of create, extract
 *   and verify; the reason of `signal`
 */
export async function selftest(directory: Path, options: SelftestOptions = {}): Promise<SelftestSummary> {
  const run = new Run(new PrivateDirectory(pathBytes(directory)), options)
  try {
    await run.findAbilities()
    await run.makeSample()
    await run.roundTrip('stream')
    if (run.can.has('clone')) await run.roundTrip('zeroCopy')
  } finally {
    run.clear()
  }
  return { problems: run.problems }
}

class Run {
  readonly can = new Set<AbilityName>()
  problems = 0
  readonly #place: PrivateDirectory
  readonly #source: Buffer
  readonly #sample = new Sample(this.can)
  readonly #onStep: (step: SelftestStep) => void
  readonly #onEvent: (event: ReftarEvent) => void
  readonly #signal: AbortSignal

  constructor(place: PrivateDirectory, options: SelftestOptions) {
    const { onStep = () => undefined, onEvent = () => undefined, signal } = options
    this.#place = place
    this.#source = this.#pathOf('source')
    this.#onStep = onStep
    this.#onEvent = event => {
      if (event.type === 'problem') this.problems++
      onEvent(event)
    }
    this.#signal = signal ?? new AbortController().signal
  }

  async findAbilities(): Promise<void> {
    const { type, blockSize } = filesystemOf(this.#place.fd)
    this.#onStep({ type: 'filesystem', name: filesystemName(type), blockSize })
    const folder = new Folder(this.#place.fd, 'abilities')
    try {
      for (const ability of abilitiesIn(folder)) {
        if (ability.can) this.can.add(ability.name)
        this.#onStep({ type: 'ability', ...ability })
        await this.#pause()
      }
    } catch (error) {
      throw withPath(error, this.#place.path)
    } finally {
      folder.close()
    }
  }

  async makeSample(): Promise<void> {
    const root = new Folder(this.#place.fd, 'source')
    try {
      for (const _ of this.#sample.make(root.fd)) await this.#pause()
    } finally {
      root.close()
    }
    const { files, sharedBytes } = this.#sample
    const size = files.reduce((total, file) => total + file.size, 0)
    this.#onStep({ type: 'made', files: files.length, size, sharedBytes })
    await this.#checkBytes(this.#source)
    this.#checkLayout(this.#source)
  }

  async roundTrip(way: Way): Promise<void> {
    const [archive, restored] = [this.#pathOf(`${way}.reftar`), this.#pathOf(way)]
    new Folder(this.#place.fd, way).close()
    const options = { signal: this.#signal, onEvent: this.#onEvent }
    this.#onStep({
      type: 'archived',
      way,
      ...(await archiveTree(way, this.#source, NAMES, archive, options)),
    })
    await compareTree(archive, this.#source, options)
    this.#onStep({ type: 'restored', way, ...(await restoreTree(way, archive, restored, options)) })
    await compareTree(archive, restored, options)
    await this.#checkBytes(restored)
    const layout = this.#checkLayout(restored)
    this.#onStep({ type: 'compared', way, ...(layout && { layout }) })
  }

  /** Whether files have the bytes that were once written, whatever an archive says. */
  async #checkBytes(tree: Buffer): Promise<void> {
    for (const { path } of await changedFiles(tree, this.#sample.files, this.#signal))
      this.#differs(path, 'does not have the bytes that were written')
  }

  /** Whether files lie where they should; undefined where they do not tell. */
  #checkLayout(tree: Buffer): Layout<SampleFile> | undefined {
    if (!this.can.has('map')) return undefined
    const { files, sharedBytes } = this.#sample
    const layout = layoutOfTrees(this.#source, tree, files)
    if (layout.keptBytes !== sharedBytes) {
      const message = `have ${layout.keptBytes} bytes in common on the disk, expected ${sharedBytes}`
      this.#differs(IMAGES, message)
    }
    return layout
  }

  /** Removes everything. */
  clear(): void {
    try {
      this.#place.remove()
    } catch (error) {
      const path = this.#place.path
      const message = `${quotePath(path)}: could not be removed: ${(error as Error).message}`
      this.#onEvent({ type: 'problem', code: 'SYSTEM_CALL', path, message })
    }
  }

  #differs(path: Uint8Array, message: string): void {
    this.#onEvent({ type: 'problem', code: 'DIFFERENT', path, message: `${quotePath(path)}: ${message}` })
  }

  /** Makes way for signals. */
  async #pause(): Promise<void> {
    await setImmediate()
    this.#signal.throwIfAborted()
  }

  #pathOf(name: string): Buffer {
    return Buffer.from(joinPath([this.#place.path, Buffer.from(name)]))
  }
}
