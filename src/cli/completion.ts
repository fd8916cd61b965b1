import type { Command } from './command.js'
import { bashCompletion } from './completion/bash.js'
import { fishCompletion } from './completion/fish.js'
import { zshCompletion } from './completion/zsh.js'
import { print } from './print.js'

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }

/** Writes the script that makes a shell complete what is declared. */
export async function runCompletion(
  _: unknown,
  [shell = '']: readonly string[],
  commands: readonly Command[],
): Promise<void> {
  await print(SCRIPTS[shell as keyof typeof SCRIPTS](commands))
}
