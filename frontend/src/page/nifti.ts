/** Label maps as files: the header of one, with other voxels. */

const VOXELS_AT = 108 // where the header says at which byte the voxels begin, as float32
const TYPE_AT = 70
const UINT8 = 2

/**
 * A gzipped NIfTI file of uint8 with other voxels.
 *
 * @param file The file whose header, and so whose grid, is kept.
 * @param ids Voxels in the order of the file.
 */
export async function withVoxels(file: Blob, ids: Uint8Array): Promise<Blob> {
  const bytes = new Uint8Array(await new Response(file.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer())
  const view = new DataView(bytes.buffer)
  const start = view.getFloat32(VOXELS_AT, true)
  if (view.getInt16(TYPE_AT, true) !== UINT8 || start + ids.length !== bytes.length) {
    throw new Error('The label map is not as the service writes it; load the page again.')
  }
  bytes.set(ids, start)
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'))).blob()
}
