import { expect, test, vi } from 'vitest'

vi.mock('@niivue/niivue', () => ({ SLICE_TYPE: { SAGITTAL: 2, AXIAL: 0 }, PEN_TYPE: { PEN: 0 } }))

import { gapsIn } from '../src/drawing'

const drawn = (text: string): boolean[] => Array.from(text, (letter) => letter === 'x')

test.each([
  ['..x..x.', [[2, 5]]],
  ['x.x.x', [[0, 2], [2, 4]]],
  ['.xxx.', []],
  ['..x..', []],
  ['.....', []],
])('what lies between drawn slices: %s', (text, gaps) => {
  expect(gapsIn(drawn(text))).toEqual(gaps)
})
