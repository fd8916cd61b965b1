import packageJson from '../package.json' with { type: 'json' }
import { parseCommandLine } from './cli/command-line.js'
import { COMMANDS } from './cli/commands.js'
import { print } from './cli/print.js'

// It asks how far a command has come, and whoever asks too early, or too late, is not to end the process.
process.on('SIGUSR2', () => undefined)

async function main(argv: readonly string[]): Promise<void> {
  const asked = parseCommandLine(argv)
  if (asked === 'version') {
    await print(`${packageJson.version}\n`)
  } else {
    const run = await asked.command.load()
    await run(asked.values as never, asked.operands, COMMANDS)
  }
}

const argv = process.argv.slice(2)
main(argv).catch(async (error: unknown) => {
  const { tellError } = await import('./cli/tell-error.js')
  tellError(error, argv)
})
