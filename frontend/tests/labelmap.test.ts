import { expect, test } from 'vitest'
import { agreement, census, idsIn, middleOf, outlines, type Triple } from '../src/labelmap'

const SIZE: Triple = [5, 4, 3]
const MM: Triple = [1, 1, 5]

/** A map with a box of an id from one corner to another, both included. */
function box(id: number, [x0, y0, z0]: Triple, [x1, y1, z1]: Triple, into = new Uint8Array(60)): Uint8Array<ArrayBuffer> {
  for (let z = z0; z <= z1; z++) for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) into[x + 5 * (y + 4 * z)] = id
  return into
}

test('the ids of a map, and the middle of some of them', () => {
  const ids = box(7, [4, 3, 2], [4, 3, 2], box(3, [0, 0, 0], [2, 2, 0]))
  const counted = census(ids, SIZE)
  expect([...idsIn(counted)]).toEqual([3, 7])
  expect(middleOf(ids, SIZE, counted, new Set([3]), MM)).toEqual([1, 1, 0])
  expect(middleOf(ids, SIZE, counted, new Set([7]), MM)).toEqual([4, 3, 2])
  expect(middleOf(ids, SIZE, counted, new Set([9]), MM)).toBeNull()
})

test('the middle of a ring is on the ring', () => {
  const ids = box(1, [0, 0, 1], [2, 2, 1])
  ids[1 + 5 * (1 + 4 * 1)] = 0
  const middle = middleOf(ids, SIZE, census(ids, SIZE), new Set([1]), MM)!
  expect(ids[middle[0] + 5 * (middle[1] + 4 * middle[2])]).toBe(1)
})

test('outlines lie in one plane: what is above and below does not matter', () => {
  const ids = box(2, [1, 0, 0], [3, 3, 0])
  const drawn = outlines(ids, SIZE, 2, () => true)
  expect(drawn[2 + 5 * 1]).toBe(0) // inside, though nothing is above it
  expect(drawn[1 + 5 * 1]).toBe(2)
  expect(drawn[2 + 5 * 0]).toBe(2) // the image ends here
  expect(outlines(ids, SIZE, 0, () => true)[2 + 5 * 1]).toBe(2) // seen from the side it is one row
})

test('what is switched off has no outline', () => {
  const ids = box(4, [0, 0, 0], [4, 3, 2])
  expect(outlines(ids, SIZE, 2, (id) => id !== 4).some(Boolean)).toBe(false)
})

test('Dice of each class that either map has', () => {
  const one = box(1, [0, 0, 0], [3, 0, 0])
  const other = box(5, [0, 3, 2], [0, 3, 2], box(1, [2, 0, 0], [4, 0, 0]))
  const dice = agreement(one, other)
  expect(dice.get(1)).toBeCloseTo((2 * 2) / (4 + 3))
  expect(dice.get(5)).toBe(0)
  expect(dice.has(2)).toBe(false)
})
