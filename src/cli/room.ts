import { ReftarError } from '../errors.js'
import { pathBytes, quotePath } from '../event.js'
import { type Forecast, forecast } from '../forecast.js'
import type { Reflink } from '../stream/reflink-writer.js'
import { formatBytes } from './amounts.js'
import type { Output } from './output.js'

/**
 * Before anything is written: whether an archive file fits into a directory.
 *
 * @throws NO_SPACE where it does not
 */
export async function checkRoom(
  file: string,
  directory: string,
  reflink: Reflink,
  output: Output,
): Promise<void> {
  const found = await forecast(file, directory, { reflink })
  if (!found) return
  if (found.needed > found.free) {
    const where = `in ${quotePath(pathBytes(directory))}${found.canClone ? '' : ', where nothing can be cloned'}`
    const message = `the archive does not fit: ${inWords(found)} ${where}: --force tries it`
    throw new ReftarError('NO_SPACE', message)
  }
  if (!output.verbose) return
  if (output.json) output.object({ type: 'forecast', ...found })
  else if (found.withoutReflinks > found.free) output.message(inWords(found))
}

function inWords({ withReflinks, withoutReflinks, free }: Forecast): string {
  return `it needs ${formatBytes(withReflinks)} with reflinks and ${formatBytes(withoutReflinks)} without, ${formatBytes(free)} are free`
}
