// Makes an archive of a tarball.
//
//     tsx examples/from-tar.ts < images.tar > images.reftar
import { pipeline } from 'node:stream/promises'
import {
  blockSplitter,
  crcDedup,
  entrySource,
  extentEncoder,
  type Metadata,
  type NewItem,
  type Time,
} from 'reftar'
import { extract, type Header } from 'tar-stream'

/** The types of what has no content, and is no hard link. */
const TYPES = {
  directory: 'directory',
  symlink: 'symlink',
  fifo: 'fifo',
  'character-device': 'characterDevice',
  'block-device': 'blockDevice',
} as const

/** To the nanosecond, where the tarball has it, as GNU tar makes it with `--format=pax`. */
function modified({ mtime, pax }: Header): Time {
  const text = (pax as { readonly mtime?: string } | null)?.mtime ?? `${mtime.getTime() / 1000}`
  const [whole, fraction = ''] = text.split('.')
  const nanoseconds = Number(fraction.padEnd(9, '0').slice(0, 9))
  const seconds = Number(whole)
  if (!text.startsWith('-') || nanoseconds === 0) return { seconds, nanoseconds }
  return { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }
}

function metadataOf(header: Header): Metadata {
  const { type, mode, uid, gid, uname, gname, linkname, devmajor: major, devminor: minor } = header
  return {
    mode,
    owner: {
      uid,
      gid,
      ...(uname && { user: Buffer.from(uname) }),
      ...(gname && { group: Buffer.from(gname) }),
    },
    modified: modified(header),
    ...(type === 'symlink' && { linkTarget: Buffer.from(linkname) }),
    ...(type.endsWith('-device') && { device: { major, minor } }),
  }
}

async function* items(tarball: ReturnType<typeof extract>): AsyncGenerator<NewItem> {
  for await (const source of tarball) {
    const { name: path, type, linkname } = source.header
    const metadata = metadataOf(source.header)
    // Nobody knows before which of them will have more names.
    const linked = type !== 'directory'
    if (type === 'file' || type === 'contiguous-file') {
      yield { entry: { path, metadata, linked }, body: source as AsyncIterable<Uint8Array> }
      continue
    }
    source.resume()
    if (type === 'link') yield { entry: { path, type: 'hardlink', linkTo: linkname } }
    // The directory that all is in has no name.
    else if (path !== './') yield { entry: { path, type: TYPES[type], metadata, linked } }
  }
}

const tarball = extract()
process.stdin.on('error', error => tarball.destroy(error)).pipe(tarball)
await pipeline(
  entrySource(items(tarball)),
  blockSplitter(),
  crcDedup(),
  extentEncoder({ sorted: false }),
  process.stdout,
)
