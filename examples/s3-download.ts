// Restores an archive from S3: all of it, or nothing where the connection dies.
//
//     tsx examples/s3-download.ts BUCKET KEY DIRECTORY
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { extract } from 'reftar'

const [bucket, key, directory = '.'] = process.argv.slice(2)

const { Body } = await new S3Client().send(new GetObjectCommand({ Bucket: bucket, Key: key }))
if (!(Body instanceof Readable)) throw new Error('the object has no body')
await pipeline(Body, extract(directory))
