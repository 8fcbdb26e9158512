/** The box around a click, as the service takes it to segment an organ again there. */
import type { Pane } from './pane'
import type { Triple } from './labelmap'

const REACH = 15 // mm from the click
const MOST = 1_900_000 // voxels of a box; of a finer scan it reaches less far

/** Along the patient's axes: to the left, to the front, upwards. */
export interface Around {
  start: Triple // the first voxel
  size: Triple
  spacing: Triple // mm
  voxel: Triple // of the click, from the first voxel
  reach: number // mm
  elsewhere?: boolean // whether the organ also lies outside the box
}

/** What became of a click: where the organ is in the box, and what is to be said of it. */
export interface Segmented {
  mask: Uint8Array
  note: string // empty if there is nothing to say
}

/**
 * Segments an organ, which is given by its id, again: takes a box with densities as int16 and whose each voxel is as uint8
 * (1 the organ's, 0 nobody's, others those of other organs).
 */
export type Segment = (organ: number, around: Around, add: boolean, body: Uint8Array<ArrayBuffer>) => Promise<Segmented>

/** The box around a voxel of a scan. */
export function around(voxel: Triple, slices: Triple, spacing: Triple): Around {
  for (let reach = REACH; ; reach *= 0.9) {
    const start: Triple = [0, 0, 0]
    const size: Triple = [0, 0, 0]
    for (const axis of [0, 1, 2] as const) {
      const far = Math.ceil(reach / spacing[axis]) + 1
      start[axis] = Math.max(voxel[axis] - far, 0)
      size[axis] = Math.min(voxel[axis] + far + 1, slices[axis]) - start[axis]
    }
    if (size[0] * size[1] * size[2] <= MOST) {
      return { start, size, spacing, voxel: voxel.map((at, axis) => at - start[axis]!) as Triple, reach }
    }
  }
}

/**
 * Densities and whose each voxel is in a box, x fastest.
 *
 * @param own The class that is drawn; what it had before counts as nobody's where it is drawn no more.
 */
export function readBox(pane: Pane, box: Around, own: number): Uint8Array<ArrayBuffer> {
  const { start, size } = box
  const voxels = size[0] * size[1] * size[2]
  const body = new Uint8Array(3 * voxels)
  const view = new DataView(body.buffer)
  const bitmap = pane.nv.drawBitmap!
  const idAt = pane.idReader()
  let drawn = 0
  each(pane, start, size, (index, at, x, y, z) => {
    const hu = Math.round(pane.back!.getValue(x, y, z))
    view.setInt16(2 * index, Math.min(Math.max(hu, -32768), 32767), true)
    const other = idAt(x, y, z)
    if (bitmap[at]) drawn++
    body[2 * voxels + index] = bitmap[at] ? 1 : other && other !== own ? Math.min(other + 1, 255) : 0
  })
  box.elsewhere = bitmap.reduce((sum, value) => sum + (value ? 1 : 0), 0) > drawn
  return body
}

/** Draw a mask in a box, instead of what is drawn there. */
export function writeBox(pane: Pane, { start, size }: Around, mask: Uint8Array): void {
  const bitmap = pane.nv.drawBitmap!
  each(pane, start, size, (index, at) => (bitmap[at] = mask[index]! ? 1 : 0))
}

function each(
  pane: Pane,
  start: Triple,
  size: Triple,
  act: (index: number, at: number, x: number, y: number, z: number) => void,
): void {
  const [width, height] = [pane.slices(0), pane.slices(1)]
  let index = 0
  for (let z = start[2]; z < start[2] + size[2]; z++) {
    for (let y = start[1]; y < start[1] + size[1]; y++) {
      for (let x = start[0]; x < start[0] + size[0]; x++) act(index++, x + width * (y + height * z), x, y, z)
    }
  }
}
