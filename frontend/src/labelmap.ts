/** What is read off a label map: which classes it has, where they are, their outlines, how two maps agree. */

/** Ids of a label map in the order of its file, x fastest. */
export type Ids = ArrayLike<number>
export type Triple = [number, number, number]

const IDS = 256 // label maps are uint8

/** Voxels of each id, and the sum of their indices along x, y, z. */
export interface Census {
  count: Float64Array
  sums: Float64Array // three numbers an id
}

/** Count a label map once; what follows needs no other pass over all voxels. */
export function census(ids: Ids, size: Triple): Census {
  const count = new Float64Array(IDS)
  const sums = new Float64Array(3 * IDS)
  const [width, height, depth] = size
  let index = 0
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const id = ids[index++]!
        if (!id) continue
        count[id]!++
        sums[3 * id]! += x
        sums[3 * id + 1]! += y
        sums[3 * id + 2]! += z
      }
    }
  }
  return { count, sums }
}

/** The ids that occur, without background. */
export function idsIn({ count }: Census): Set<number> {
  const found = new Set<number>()
  for (let id = 1; id < IDS; id++) if (count[id]) found.add(id)
  return found
}

/** Of the voxels with certain ids, the one nearest to the middle of them; an arch is not at its own middle. */
export function middleOf(ids: Ids, size: Triple, counted: Census, wanted: ReadonlySet<number>, mm: Triple): Triple | null {
  let all = 0
  const middle: Triple = [0, 0, 0]
  for (const id of wanted) {
    all += counted.count[id]!
    for (const axis of [0, 1, 2] as const) middle[axis] += counted.sums[3 * id + axis]!
  }
  if (!all) return null
  const [mx, my, mz] = middle.map((sum) => sum / all) as Triple
  const [width, height, depth] = size
  let nearest: Triple = [0, 0, 0]
  let least = Infinity
  let index = 0
  for (let z = 0; z < depth; z++) {
    const far = ((z - mz) * mm[2]) ** 2
    if (far >= least) {
      index += width * height
      continue
    }
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!wanted.has(ids[index++]!)) continue
        const away = ((x - mx) * mm[0]) ** 2 + ((y - my) * mm[1]) ** 2 + far
        if (away < least) [nearest, least] = [[x, y, z], away]
      }
    }
  }
  return nearest
}

/**
 * The voxels of a label map that have another id beside them in the plane perpendicular to an axis.
 *
 * @param axis Of the file: 0, 1, 2 for x, y, z.
 * @param shown Whether an id is drawn at all.
 */
export function outlines(ids: Ids, size: Triple, axis: number, shown: (id: number) => boolean): Uint8Array {
  const on = Uint8Array.from({ length: IDS }, (_, id) => Number(id > 0 && shown(id)))
  const steps = [1, size[0], size[0] * size[1]]
  const [a, b] = [0, 1, 2].filter((other) => other !== axis) as [0 | 1 | 2, 0 | 1 | 2]
  const [stepA, stepB] = [steps[a]!, steps[b]!]
  const [lastA, lastB] = [size[a] - 1, size[b] - 1]
  const lines = new Uint8Array(ids.length)
  const at: Triple = [0, 0, 0]
  let index = 0
  for (at[2] = 0; at[2] < size[2]; at[2]++) {
    for (at[1] = 0; at[1] < size[1]; at[1]++) {
      for (at[0] = 0; at[0] < size[0]; at[0]++, index++) {
        const id = ids[index]!
        if (!on[id]) continue
        const edge = at[a] === 0 || at[a] === lastA || at[b] === 0 || at[b] === lastB
        const border =
          edge || ids[index - stepA] !== id || ids[index + stepA] !== id || ids[index - stepB] !== id || ids[index + stepB] !== id
        if (border) lines[index] = id
      }
    }
  }
  return lines
}

/** How two label maps on one grid agree: Dice of each id that either of them has. */
export function agreement(one: Ids, other: Ids): Map<number, number> {
  const [a, b, both] = [new Float64Array(IDS), new Float64Array(IDS), new Float64Array(IDS)]
  for (let index = 0; index < one.length; index++) {
    const [first, second] = [one[index]!, other[index]!]
    a[first]!++
    b[second]!++
    if (first === second) both[first]!++
  }
  const dice = new Map<number, number>()
  for (let id = 1; id < IDS; id++) if (a[id]! + b[id]!) dice.set(id, (2 * both[id]!) / (a[id]! + b[id]!))
  return dice
}
