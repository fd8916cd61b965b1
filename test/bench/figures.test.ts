import t from 'tap'
import {
  type CorpusFigures,
  median,
  peakOf,
  type Report,
  type Sample,
  timesAsFast,
} from '../../bench/figures.js'
import { merge } from '../../bench/merge.js'
import { fill } from '../../bench/performance.js'
import { plot } from '../../bench/plot.js'
import { corpusRows, countedRuns, summaryRows } from '../../bench/report.js'
import { markdownTable } from '../../bench/table.js'

const sample = (synced: number, peakBytes = 0): Sample => ({ seconds: synced / 2, synced, peakBytes })

const corpus: CorpusFigures = {
  filesystem: 'btrfs',
  corpus: 'vm',
  files: 10,
  apparentBytes: 1000,
  uniqueBytes: 200,
  tools: [
    {
      tool: 'reftar',
      samples: { createPipe: [sample(1), sample(2, 2 ** 20), sample(9)], extractPipe: [sample(8)] },
      archiveBytes: 202,
      taken: { createFile: { used: 101, own: 100 } },
    },
    {
      tool: 'tar',
      samples: { createPipe: [sample(4), sample(4), sample(9)], extractPipe: [sample(4)] },
      archiveBytes: 1010,
      taken: {},
    },
    { tool: 'cp', samples: {}, taken: {} },
  ],
}

t.test('medians', t => {
  t.equal(median([3]), 3)
  t.equal(median([9, 1, 2]), 2)
  t.equal(median([4, 1, 2, 9]), 3)
  t.end()
})

t.test('ratios are those of the same run', t => {
  t.equal(timesAsFast(corpus, 'reftar', 'createPipe'), 2)
  t.equal(timesAsFast(corpus, 'reftar', 'extractPipe'), 0.5)
  t.equal(timesAsFast(corpus, 'tar', 'createPipe'), 1)
  t.equal(timesAsFast(corpus, 'cp', 'createPipe'), undefined)
  t.equal(timesAsFast(corpus, 'reftar', 'copy'), undefined)
  t.end()
})

t.test('the greatest peak', t => {
  const [reftar] = corpus.tools
  t.equal(reftar && peakOf(reftar, ['createPipe', 'extractPipe']), 2 ** 20)
  t.equal(reftar && peakOf(reftar, ['copy']), undefined)
  t.end()
})

t.test('tables have a cell for each column, and a dash for what was not measured', t => {
  for (const rows of [corpusRows(corpus), summaryRows([corpus])]) {
    t.ok(rows.length > 1)
    for (const row of rows) t.equal(row.length, rows[0]?.length)
  }
  const [, reftar, , cp] = corpusRows(corpus)
  t.equal(reftar?.[1], '2.00 (2.00x)')
  t.same(
    cp?.slice(1).every(cell => cell === '-'),
    true,
  )
  t.match(summaryRows([corpus])[1], ['vm, btrfs', '2.00x'])
  t.equal(
    markdownTable([
      ['a', 'b | c'],
      ['1', '2'],
    ]),
    '| a | b \\| c |\n| --- | ---: |\n| 1 | 2 |',
  )
  t.end()
})

t.test('reports become one, run by run', t => {
  const report = (...corpora: CorpusFigures[]): Report => {
    return { machine: {}, versions: {}, runs: 1, quick: false, cold: '', corpora, bounds: [] }
  }
  const measured = (tool: string, seconds: number) => {
    return { tool, samples: { createPipe: [sample(seconds)] }, taken: {} }
  }
  const others = { ...corpus, tools: [measured('tar', 12), measured('reftar', 3)] }
  const merged = merge([report(corpus), report({ ...others, filesystem: 'xfs' }), report(others)])
  t.same(
    merged.corpora.map(({ filesystem }) => filesystem),
    ['btrfs', 'xfs'],
  )
  const [both] = merged.corpora
  t.equal(both && timesAsFast(both, 'reftar', 'createPipe'), 3, 'of 4, 2, 1 and 4')
  t.equal(both && timesAsFast(both, 'reftar', 'extractPipe'), 0.5)
  t.equal(countedRuns(merged.corpora), '1 to 4 runs')
  t.equal(countedRuns([others]), '1 run')
  const late = { ...corpus, tools: [measured('tar', 1), measured('borg', 1)] }
  t.throws(() => merge([report(corpus), report(late)]), /^borg has runs of vm on btrfs that/)
  t.end()
})

t.test('the picture has a bar for each figure that there is', t => {
  const picture = plot([corpus])
  t.match(picture, /^<svg [^>]+>\n<title>[^<]+<\/title>\n<style>/)
  t.equal(picture.match(/<rect /g)?.length, 4 + 2, 'the legend and two bars')
  t.notMatch(picture, /NaN|undefined|Infinity/)
  t.end()
})

t.test('figures go between markers, again and again', t => {
  const page = 'before\n<!-- a -->\nold\n<!-- /a -->\nafter\n'
  const filled = fill(page, { a: 'new' })
  t.equal(filled, 'before\n<!-- a -->\n\nnew\n\n<!-- /a -->\nafter\n')
  t.equal(fill(filled, { a: 'new' }), filled)
  t.throws(() => fill(page, { b: '' }), /no <!-- b -->/)
  t.end()
})
