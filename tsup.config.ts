import { defineConfig } from 'tsup'

const shared = { target: 'node20', clean: false, sourcemap: true, splitting: true } as const

export default defineConfig([
  { ...shared, entry: ['src/index.ts'], format: ['esm', 'cjs'], dts: true },
  { ...shared, entry: ['src/cli.ts'], format: ['esm'], noExternal: ['commander'] }
])
