// Archives through a real S3 server, as the examples send and fetch them, and what dies half-way.
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import {
  CreateBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import t from 'tap'
import { create } from '../../src/create.js'
import { compareTrees } from '../support/compare-trees.js'
import { example, startExample } from '../support/example.js'
import { regularFiles, sharingKept } from '../support/fiemap.js'
import { type SkippableTest, testDirectory } from '../support/filesystems.js'
import { type Passed, relay } from '../support/relay.js'
import { type S3Server, s3Environment, s3Server } from '../support/s3-server.js'
import { archive, MIB, noise, reflink } from '../support/trees.js'

process.umask(0o022)

const KEY = 'nightly/images.reftar'
/** How many bytes have passed when something dies. */
const HALF_WAY = 8 * MIB

const directory = testDirectory(t, 'xfs')
const source = join(directory ?? '', 'source')
if (directory !== undefined) {
  fs.mkdirSync(source)
  fs.writeFileSync(join(source, 'a'), noise(16 * MIB + 5))
  for (const clone of ['b', 'c']) reflink(join(source, 'a'), join(source, clone))
  fs.symlinkSync('a', join(source, 'link'))
}
/** For all that do not kill it. */
const common = directory === undefined ? undefined : await startServer(t, join(directory, 'storage'))

async function startServer(t: SkippableTest, storage: string): Promise<S3Server | undefined> {
  fs.mkdirSync(storage)
  return s3Server(t, storage)
}

let buckets = 0

/** A new one. */
async function bucketOf(server: S3Server): Promise<string> {
  const Bucket = `bucket-${++buckets}`
  await client(server).send(new CreateBucketCommand({ Bucket }))
  return Bucket
}

/** An empty directory. */
function targetIn(place: string): string {
  return fs.mkdtempSync(join(place, 'target-'))
}

function client({ port }: { readonly port: number }): S3Client {
  Object.assign(process.env, s3Environment(port))
  return new S3Client()
}

/** Of objects their keys, sizes in bytes and ETags, and the keys of uploads that are neither complete nor aborted. */
async function contents(server: S3Server, Bucket: string) {
  const s3 = client(server)
  const { Contents: objects = [] } = await s3.send(new ListObjectsV2Command({ Bucket }))
  const { Uploads: uploads = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket }))
  return { objects, uploads: uploads.map(({ Key }) => Key) }
}

/** Does something when so many bytes have passed. */
function once(way: keyof Passed, bytes: number, act: () => void | Promise<void>) {
  let isDone = false
  return async (passed: Readonly<Passed>) => {
    if (isDone || passed[way] < bytes) return
    isDone = true
    await act()
  }
}

t.test('to S3 and back', async t => {
  const targetDirectory = testDirectory(t, 'btrfs')
  if (!common || !targetDirectory) return
  const bucket = await bucketOf(common)
  const target = targetIn(targetDirectory)
  const env = s3Environment(common.port)
  const uploaded = await example('s3-upload', [bucket, KEY, '.'], { cwd: source, env })
  t.match(uploaded, { code: 0, stderr: '' }, 'uploaded')
  const { objects, uploads } = await contents(common, bucket)
  t.match(objects, [{ Key: KEY, ETag: /-4"$/ }], 'one object, of four parts')
  t.equal(uploaded.stdout.toString(), `${objects[0]?.Size} bytes\n`)
  t.same(uploads, [])
  const downloaded = await example('s3-download', [bucket, KEY, target], { env })
  t.match(downloaded, { code: 0, stderr: '' }, 'downloaded')
  execFileSync('sync', ['--file-system', target])
  t.same(compareTrees(source, target), [])
  const { sourceShared, keptShared } = sharingKept(source, target, regularFiles(source))
  t.ok(sourceShared > 32 * MIB, `${sourceShared} bytes are shared`)
  t.equal(keptShared, sourceShared, 'all sharing kept')
})

t.test('an archive that is smaller than a part', async t => {
  if (!common || !directory) return
  const bucket = await bucketOf(common)
  const target = targetIn(directory)
  const env = s3Environment(common.port)
  t.match(await example('s3-upload', [bucket, KEY, 'link'], { cwd: source, env }), { code: 0, stderr: '' })
  t.match(await example('s3-download', [bucket, KEY, target], { env }), { code: 0, stderr: '' })
  t.same(fs.readdirSync(target), ['link'])
})

t.test('an upload that does not come to its end is aborted, and there is no object', async t => {
  if (!common || !directory) return
  // It comes last.
  execFileSync('truncate', ['-s', '4E', join(directory, 'too-large')])
  // Four parts are in flight before the first is done, and one more is gathered.
  fs.writeFileSync(join(directory, 'more'), noise(32 * MIB))
  const ends = {
    'a file that cannot be archived': { paths: ['source', 'too-large'], message: /'too-large': left out/ },
    'an interruption': { paths: ['more', 'source'], message: /AbortError/ },
  }
  for (const [what, { paths, message }] of Object.entries(ends)) {
    const bucket = await bucketOf(common)
    const interrupt = once('up', HALF_WAY, () => void running.child.kill('SIGINT'))
    const relayed = await relay(t, common.port, what === 'an interruption' ? interrupt : () => undefined)
    const env = s3Environment(relayed.port)
    const running = startExample('s3-upload', [bucket, KEY, ...paths], { cwd: directory, env })
    t.match(await running.ended, { code: 1, stderr: message }, what)
    t.ok(
      relayed.requests.some(request => request.startsWith('PUT /')),
      `${what}: parts were sent`,
    )
    t.match(relayed.requests.at(-1), `DELETE /${bucket}/${KEY}?uploadId=`, `${what}: and dropped`)
    t.same(await contents(common, bucket), { objects: [], uploads: [] }, what)
  }
})

t.test('a server that dies in the middle of an upload', async t => {
  if (!common || !directory) return
  const storage = join(directory, 'of-upload')
  const server = await startServer(t, storage)
  if (!server) return
  const bucket = await bucketOf(server)
  const relayed = await relay(t, server.port, once('up', HALF_WAY, server.kill))
  const env = s3Environment(relayed.port)
  const ended = await example('s3-upload', [bucket, KEY, '.'], { cwd: source, env })
  t.match(ended, { code: 1, stderr: /ECONN|EPIPE|socket hang up/ })
  t.equal(ended.stdout.toString(), '')
  const again = await s3Server(t, storage)
  if (!again) return
  t.same(await contents(again, bucket), { objects: [], uploads: [KEY] }, 'nobody was there to be told')
})

t.test('a server that dies in the middle of a download: nothing is published', async t => {
  if (!common || !directory) return
  const { bytes } = await archive(['.'], { directory: source })
  const storage = join(directory, 'of-download')
  fs.mkdirSync(storage)
  const first = await s3Server(t, storage)
  if (!first) return
  const bucket = await bucketOf(first)
  await client(first).send(new PutObjectCommand({ Bucket: bucket, Key: KEY, Body: bytes }))
  await first.kill()
  for (const moment of [1, HALF_WAY]) {
    const server = await s3Server(t, storage)
    if (!server) return
    const target = targetIn(directory)
    const relayed = await relay(t, server.port, once('down', moment, server.kill))
    const ended = await example('s3-download', [bucket, KEY, target], { env: s3Environment(relayed.port) })
    t.match(ended, { code: 1, stderr: /ECONN|aborted|socket hang up/ }, `after ${moment} bytes`)
    t.same(fs.readdirSync(target), [], `after ${moment} bytes`)
  }
})

t.test('an object that is not all of an archive', async t => {
  if (!common || !directory) return
  const bucket = await bucketOf(common)
  const target = targetIn(directory)
  const { bytes } = await archive(['.'], { directory: source })
  const Body = bytes.subarray(0, -1)
  await client(common).send(new PutObjectCommand({ Bucket: bucket, Key: KEY, Body }))
  const ended = await example('s3-download', [bucket, KEY, target], { env: s3Environment(common.port) })
  t.match(ended, { code: 1, stderr: /TRUNCATED/ })
  t.same(fs.readdirSync(target), [])
})

t.test('an Upload takes streams of node and of the web, and ours as one of them', async t => {
  if (!common) return
  const bucket = await bucketOf(common)
  const archived = () => create(['.'], { directory: source })
  const { bytes } = await archive(['.'], { directory: source })
  const send = (Body: unknown) =>
    new Upload({
      client: client(common),
      params: { Bucket: bucket, Key: KEY, Body: Body as Readable },
    }).done()
  for (const body of [Readable.from(archived(), { objectMode: false }), ReadableStream.from(archived())]) {
    await send(body)
    t.match(await contents(common, bucket), { objects: [{ Size: bytes.byteLength }] })
  }
  const bare = archived()
  await t.rejects(send(bare), /unsupported format/)
  bare.destroy()
})
