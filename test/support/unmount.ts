// Takes away the filesystems that tests mounted: npx tsx test/support/unmount.ts
import { unmountTestFilesystems } from './filesystems.js'

for (const left of unmountTestFilesystems()) console.error(`left mounted: ${left}`)
