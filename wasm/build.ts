// Compiles the block kernel, and writes it down twice: as it is, and for src/crc in base64.
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { main } from 'assemblyscript/asc'

const HERE = dirname(fileURLToPath(import.meta.url))

/** Pages of 64 KiB: the batch and all that stands behind it in block-kernel.ts. It does not grow. */
const MEMORY = '6'

const OPTIONS = ['-O3', '--runtime', 'stub', '--noAssert', '--enable', 'simd', '--initialMemory', MEMORY]

/** Where the build belongs, and what belongs there. The same bytes in every run. */
export async function build(): Promise<Map<string, Uint8Array>> {
  let kernel: Uint8Array | undefined
  const command = ['block-kernel.ts', '--baseDir', HERE, '--outFile', 'block-kernel.wasm']
  const { error, stderr } = await main([...command, ...OPTIONS, '--maximumMemory', MEMORY], {
    writeFile: (_name, contents) => {
      kernel = Buffer.from(contents)
    },
  })
  if (error || !kernel) throw new Error(`the block kernel does not compile:\n${stderr}`, { cause: error })
  const source = `// Written by npm run build:wasm, from wasm/block-kernel.ts.

/** The WebAssembly of the block kernel, ${kernel.byteLength} bytes in base64. */
export const BLOCK_KERNEL =
  '${Buffer.from(kernel).toString('base64')}'
`
  return new Map<string, Uint8Array>([
    [join(HERE, 'block-kernel.wasm'), kernel],
    [join(HERE, '../src/crc/block-kernel-bytes.ts'), Buffer.from(source)],
  ])
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, bytes] of await build()) writeFileSync(path, bytes)
}
