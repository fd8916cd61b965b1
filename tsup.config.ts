import { defineConfig } from 'tsup'

const common = { target: 'node20', platform: 'node', sourcemap: true } as const

// A shell script whose second line is an expression of JavaScript, because not every env(1) passes options on. Most of what
// is made here is short-lived, and a young generation of the usual size would only take memory, in MiB.
// commander is CommonJS, and asks for node's own modules by require.
const BANNER = `#!/usr/bin/env sh
':' //; exec node --max-semi-space-size=2 "$0" "$@"
import { createRequire } from 'node:module'
const require = createRequire(import.meta.url)`

export default defineConfig([
  // `shims` gives the CommonJS build an import.meta.url, which finds koffi at the first system call.
  { ...common, entry: ['src/index.ts'], format: ['esm', 'cjs'], dts: true, shims: true },
  // A thread is a file of its own, beside the one that starts it.
  { ...common, entry: ['src/fs/read-ahead-thread.ts'], format: ['esm'], splitting: false },
  {
    ...common,
    entry: ['src/cli.ts'],
    format: ['esm'],
    splitting: false,
    // One file starts faster than many; koffi stays outside, because it is native.
    noExternal: ['commander', 'hash-wasm', 'streamx'],
    banner: { js: BANNER },
  },
])
