import { expect, test } from 'vitest'
import { dragged, PRESETS, presetOf, SOFT_TISSUE, spoken } from '../src/window'

test('presets are said as width and level', () => {
  expect(PRESETS.map(({ window }) => spoken(window))).toEqual(['W 400 L 40', 'W 160 L 90', 'W 1500 L -600', 'W 1800 L 400'])
  expect(presetOf(SOFT_TISSUE)?.title).toBe('Soft tissue')
})

test('a drag to the right widens, downwards darkens', () => {
  expect(spoken(dragged(SOFT_TISSUE, 10, 0))).toBe('W 420 L 40')
  expect(spoken(dragged(SOFT_TISSUE, 0, 10))).toBe('W 400 L 60')
  expect(presetOf(dragged(SOFT_TISSUE, 1, 0))).toBeUndefined()
})

test('no drag makes a window that shows nothing', () => {
  const { low, high } = dragged(SOFT_TISSUE, -1e6, -1e6)
  expect(high - low).toBe(10)
  expect(high).toBeGreaterThan(-1300)
  expect(spoken(dragged(SOFT_TISSUE, 1e6, 1e6))).toBe('W 4000 L 3000')
})
