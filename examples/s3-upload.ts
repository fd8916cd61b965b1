// Sends an archive to S3 while it is made. It becomes an object when it is complete, or not at all.
//
//     tsx examples/s3-upload.ts BUCKET KEY PATH...
//
// Endpoint, region and credentials come from the environment, as with every tool for S3.
import { Readable } from 'node:stream'
import { S3Client } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { create, type ReftarEvent } from 'reftar'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
/** S3 takes no more parts than these for an object, and but for the last one none that is smaller. */
const MOST_PARTS = 10_000
const SMALLEST_PART = 5 * MIB
/** Nobody knows how large an archive will be: one that becomes larger than this fails. Parts grow with it. */
const LARGEST_ARCHIVE = 48 * GIB
/** Each is in memory, and one more is gathered there. */
const PARTS_IN_FLIGHT = 4

const [bucket = '', key = '', ...paths] = process.argv.slice(2)

// An error of the source, as this one is, makes the Upload drop what it has sent before it fails; its own abort() fails first.
// What a process that was killed has sent stays, and costs, until a lifecycle rule of the bucket aborts incomplete uploads.
const interruption = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interruption.abort())

/** Without this, a file that cannot be read would be left out, and told. */
function refuse(event: ReftarEvent): void {
  if (event.type === 'problem') throw new Error(event.message)
}

const archive = create(paths, { signal: interruption.signal, onEvent: refuse })
await new Upload({
  client: new S3Client(),
  // A stream of node's own is what it takes: of others it says that their format is unsupported.
  params: { Bucket: bucket, Key: key, Body: Readable.from(archive, { objectMode: false }) },
  partSize: Math.max(SMALLEST_PART, Math.ceil(LARGEST_ARCHIVE / MOST_PARTS)),
  queueSize: PARTS_IN_FLIGHT,
}).done()
console.log(`${archive.summary.archive.archiveBytes} bytes`)
