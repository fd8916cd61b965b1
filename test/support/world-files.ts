// The files that the documents speak of.
import * as fs from 'node:fs'
import { join } from 'node:path'
import { SEGMENT_MAGIC } from '../../src/format/constants.js'
import { MIB, noise, overwrite, reflink } from './trees.js'
import type { World } from './world.js'

const IMAGE = 8 * MIB
const CACHEDIR_TAG = 'Signature: 8a477f597d28d172789f06886806bc55\n'

/** What is made where a text speaks of it, in this order. */
const MADE: readonly (readonly [spokenOf: RegExp, make: (world: World) => void | Promise<void>])[] = [
  [/\bvm\b/, world => makeImages(world, 'vm')],
  [/\bproject\b/, ({ here }) => makeProject(join(here, 'project'))],
  [/\bupper\b/, makeLayers],
  [/\/mnt\/usb\b/, ({ mountSmall }) => mountSmall('mnt/usb', IMAGE)],
  [/\bimages\.reftar\b/, world => makeArchive(world, '-f images.reftar -C /srv images')],
  [/\bvm\.reftar\b/, world => makeArchive(world, '-f vm.reftar vm')],
  [/\bdamaged\.reftar\b/, makeDamaged],
]

/** In /srv and in the working directory. */
export async function fillWorld(world: World, text: string): Promise<void> {
  makeImages(world, 'images')
  for (const name of ['restored', 'rescued', '.snapshots']) fs.mkdirSync(world.own(`srv/${name}`))
  for (const [spokenOf, make] of MADE) if (spokenOf.test(text)) await make(world)
}

function makeImages({ here, own }: World, name: string): void {
  makeClones(join(here, name), `here ${name}`)
  makeClones(own(`srv/${name}`), `srv ${name}`)
}

async function makeArchive(world: World, options: string): Promise<void> {
  // What is cloned into an archive is shared with more than the documents tell of.
  await make(world, `reftar create --no-zero-copy ${options}`)
}

async function make({ run }: World, script: string): Promise<void> {
  const { code, stderr } = await run(script)
  if (code !== 0) throw new Error(stderr)
}

const templates = new Map<string, Buffer>()

/** A template, and two that were cloned from it and have changed since; with other bytes for every seed. */
function makeClones(directory: string, seed: string): void {
  fs.mkdirSync(directory)
  const template = join(directory, 'template.img')
  const bytes = templates.get(seed) ?? noise(IMAGE, seed)
  templates.set(seed, bytes)
  fs.writeFileSync(template, bytes)
  for (const [name, at, length] of [
    ['web.img', 2 * MIB, MIB],
    ['db.img', 4 * MIB, 3 * MIB],
  ] as const) {
    const clone = join(directory, name)
    reflink(template, clone)
    overwrite(clone, at, noise(length, name))
  }
}

function makeProject(directory: string): void {
  for (const name of ['src', 'node_modules/left-pad', 'cache'])
    fs.mkdirSync(join(directory, name), { recursive: true })
  fs.writeFileSync(join(directory, 'src/index.js'), "import 'left-pad'\n")
  fs.writeFileSync(join(directory, 'src/index.o'), noise(5000))
  fs.writeFileSync(join(directory, '.gitignore'), '*.o\n')
  fs.writeFileSync(
    join(directory, 'node_modules/left-pad/index.js'),
    'export default String.prototype.padStart\n',
  )
  fs.writeFileSync(join(directory, 'cache/CACHEDIR.TAG'), CACHEDIR_TAG)
  fs.writeFileSync(join(directory, 'cache/object'), noise(100_000))
}

/** Of an overlay: what is below, and what a container has written and removed. */
async function makeLayers(world: World): Promise<void> {
  const directory = world.here
  for (const name of ['lower/etc', 'lower/opt/old', 'lower/tmp', 'upper', 'work', 'merged'])
    fs.mkdirSync(join(directory, name), { recursive: true })
  fs.writeFileSync(join(directory, 'lower/etc/passwd'), 'root:x:0:0::/root:/bin/sh\n')
  fs.writeFileSync(join(directory, 'lower/etc/motd'), 'hello\n')
  reflink(join(directory, 'images/template.img'), join(directory, 'lower/tmp/disk'))
  await make(
    world,
    `mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
    rm merged/etc/motd
    rm -r merged/opt && mkdir merged/opt
    cp --reflink=always merged/tmp/disk merged/tmp/disk-2
    umount merged`,
  )
}

/** An archive of which one segment is gone: with a part of one file, and with some small ones and their names. */
async function makeDamaged(world: World): Promise<void> {
  const tree = join(world.here, 'damaged')
  fs.mkdirSync(join(tree, 'images'), { recursive: true })
  // A segment ends before its blocks pass 4 MiB: the second one has the end of the second file, and all that comes then.
  for (const name of ['db.img', 'web.img']) fs.writeFileSync(join(tree, 'images', name), noise(3 * MIB, name))
  for (let i = 1; i <= 13; i++) fs.writeFileSync(join(tree, `images/web.log.${i}`), noise(3000, i))
  await make(world, 'reftar create -f damaged.reftar -C damaged images && rm -r damaged')
  const archive = join(world.here, 'damaged.reftar')
  const bytes = fs.readFileSync(archive)
  const second = bytes.indexOf(SEGMENT_MAGIC, bytes.indexOf(SEGMENT_MAGIC) + 1)
  overwrite(archive, second, Buffer.alloc(4096))
}
