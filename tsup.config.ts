import { defineConfig, type Options } from 'tsup'

const common = { target: 'node20', platform: 'node', sourcemap: true } as const

// A shell script whose second line is an expression of JavaScript, because not every env(1) passes options on. Most of what
// is made here is short-lived, and a young generation of the usual size would only take memory, in MiB.
const START = `#!/usr/bin/env sh
':' //; exec node --max-semi-space-size=2 "$0" "$@"
`

// streamx is CommonJS, and asks for node's own modules by require, which a module has not.
const REQUIRE = `import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)
`

/** Begins the files of the command with what each of them needs, and no other does. */
const heads: NonNullable<Options['plugins']>[number] = {
  name: 'heads',
  renderChunk(code, info) {
    if (info.type !== 'chunk') return
    const isStart = info.entryPoint === 'src/cli.ts'
    const head = isStart ? START : code.includes('Dynamic require of') ? REQUIRE : ''
    if (head === '') return
    const map = typeof info.map === 'string' ? JSON.parse(info.map) : info.map
    info.map = { ...map, mappings: ';'.repeat(head.split('\n').length - 1) + map.mappings }
    info.code = head + code
    if (isStart) info.mode = 0o755
  },
}

export default defineConfig([
  // `shims` gives the CommonJS build an import.meta.url, which finds koffi at the first system call.
  { ...common, entry: ['src/index.ts'], format: ['esm', 'cjs'], dts: true, shims: true },
  // A thread is a file of its own, beside the one that starts it.
  { ...common, entry: ['src/fs/read-ahead-thread.ts'], format: ['esm'], splitting: false },
  {
    ...common,
    entry: ['src/cli.ts'],
    format: ['esm'],
    // A command loads what it runs, and nothing else; koffi stays outside, because it is native.
    splitting: true,
    noExternal: ['hash-wasm', 'leven', 'streamx'],
    plugins: [heads],
  },
])
