import { expect, test } from 'vitest'
import { withVoxels } from '../src/page/nifti'

/** A gzipped NIfTI file with a header of 352 bytes. */
async function file(voxels: number[], type = 2): Promise<Blob> {
  const bytes = new Uint8Array(352 + voxels.length)
  const view = new DataView(bytes.buffer)
  view.setInt16(70, type, true)
  view.setFloat32(108, 352, true)
  bytes[300] = 77 // something of the header
  bytes.set(voxels, 352)
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'))).blob()
}

const unpacked = async (blob: Blob): Promise<Uint8Array> =>
  new Uint8Array(await new Response(blob.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer())

test('the header stays, the voxels are others', async () => {
  const bytes = await unpacked(await withVoxels(await file([1, 2, 3]), Uint8Array.of(4, 5, 6)))
  expect([...bytes.slice(352)]).toEqual([4, 5, 6])
  expect(bytes[300]).toBe(77)
})

test('voxels of another number or type are refused', async () => {
  await expect(withVoxels(await file([1, 2, 3]), Uint8Array.of(4))).rejects.toThrow('load the page again')
  await expect(withVoxels(await file([1, 2, 3], 4), Uint8Array.of(4, 5, 6))).rejects.toThrow('load the page again')
})
