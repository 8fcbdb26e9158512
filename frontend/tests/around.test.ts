import { expect, test, vi } from 'vitest'

vi.mock('@niivue/niivue', () => ({}))

import { type Around, around, readBox, writeBox } from '../src/around'
import type { Pane } from '../src/pane'

test('a box reaches 15 mm and a voxel more, and ends at the scan', () => {
  const box = around([60, 2, 30], [100, 100, 40], [1, 1, 5])
  expect(box.start).toEqual([44, 0, 26])
  expect(box.size).toEqual([33, 19, 9])
  expect(box.voxel).toEqual([16, 2, 4])
  expect(box.reach).toBe(15)
})

test('of a fine scan it reaches less far, and the service takes it', () => {
  const box = around([500, 500, 500], [1000, 1000, 1000], [0.2, 0.2, 0.2])
  expect(box.size[0] * box.size[1] * box.size[2]).toBeLessThan(2_000_000)
  expect(box.reach).toBeGreaterThan(10)
  expect(box.reach).toBeLessThan(15)
  expect(box.size[0]).toBeGreaterThan((2 * box.reach) / 0.2)
})

test('what is read of a box and written into it is that box', () => {
  const [width, height, depth] = [5, 4, 3]
  const drawBitmap = new Uint8Array(width * height * depth)
  drawBitmap[2 + width * (1 + height * 1)] = 1
  const pane = {
    nv: { drawBitmap },
    slices: (axis: number) => [width, height, depth][axis],
    back: { getValue: (x: number, y: number, z: number) => -(x + 10 * y + 100 * z) },
    idReader: () => (x: number) => (x === 3 ? 7 : 9),
  } as unknown as Pane
  const box: Around = { start: [2, 1, 1], size: [2, 2, 2], spacing: [1, 1, 1], voxel: [0, 0, 0], reach: 25 }
  const body = readBox(pane, box, 9)
  const hu = new Int16Array(body.slice(0, 16).buffer)
  expect([...hu]).toEqual([-112, -113, -122, -123, -212, -213, -222, -223])
  expect([...body.slice(16)]).toEqual([1, 8, 0, 8, 0, 8, 0, 8]) // what was 9 is nobody's where it is drawn no more
  expect(box.elsewhere).toBe(false)
  writeBox(pane, box, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 9))
  const where = [...drawBitmap.entries()].filter(([, value]) => value)
  expect(where).toEqual([[3 + width * (2 + height * 2), 1]])
  drawBitmap[0] = 1
  readBox(pane, box, 9)
  expect(box.elsewhere).toBe(true)
})
