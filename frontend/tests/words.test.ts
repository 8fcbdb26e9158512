import { describe, expect, test } from 'vitest'
import type { Job } from '../src/page/api'
import { foundIn, seconds, size, stateOf, volume } from '../src/page/words'

const job = (more: Partial<Job>): Job => ({
  id: 'a',
  name: 'ct',
  state: 'queued',
  place: 1,
  progress: null,
  created: 0,
  seconds: null,
  error: null,
  warnings: [],
  organs: null,
  scan: null,
  files: [],
  delivery: null,
  correction: null,
  ...more,
})
const organ = (volume_ml: number): NonNullable<Job['organs']>[number] => ({
  id: 1,
  name: 'liver',
  volume_ml,
  confidence: 0.9,
  touches_border: false,
})

test.each([
  [0.034, '0.03'],
  [3.456, '3.5'],
  [99.96, '100.0'],
  [1543.2, '1543'],
])('a volume of %f ml has as many digits as mean something', (ml, text) => {
  expect(volume(ml)).toBe(text)
})

test.each([
  [2.14, '2.1 s'],
  [64.4, '64 s'],
  [150, '2 min 30 s'],
])('%f seconds', (value, text) => {
  expect(seconds(value)).toBe(text)
})

test.each([
  [100, '1 MB'],
  [25_400_000, '25 MB'],
  [2e9, '2.0 GB'],
])('%f bytes', (bytes, text) => {
  expect(size(bytes)).toBe(text)
})

describe('the state of a job', () => {
  test.each([
    [1, 'Next in the queue'],
    [2, '2nd in the queue'],
    [3, '3rd in the queue'],
    [11, '11th in the queue'],
    [12, '12th in the queue'],
    [21, '21st in the queue'],
    [112, '112th in the queue'],
  ])('place %i', (place, text) => {
    expect(stateOf(job({ place }))).toBe(text)
  })

  test('while it runs, the window that is being done', () => {
    const progress = { what: 'windows', done: 3, total: 12 }
    expect(stateOf(job({ state: 'running', progress }))).toBe('Segmenting, part 4 of 12')
    expect(stateOf(job({ state: 'running', progress: { ...progress, done: 12 } }))).toBe('Segmenting, part 12 of 12')
    expect(stateOf(job({ state: 'running' }))).toBe('Starting')
  })

  test('when it is done, only what was found counts', () => {
    const done = job({ state: 'done', organs: [organ(1500), organ(0)] })
    expect(foundIn(done)).toHaveLength(1)
    expect(stateOf(done)).toBe('1 structure found')
    expect(stateOf(job({ state: 'done', organs: [organ(0)] }))).toBe('Nothing found')
  })
})
