/**
 * A scan to scroll through: one pane a label map, side by side and in step, in slices and in 3D, with classes to switch
 * on and off. It knows nothing of where the scan comes from.
 */
import { DRAG_MODE, Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
import { button, make } from './dom'
import style from './viewer.css?inline'

/** A line of the label table; the color is red, green, blue from 0 to 255. */
export interface LabelClass {
  id: number
  title: string
  color: [number, number, number]
}

/** A CT in HU and label maps on its grid, each a NIfTI file that may be gzipped. */
export interface Scan {
  image: Blob
  layers: { title: string; labels: Blob }[]
}

interface View {
  title: string
  type: SLICE_TYPE
  axis: number // that the slider moves along: x, y, z
}

const WINDOW_HU = [-160, 240] as const
const AXIAL: View = { title: 'Axial', type: SLICE_TYPE.AXIAL, axis: 2 }
const VIEWS: View[] = [
  AXIAL,
  { title: 'Coronal', type: SLICE_TYPE.CORONAL, axis: 1 },
  { title: 'Sagittal', type: SLICE_TYPE.SAGITTAL, axis: 0 },
  { title: '3D', type: SLICE_TYPE.RENDER, axis: -1 },
]
const ALL: View = { title: 'All', type: SLICE_TYPE.MULTIPLANAR, axis: 2 }
const OPACITY = 0.5
const NOTCH = 40 // pixels of the wheel for one slice; a notch of most mice is 100
const FAINT = 0.18 // of its color: what is beside the class that is pointed at

/** Whether this browser can draw scans. */
export function canDraw(): boolean {
  return document.createElement('canvas').getContext('webgl2') !== null
}

export class Viewer {
  /** Ids of the classes in the scan that is shown. */
  present: ReadonlySet<number> = new Set()
  /** Called when classes were switched on or off. */
  onSwitch: () => void = () => undefined

  private readonly hidden = new Set<number>()
  private readonly bar = make('div', 'nnv-bar')
  private readonly stage = make('div', 'nnv-stage')
  private readonly slider = make('input', 'nnv-slider')
  private readonly place = make('output', 'nnv-place')
  private readonly views: View[]
  private panes: Niivue[] = []
  private view: View
  private emphasised: number | null = null
  private turn = 0
  private rolled = 0 // pixels by the wheel since the last slice

  /**
   * @param all Whether there is a view of all planes and 3D at once, which a single pane has the room for.
   */
  constructor(
    readonly root: HTMLElement,
    private readonly classes: LabelClass[],
    { all = false } = {},
  ) {
    if (!document.getElementById('nnv-style')) {
      const sheet = make('style', '', style)
      sheet.id = 'nnv-style'
      document.head.append(sheet)
    }
    this.views = all ? [ALL, ...VIEWS] : VIEWS
    this.view = this.views[0]!
    root.classList.add('nnv')
    this.bar.append(this.viewButtons(), this.slider, this.place)
    this.slider.type = 'range'
    this.slider.min = '0'
    this.slider.max = '1'
    this.slider.step = 'any'
    this.slider.ariaLabel = 'Position of the slice'
    this.slider.addEventListener('input', () => this.scrollTo(Number(this.slider.value)))
    root.replaceChildren(this.bar, this.stage)
  }

  /** Show a scan; what was shown before goes. False if another was asked for in the meantime. */
  async show(scan: Scan): Promise<boolean> {
    const turn = ++this.turn
    await this.makePanes(scan.layers.map((layer) => layer.title))
    const image = await read(scan.image, 'image.nii.gz')
    const maps = await Promise.all(scan.layers.map((layer) => read(layer.labels, 'labels.nii.gz')))
    if (turn !== this.turn) return false
    for (const [index, pane] of this.panes.entries()) {
      const back = index === 0 ? image : image.clone()
      back.colormap = 'gray'
      ;[back.cal_min, back.cal_max] = WINDOW_HU
      pane.volumes = []
      pane.opts.sliceType = AXIAL.type // quick to draw until all is there
      pane.addVolume(back)
      pane.addVolume(maps[index]!)
    }
    this.present = idsIn(maps)
    this.color()
    const full = maps.find((map) => map.img?.some((id) => id > 0))
    this.moveTo(full ? middleOf(full, (id) => id > 0) : null)
    this.turnTo(this.view)
    return true
  }

  /** Whether a class is drawn. */
  isOn(id: number): boolean {
    return !this.hidden.has(id)
  }

  /** Switch classes on or off. */
  switch(ids: Iterable<number>, on: boolean): void {
    for (const id of ids) {
      if (on) this.hidden.delete(id)
      else this.hidden.add(id)
    }
    this.paint()
    this.onSwitch()
  }

  /** Draw all but one class faintly; null for all as they are. */
  emphasise(id: number | null): void {
    if (id === this.emphasised) return
    this.emphasised = id
    if (this.present.size) this.paint()
  }

  /** Lay the slices through the middle of a class. */
  centerOn(id: number): void {
    for (const pane of this.panes) {
      const map = pane.volumes[1]
      if (!map?.img?.includes(id)) continue
      this.moveTo(middleOf(map, (other) => other === id))
      for (const each of this.panes) each.drawScene()
      this.follow(pane)
      return
    }
  }

  private moveTo(voxel: [number, number, number] | null): void {
    for (const pane of this.panes) pane.scene.crosshairPos = voxel ? pane.vox2frac(voxel) : [0.5, 0.5, 0.5]
  }

  private async makePanes(titles: string[]): Promise<void> {
    while (this.panes.length < titles.length) {
      const place = make('figure', 'nnv-pane')
      const canvas = make('canvas')
      canvas.tabIndex = 0
      place.append(make('div', 'nnv-frame'), make('figcaption'))
      place.firstElementChild!.append(canvas)
      this.stage.append(place)
      const pane = new Niivue({
        backColor: [0, 0, 0, 1],
        crosshairColor: [0.34, 0.74, 0.78, 1],
        crosshairWidth: 0,
        dragAndDropEnabled: false,
        dragMode: DRAG_MODE.pan,
        isRadiologicalConvention: true,
        fontColor: [1, 1, 1, 0.6],
        fontSizeScaling: 0.3,
        isOrientCube: false,
        loadingText: '',
        logLevel: 'error',
        scrollRequiresFocus: true, // else the page could not be scrolled past it
        sagittalNoseLeft: true,
        show3Dcrosshair: false,
        isNearestInterpolation: false,
        multiplanarForceRender: false,
      })
      this.panes.push(pane) // before it is waited for: another call must not make it a second time
      await pane.attachToCanvas(canvas, true)
      pane.setRenderAzimuthElevation(160, 10) // from the front, as one looks at a patient
      pane.setScale(1.35)
      pane.onLocationChange = () => this.follow(pane)
      canvas.addEventListener('wheel', (event) => this.roll(event, pane, canvas), { capture: true, passive: false })
    }
    for (const pane of this.panes) pane.broadcastTo(this.panes.filter((other) => other !== pane))
    for (const [index, canvas] of this.stage.querySelectorAll('canvas').entries()) canvas.ariaLabel = `Scan, ${titles[index]}`
    for (const [index, caption] of this.stage.querySelectorAll('figcaption').entries()) caption.textContent = titles[index] ?? ''
  }

  private viewButtons(): HTMLElement {
    const group = make('div', 'nnv-views')
    group.role = 'group'
    group.ariaLabel = 'View'
    for (const view of this.views) {
      const choice = button('', view.title, () => {
        for (const other of group.children) other.ariaPressed = String(other === choice)
        this.turnTo(view)
      })
      choice.ariaPressed = String(view === this.view)
      group.append(choice)
    }
    return group
  }

  private turnTo(view: View): void {
    this.view = view
    const solid = view.axis < 0
    for (const part of [this.slider, this.place]) part.style.visibility = solid ? 'hidden' : 'visible'
    for (const pane of this.panes) {
      const [back, map] = pane.volumes
      if (back) back.opacity = solid ? 0 : 1
      if (map) map.opacity = solid ? 1 : OPACITY
      pane.opts.crosshairWidth = view === ALL ? 0.3 : 0
      pane.opts.sliceType = view.type
      if (back) pane.updateGLVolume() // once for all of it
    }
    if (this.panes[0]) this.follow(this.panes[0])
  }

  private scrollTo(share: number): void {
    for (const pane of this.panes) {
      pane.scene.crosshairPos[this.view.axis] = share
      pane.drawScene()
    }
    if (this.panes[0]) this.follow(this.panes[0])
  }

  /** The wheel moves through the slices, one at a time; NiiVue would zoom. In 3D it zooms, as NiiVue has it. */
  private roll(event: WheelEvent, pane: Niivue, canvas: HTMLCanvasElement): void {
    if (document.activeElement !== canvas) return // the page scrolls
    const axis = this.axisAt(event, pane, canvas)
    const slices = pane.volumes[0]?.dimsRAS?.[axis + 1]
    if (axis < 0 || !slices) return
    event.preventDefault()
    event.stopImmediatePropagation()
    this.rolled += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : NOTCH * Math.sign(event.deltaY)
    if (Math.abs(this.rolled) < NOTCH) return // touchpads send many small steps
    const now = Math.floor(pane.scene.crosshairPos[axis]! * slices)
    const next = Math.min(Math.max(now - Math.sign(this.rolled), 0), slices - 1)
    this.rolled = 0
    for (const each of this.panes) {
      each.scene.crosshairPos[axis] = (next + 0.5) / slices
      each.drawScene()
    }
    this.follow(pane)
  }

  /** The axis that the plane under the pointer is perpendicular to: x, y, z; -1 for the 3D view. */
  private axisAt(event: WheelEvent, pane: Niivue, canvas: HTMLCanvasElement): number {
    if (this.view !== ALL) return this.view.axis
    const scale = canvas.width / canvas.clientWidth
    const tile = pane.screenSlices[pane.tileIndex(event.offsetX * scale, event.offsetY * scale)]
    return VIEWS.find((view) => view.type === tile?.axCorSag)?.axis ?? -1
  }

  private follow(pane: Niivue): void {
    const { axis } = this.view
    const slices = pane.volumes[0]?.dimsRAS?.[axis + 1]
    if (axis < 0 || !slices) return
    const share = pane.scene.crosshairPos[axis]!
    this.slider.value = String(share)
    this.place.textContent = `${Math.min(Math.floor(share * slices) + 1, slices)} / ${slices}`
  }

  private paint(): void {
    this.color()
    for (const pane of this.panes) pane.updateGLVolume()
  }

  private color(): void {
    const one = this.emphasised !== null && this.isOn(this.emphasised) ? this.emphasised : null
    const strength = ({ id }: LabelClass): number => (one === null || one === id ? 1 : FAINT) // alpha is all or nothing
    const channel = (index: 0 | 1 | 2): number[] => [0, ...this.classes.map((item) => Math.round(item.color[index] * strength(item)))]
    const table = {
      R: channel(0),
      G: channel(1),
      B: channel(2),
      A: [0, ...this.classes.map(({ id }) => (this.isOn(id) ? 255 : 0))],
      I: [0, ...this.classes.map((item) => item.id)],
      labels: ['', ...this.classes.map((item) => item.title)],
    }
    for (const pane of this.panes) pane.volumes[1]?.setColormapLabel(table)
  }
}

async function read(blob: Blob, name: string): Promise<NVImage> {
  return NVImage.loadFromFile({ file: new File([blob], name), name })
}

function idsIn(maps: NVImage[]): Set<number> {
  const ids = new Set<number>()
  for (const map of maps) for (const id of map.img ?? []) ids.add(id)
  ids.delete(0)
  return ids
}

/** Of the voxels with certain ids, the one nearest to the middle of them, (x, y, z); an arch is not at its own middle. */
function middleOf(map: NVImage, wanted: (id: number) => boolean): [number, number, number] {
  const [, width = 1, height = 1] = map.hdr!.dims
  const [, dx = 1, dy = 1, dz = 1] = map.hdr!.pixDims
  const img = map.img!
  const visit = (act: (x: number, y: number, z: number) => void): void => {
    for (let index = 0; index < img.length; index++) {
      if (wanted(img[index]!)) act(index % width, Math.floor(index / width) % height, Math.floor(index / (width * height)))
    }
  }
  const sum = [0, 0, 0, 0] as [number, number, number, number]
  visit((x, y, z) => {
    sum[0] += x
    sum[1] += y
    sum[2] += z
    sum[3] += 1
  })
  const [mx, my, mz] = [sum[0] / sum[3], sum[1] / sum[3], sum[2] / sum[3]]
  let nearest: [number, number, number] = [0, 0, 0]
  let least = Infinity
  visit((x, y, z) => {
    const away = ((x - mx) * dx) ** 2 + ((y - my) * dy) ** 2 + ((z - mz) * dz) ** 2
    if (away < least) [nearest, least] = [[x, y, z], away]
  })
  return nearest
}
