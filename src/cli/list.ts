import { pipeline } from 'node:stream/promises'
import { type ListedEntry, list } from '../list.js'
import type { Xattr } from '../record.js'
import { openInput } from './archive-input.js'
import { type LimitOptions, limitsOf } from './limits.js'
import { LongListing, shownName } from './long-listing.js'
import { Output, pathFields } from './output.js'
import { archiveFigures } from './progress-line.js'
import { DIFFERS, DONE, run } from './run.js'

export interface ListCommand extends LimitOptions {
  readonly file: string
  readonly verbose: boolean
  readonly progress?: boolean
  readonly json: boolean
  readonly numericOwner: boolean
}

export async function runList(command: ListCommand): Promise<void> {
  const { file, verbose, json, numericOwner } = command
  const output = new Output({ ...command, stdoutIsTaken: false })
  await run(output, async (signal, progress) => {
    const input = await openInput(file, signal)
    const entries = list({ limits: limitsOf(command) })
    const long = new LongListing({ numericOwner })
    let changed = 0
    progress.follow(() => archiveFigures(entries.summary, input.size))
    await pipeline(
      input.stream,
      entries,
      async (source: AsyncIterable<ListedEntry>) => {
        for await (const listed of source) {
          if (listed.changed) changed++
          if (json) output.object(asObject(listed))
          else output.line(verbose ? long.line(listed) : shownName(listed))
          if (output.drained) await output.drained
        }
      },
      { signal },
    )
    return { status: changed > 0 ? DIFFERS : DONE, summary: { archive: entries.summary } }
  })
}

function asObject(listed: ListedEntry) {
  const { entry, path, size, holeBytes, sharedBytes, duplicateBytes, changed, link } = listed
  const { mode, owner, modified, linkTarget, device, xattrs, flags, project, reserved } = entry.metadata
  const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes)
  return {
    type: 'entry',
    path,
    ordinal: entry.ordinal,
    entryType: entry.type,
    size,
    ...(entry.type === 'file' && { holeBytes, sharedBytes, duplicateBytes }),
    mode,
    ...(owner && { uid: owner.uid, gid: owner.gid, user: text(owner.user), group: text(owner.group) }),
    modified,
    ...(linkTarget && {
      linkTarget: text(linkTarget),
      linkTargetBase64: Buffer.from(linkTarget).toString('base64'),
    }),
    ...(link && { link: pathFields(link.path) }),
    device,
    ...(xattrs?.length && { xattrs: xattrs.map(xattrFields) }),
    ...(flags && { flags }),
    ...(project && { project }),
    reserved,
    ...(changed && { changed }),
  }
}

function xattrFields({ name, value }: Xattr) {
  const { path, pathBase64 } = pathFields(name)
  const base64 = Buffer.from(value).toString('base64')
  return { name: path, ...(pathBase64 && { nameBase64: pathBase64 }), valueBase64: base64 }
}
