/** One corpus on one filesystem: all tools take turns at each measure, so that all meet the same noise. */
import { existsSync, lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { compareTrees } from '../test/support/compare-trees.js'
import { storage } from '../test/support/fiemap.js'
import { regularFiles } from './corpora/files.js'
import { BASE, type CorpusFigures, type Figures, type Measure, type Sample, type Taken } from './figures.js'
import { type Command, type Outcome, runCommand, runPipeline } from './pipeline.js'
import { evict, type Place, remove, sync, usedBytes } from './place.js'
import type { Source, Tool } from './tools.js'

export interface RunOptions {
  readonly measures: readonly Measure[]
  readonly runs: number
  readonly onProgress: (text: string) => void
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

const CAT = ['sh', '-c', 'exec cat > /dev/null']
const OURS = 'reftar'
/** The exit status of what writes into a pipe that nobody reads any more. */
const SIGPIPE = 128 + 13
const DIFFERENCES_SHOWN = 5

/** @throws when reftar fails, or what it restores differs */
export async function measureCorpus(
  place: Place,
  corpus: string,
  tools: readonly Tool[],
  options: RunOptions,
): Promise<CorpusFigures> {
  return new CorpusRun(place, corpus, tools, options).run()
}

class CorpusRun {
  readonly #place: Place
  readonly #source: Source
  readonly #tree: string
  readonly #target: string
  readonly #options: RunOptions
  readonly #files: readonly string[]
  readonly #figures = new Map<Tool, Writable<Figures>>()

  constructor(place: Place, corpus: string, tools: readonly Tool[], options: RunOptions) {
    this.#place = place
    this.#source = { root: place.directory, name: corpus, corpus }
    this.#tree = join(place.directory, corpus)
    this.#target = join(place.directory, 'target')
    this.#options = options
    this.#files = regularFiles(this.#tree)
    for (const tool of tools) {
      if (tool.version === undefined || tool.takes?.(corpus, place.filesystem) === false) continue
      this.#figures.set(tool, { tool: tool.name, samples: {}, taken: {} })
    }
  }

  async run(): Promise<CorpusFigures> {
    const { apparent, unique } = storage(this.#files)
    const { runs, measures } = this.#options
    for (let run = 0; run < runs; run++) {
      await this.#warm()
      for (const measure of measures) await this.#turn(run, measure)
      for (const tool of this.#figures.keys()) remove(this.#archive(tool))
    }
    return {
      filesystem: this.#place.filesystem,
      corpus: this.#source.corpus,
      files: this.#files.length,
      apparentBytes: apparent,
      uniqueBytes: unique,
      tools: [...this.#figures.values()],
    }
  }

  /** Each run begins with another tool. */
  async #turn(run: number, measure: Measure): Promise<void> {
    const tools = [...this.#figures.keys()]
    const first = run % tools.length
    for (const tool of [...tools.slice(first), ...tools.slice(0, first)]) {
      try {
        await this.#measure(run, measure, tool)
      } catch (error) {
        if (tool.name === OURS || tool.name === BASE) throw error
        this.#options.onProgress(`${tool.name} is left out: ${(error as Error).message}\n`)
        this.#figures.delete(tool)
        remove(this.#archive(tool))
      } finally {
        remove(this.#target)
      }
    }
  }

  async #measure(run: number, measure: Measure, tool: Tool): Promise<void> {
    const work = await this.#work(measure, tool)
    const figures = this.#figures.get(tool)
    if (!work || !figures) return
    this.#options.onProgress(
      `${this.#place.filesystem} ${this.#source.corpus}, run ${run + 1}: ${measure}, ${tool.name}`,
    )
    const isFirst = run === 0
    const writesTree = measure.startsWith('extract') || measure === 'copy'
    if (writesTree) mkdirSync(this.#target)
    const before = isFirst ? await usedBytes(this.#place) : await sync(this.#place)

    const start = performance.now()
    const { seconds, peakBytes } = await work()
    await sync(this.#place)
    const synced = measure.startsWith('createPipe') ? seconds : (performance.now() - start) / 1000
    const sample: Sample = { seconds, synced, peakBytes }
    figures.samples[measure] = [...(figures.samples[measure] ?? []), sample]

    if (before === undefined) return
    if (measure === 'createFile') {
      const archive = filesAt(this.#archive(tool))
      figures.archiveBytes = archive.reduce((sum, file) => sum + lstatSync(file).size, 0)
      figures.taken.createFile = await this.#taken(before, archive, [])
    }
    if (!writesTree) return
    const archive = filesAt(this.#archive(tool))
    figures.taken[measure] = await this.#taken(before, regularFiles(this.#target), archive)
    if (tool.name === OURS) this.#check(measure)
  }

  async #taken(before: number, files: readonly string[], others: readonly string[]): Promise<Taken> {
    const used = (await usedBytes(this.#place)) - before
    const known = [...this.#files, ...others]
    return { used, own: storage([...known, ...files]).unique - storage(known).unique }
  }

  /** What is to be timed; undefined where a tool cannot do it. All that it needs is there by then. */
  async #work(measure: Measure, tool: Tool): Promise<(() => Promise<Outcome>) | undefined> {
    const archive = this.#archive(tool)
    const { createPipe, createFile, extractPipe, extractFile, copy } = tool
    switch (measure) {
      case 'createPipe':
        return createPipe && (() => piped(createPipe(this.#source), CAT, 'left'))
      case 'createPipeCold':
        if (createPipe) await evict(this.#place, this.#tree)
        return createPipe && (() => piped(createPipe(this.#source), CAT, 'left'))
      case 'createFile':
        if (createFile) await this.#prepare(tool)
        return createFile && (() => alone(createFile(this.#source, archive)))
      case 'extractPipe':
        if (extractPipe) await this.#makeArchive(tool)
        return extractPipe && (() => piped(['cat', archive], extractPipe(this.#target), 'right'))
      case 'extractFile':
        if (extractFile) await this.#makeArchive(tool)
        return extractFile && (() => alone(extractFile(archive, this.#target)))
      case 'copy':
        if (copy) return () => alone(copy(this.#source, this.#target))
        if (!createPipe || !extractPipe) return undefined
        return () => piped(createPipe(this.#source), extractPipe(this.#target), 'right')
    }
  }

  async #prepare(tool: Tool): Promise<void> {
    remove(this.#archive(tool))
    if (tool.prepare) await alone(tool.prepare(this.#archive(tool)))
  }

  /** In the cache, too. */
  async #makeArchive(tool: Tool): Promise<void> {
    const archive = this.#archive(tool)
    if (!existsSync(archive)) {
      await this.#prepare(tool)
      if (tool.createFile) await alone(tool.createFile(this.#source, archive))
    }
    await piped(['cat', ...filesAt(archive)], CAT, 'left')
  }

  /** Reads the whole source once. */
  async #warm(): Promise<void> {
    await piped(['tar', '--create', '--file=-', '-C', this.#source.root, this.#source.name], CAT, 'left')
  }

  #archive({ name, suffix = '' }: Tool): string {
    return join(this.#place.directory, `archive.${name.replaceAll(' ', '-')}${suffix}`)
  }

  #check(measure: Measure): void {
    const differences = compareTrees(this.#tree, join(this.#target, this.#source.name), { root: true })
    if (differences.length === 0) return
    const shown = differences.slice(0, DIFFERENCES_SHOWN).join('\n')
    throw new Error(`${this.#source.corpus}, ${measure}: ${differences.length} differences\n${shown}`)
  }
}

async function alone(command: Command): Promise<Outcome> {
  return succeeded(command, await runCommand(command))
}

/** The time of both, and the memory of one of them. */
async function piped(left: Command, right: Command, watched: 'left' | 'right'): Promise<Outcome> {
  const outcome = await runPipeline(left, right)
  succeeded(right, outcome.right)
  // Some leave what follows the end of an archive unread.
  if (outcome.left.exitCode !== SIGPIPE) succeeded(left, outcome.left)
  return { ...outcome[watched], seconds: outcome.seconds }
}

function succeeded(command: Command, outcome: Outcome): Outcome {
  if (outcome.exitCode === 0) return outcome
  throw new Error(`${command.join(' ')}: exit status ${outcome.exitCode}`)
}

/** An archive may be a directory. */
function filesAt(path: string): string[] {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (!stats) return []
  return stats.isDirectory() ? regularFiles(path) : [path]
}
