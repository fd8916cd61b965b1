import { defineConfig } from 'tsup'

const common = { target: 'node20', platform: 'node', sourcemap: true } as const

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
    // commander is CommonJS, and asks for node's own modules by require.
    banner: {
      js: `#!/usr/bin/env node\nimport { createRequire } from 'node:module'\nconst require = createRequire(import.meta.url)`,
    },
  },
])
