import { defineConfig, type Options } from 'tsup'

const common = { target: 'node20', platform: 'node', sourcemap: true } as const

// A shell script whose second line is an expression of JavaScript, because a first line takes no options everywhere. Most of
// what is made here is short-lived, and a young generation of the usual size would only take memory, in MiB; gc is for
// src/cli/collector.ts.
const START = `#!/usr/bin/env sh
':' //; exec node --expose-gc --max-semi-space-size=2 "$0" "$@"
`

/** CommonJS has no import.meta.url, which finds koffi at the first system call, and the thread. */
const MODULE_URL = `'use strict'
const MODULE_URL = require('node:url').pathToFileURL(__filename).href
`

type EsbuildOptions = NonNullable<Options['esbuildOptions']>

const commonJs: EsbuildOptions = (options, { format }) => {
  if (format !== 'cjs') return
  options.banner = { js: MODULE_URL }
  options.define = { ...options.define, 'import.meta.url': 'MODULE_URL' }
  options.supported = { ...options.supported, 'dynamic-import': false }
}

/**
 * The command is CommonJS: it starts in half the time that modules take, for it loads no loader. What runs is a file for each
 * command, with all that it needs, because one file starts faster than many; koffi stays outside, because it is native.
 */
const command = {
  ...common,
  sourcemap: false,
  format: ['cjs'],
  splitting: false,
  noExternal: ['hash-wasm', 'leven', 'streamx'],
  esbuildOptions: commonJs,
} satisfies Options

const RUNS = ['create', 'extract', 'list', 'selftest', 'sharing', 'verify']

const separately: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'separately',
  setup(build) {
    build.onResolve({ filter: /^\.\/[a-z-]+\.js$/ }, ({ path, kind }) => {
      const name = path.slice('./'.length, -'.js'.length)
      return kind === 'dynamic-import' && RUNS.includes(name)
        ? { path: `./cli-${name}.cjs`, external: true }
        : undefined
    })
  },
}

export default defineConfig([
  { ...common, entry: ['src/index.ts'], format: ['esm', 'cjs'], dts: true, esbuildOptions: commonJs },
  // A thread is a file of its own, beside the one that starts it.
  { ...common, entry: ['src/fs/read-ahead-thread.ts'], format: ['cjs'], esbuildOptions: commonJs },
  { ...command, entry: Object.fromEntries(RUNS.map(name => [`cli-${name}`, `src/cli/${name}.ts`])) },
  {
    ...command,
    entry: ['src/cli.ts'],
    esbuildPlugins: [separately],
    esbuildOptions(options, context) {
      commonJs(options, context)
      options.banner = { js: START + MODULE_URL }
    },
  },
])
