const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A number of bytes for people. */
export function formatBytes(bytes: number): string {
  const unit = unitOf(bytes)
  return unit === 0 ? `${bytes} B` : `${(bytes / 1024 ** unit).toFixed(1)} ${UNITS[unit]}`
}

/** A part of so many bytes, rounded down unless it is all. */
export function shareOf(part: number, whole: number): string {
  const unit = unitOf(whole)
  const value = part / 1024 ** unit
  const text = unit === 0 ? `${part}` : (part === whole ? value : Math.floor(value * 10) / 10).toFixed(1)
  return `${text} of ${formatBytes(whole)}`
}

/** How many there are of something. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

function unitOf(bytes: number): number {
  let unit = 0
  while (bytes >= 1024 ** (unit + 1) && unit < UNITS.length - 1) unit++
  return unit
}
