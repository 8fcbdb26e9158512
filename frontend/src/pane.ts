/** One picture of the viewer: a scan and a label map on its grid, drawn by NiiVue. */
import { Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import { make } from './dom'
import { type Census, census, type Ids, idsIn, middleOf, outlines, type Triple } from './labelmap'
import type { Window } from './window'

const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i
const SHARPEST = 2 // times as many pixels as the page has; more costs time and shows nothing

export class Pane {
  readonly figure = make('figure', 'nnv-pane')
  readonly canvas = make('canvas')
  readonly nv: Niivue
  back: NVImage | null = null
  map: NVImage | null = null
  /** The label map as it was given; what is drawn may be outlines. */
  ids: Ids = new Uint8Array()
  present: ReadonlySet<number> = new Set()
  /** Why the view of all has no 3D. */
  readonly note = make('p', 'nnv-note', '3D is left out here, because this browser draws without a graphics card.')
  private readonly caption = make('figcaption')
  private counted: Census = census([], [0, 0, 0])
  private outlined = ''
  private painted: number | null = null // the opacity that the scan was drawn with

  constructor() {
    this.canvas.tabIndex = 0
    const frame = make('div', 'nnv-frame')
    frame.append(this.canvas, this.note)
    this.note.hidden = true
    this.figure.append(frame, this.caption)
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.34, 0.74, 0.78, 1],
      crosshairWidth: 0,
      dragAndDropEnabled: false,
      isRadiologicalConvention: true,
      fontColor: [1, 1, 1, 0.6],
      fontSizeScaling: 0.3,
      isOrientCube: false,
      loadingText: '',
      logLevel: 'error',
      measureLineColor: [0.98, 0.8, 0.3, 1],
      measureTextColor: [0.98, 0.8, 0.3, 1],
      scrollRequiresFocus: true, // else the page could not be scrolled past it
      sagittalNoseLeft: true,
      show3Dcrosshair: false,
      isNearestInterpolation: false,
      multiplanarForceRender: false,
    })
  }

  /** Attach NiiVue to the canvas, which must be on the page. */
  async start(): Promise<void> {
    await this.nv.attachToCanvas(this.canvas, true)
    // NiiVue makes a texture of gradients of every scan, to light it in 3D, which nothing here asks for. By its cheapest shader
    // instead of blur and Sobel: without a graphics card these take most of the time until there is a picture.
    this.nv.blurShader = this.nv.sobelFirstOrderShader = this.nv.passThroughShader ?? null
    this.nv.setRenderAzimuthElevation(160, 10) // from the front, as one looks at a patient
    this.fit()
    const sharp = isSoftware(this.nv) ? 1 : Math.min(window.devicePixelRatio, SHARPEST)
    this.nv.setHighResolutionCapable(sharp)
  }

  /** Say what the picture is of. */
  name(title: string): void {
    this.canvas.ariaLabel = `Scan, ${title}`
    this.canvas.role = 'img'
    this.caption.textContent = title
  }

  /** Take the picture off the page. */
  remove(): void {
    this.nv.cleanup()
    this.nv.gl.getExtension('WEBGL_lose_context')?.loseContext() // browsers allow a few of them
    this.figure.remove()
  }

  /** Show a scan and a label map instead of what is shown; {@link Pane.paint} draws them. */
  load(back: NVImage, map: NVImage, window: Window): void {
    back.colormap = 'gray'
    ;[back.cal_min, back.cal_max] = [window.low, window.high]
    this.nv.clearAllMeasurements()
    // Not by addVolume, which makes the textures of all volumes anew each time: without a graphics card that takes many seconds.
    ;[this.nv.volumes, this.nv.back, this.nv.overlays] = [[back, map], back, [map]]
    ;[this.back, this.map, this.outlined, this.painted] = [back, map, '', null]
    this.setIds(Uint8Array.from(map.img as ArrayLike<number>))
  }

  /** Draw the classes anew, and the scan too if it is another one or is seen through more or less. */
  paint(): void {
    const { nv, back, map } = this
    if (!back || !map) return
    if (this.painted === back.opacity) {
      nv.refreshLayers(map, 1)
      nv.drawScene()
    } else {
      nv.updateGLVolume()
      this.painted = back.opacity
    }
  }

  /** Show another label map of the same scan. */
  setIds(ids: Uint8Array): void {
    this.ids = ids
    this.counted = census(ids, this.size)
    this.present = idsIn(this.counted)
    this.outlined = ''
    if (this.map) this.map.img = ids
  }

  /** Voxels along x, y, z as they are in the file. */
  get size(): Triple {
    const [, width = 1, height = 1, depth = 1] = this.map?.hdr?.dims ?? []
    return [width, height, depth]
  }

  /** Slices along an axis of the patient: to the left, to the front, upwards. */
  slices(axis: number): number {
    return this.back?.dimsRAS?.[axis + 1] ?? 0
  }

  /** Where the middle of some classes is, as shares along the patient's axes; null if there is none. */
  middleOf(wanted: ReadonlySet<number>): Triple | null {
    const [, dx = 1, dy = 1, dz = 1] = this.map?.hdr?.pixDims ?? []
    const voxel = middleOf(this.ids, this.size, this.counted, wanted, [dx, dy, dz])
    if (!voxel) return null
    return this.turned((axis, flipped) => {
      const slices = this.size[axis]!
      return ((flipped ? slices - 1 - voxel[axis]! : voxel[axis]!) + 0.5) / slices
    })
  }

  /** Density, id and position at a place that is given as shares along the patient's axes. */
  readAt(place: Triple): { hu: number; id: number; mm: Triple } | null {
    const { back, nv } = this
    if (!back || place.some((share) => share < 0 || share > 1)) return null
    const [x, y, z] = nv.frac2vox(place) as unknown as Triple
    const voxel: Triple = [0, 0, 0]
    this.turned((axis, flipped, patient) => {
      const index = [x, y, z][patient]!
      return (voxel[axis] = flipped ? this.size[axis]! - 1 - index : index)
    })
    const [width, height] = this.size
    const id = this.ids[voxel[0] + width * (voxel[1] + height * voxel[2])] ?? 0
    const [right, front, up] = nv.frac2mm(place) as unknown as Triple
    return { hu: back.getValue(x, y, z), id, mm: [right, front, up] }
  }

  /** The place under a point of the canvas; null beside the planes. */
  placeAt(left: number, top: number): Triple | null {
    const scale = this.canvas.width / this.canvas.clientWidth
    const place = this.nv.canvasPos2frac([left * scale, top * scale]) as unknown as Triple
    return place[0] < 0 ? null : place
  }

  /** The plane under a point of the canvas. */
  planeAt(left: number, top: number): SLICE_TYPE | undefined {
    const scale = this.canvas.width / this.canvas.clientWidth
    return this.nv.screenSlices[this.nv.tileIndex(left * scale, top * scale)]?.axCorSag
  }

  /** Open a drawing of what is there of a class. */
  openDrawing(id: number): void {
    const mask = this.map!.clone()
    mask.img = Uint8Array.from(this.ids, (other) => Number(other === id))
    this.nv.loadDrawing(mask)
  }

  /** What is drawn, 0 or 1, in the order of the file. */
  readDrawing(): Uint8Array {
    const { drawBitmap } = this.nv
    if (!drawBitmap) return new Uint8Array(this.ids.length)
    const [width, height, depth] = this.size
    // The drawing runs along the patient's axes: for each axis of the file, how far a step goes there, and where it begins.
    const steps: Triple = [0, 0, 0]
    let start = 0
    let stride = 1
    this.turned((axis, flipped) => {
      steps[axis] = flipped ? -stride : stride
      if (flipped) start += stride * (this.size[axis]! - 1)
      stride *= this.size[axis]!
      return 0
    })
    const drawn = new Uint8Array(this.ids.length)
    let index = 0
    for (let z = 0; z < depth; z++) {
      for (let y = 0; y < height; y++) {
        let from = start + z * steps[2] + y * steps[1]
        for (let x = 0; x < width; x++, from += steps[0]) drawn[index++] = drawBitmap[from]! ? 1 : 0
      }
    }
    return drawn
  }

  /** What reads the id at a voxel along the patient's axes: to the left, to the front, upwards. */
  idReader(): (x: number, y: number, z: number) => number {
    const [width, height] = this.size
    const far: Triple = [1, width, width * height]
    const steps: Triple = [0, 0, 0]
    let start = 0
    this.turned((axis, flipped, patient) => {
      steps[patient] = flipped ? -far[axis]! : far[axis]!
      if (flipped) start += far[axis]! * (this.size[axis]! - 1)
      return 0
    })
    return (x, y, z) => this.ids[start + x * steps[0] + y * steps[1] + z * steps[2]] ?? 0
  }

  /** Which slices along an axis of the patient have something drawn in them. */
  drawnSlices(axis: number): boolean[] {
    const bitmap = this.nv.drawBitmap ?? new Uint8Array()
    const [width, height, depth] = [this.slices(0), this.slices(1), this.slices(2)]
    const drawn = Array.from({ length: this.slices(axis) }, () => false)
    let index = 0
    for (let z = 0; z < depth; z++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) if (bitmap[index++]) drawn[[x, y, z][axis]!] = true
      }
    }
    return drawn
  }

  /** Let a class lie where something is drawn, and nowhere else. */
  replace(id: number, drawn: Uint8Array): void {
    this.setIds(Uint8Array.from(this.ids, (other, index) => (drawn[index] ? id : other === id ? 0 : other)))
  }

  /** Draw from black to white what lies in a window. */
  setWindow({ low, high }: Window): void {
    if (!this.back) return
    ;[this.back.cal_min, this.back.cal_max] = [low, high]
    this.nv.refreshLayers(this.back, 0)
    this.nv.drawScene()
  }

  /** Show the whole scan. */
  fit(): void {
    this.nv.setPan2Dxyzmm([0, 0, 0, 1])
    this.nv.setScale(1.35)
  }

  /**
   * Draw outlines, or areas.
   *
   * @param axis Of the patient, which the outlines' plane is perpendicular to; null for areas.
   */
  setContours(axis: number | null, shown: (id: number) => boolean): void {
    const { map } = this
    if (!map?.hdr) return
    const what = axis === null ? '' : `${axis} ${[...this.present].filter(shown).join()}`
    if (what === this.outlined) return
    this.outlined = what
    map.hdr.intent_code = 1002 // a label map: NiiVue lets the voxels at a border be opaque
    this.nv.opts.atlasOutline = axis === null ? 0 : 1
    map.img = axis === null ? (this.ids as Uint8Array) : outlines(this.ids, this.size, this.fileAxis(axis), shown)
  }

  private fileAxis(axis: number): number {
    return Math.abs(this.map?.permRAS?.[axis] ?? axis + 1) - 1
  }

  /** For each axis of the patient, what is made of the file's axis along it, which may run the other way. */
  private turned(act: (axis: number, flipped: boolean, patient: number) => number): Triple {
    const order = this.map?.permRAS ?? [1, 2, 3]
    return [0, 1, 2].map((patient) => act(Math.abs(order[patient]!) - 1, order[patient]! < 0, patient)) as Triple
  }
}

/** Whether a picture is drawn by the processor. */
export function isSoftware({ gl }: Niivue): boolean {
  const extension = gl.getExtension('WEBGL_debug_renderer_info')
  const name: unknown = gl.getParameter(extension ? extension.UNMASKED_RENDERER_WEBGL : gl.RENDERER)
  return typeof name === 'string' && SOFTWARE.test(name)
}

/** Read a NIfTI file. */
export async function read(blob: Blob, name: string): Promise<NVImage> {
  return NVImage.loadFromFile({ file: new File([blob], name), name })
}
