// Writes the man page anew, of what help tells.
import { readFileSync, writeFileSync } from 'node:fs'
import { COMMANDS } from '../src/cli/commands.js'
import { manualPage } from './page.js'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
writeFileSync(new URL('reftar.1', import.meta.url), manualPage(COMMANDS, version))
