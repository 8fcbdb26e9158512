/**
 * A scan to scroll through: one pane a label map, side by side and in step, in slices and in 3D, with classes to switch
 * on and off, a window, lengths and densities. It knows nothing of where the scan comes from.
 */
import { DRAG_MODE, SHOW_RENDER, SLICE_TYPE } from '@niivue/niivue'
import { make } from './dom'
import { listenForKeys } from './keys'
import { agreement, type Triple } from './labelmap'
import { isSoftware, Pane, read } from './pane'
import { Toolbar } from './toolbar'
import { dragged, SOFT_TISSUE, type Window } from './window'
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

export interface View {
  title: string
  key: string
  type: SLICE_TYPE
  axis: number // that the slider moves along: x, y, z
}

/** What a drag with the left button does. */
export type Tool = 'look' | 'window' | 'measure'

const AXIAL: View = { title: 'Axial', key: 'a', type: SLICE_TYPE.AXIAL, axis: 2 }
const VIEWS: View[] = [
  AXIAL,
  { title: 'Coronal', key: 'c', type: SLICE_TYPE.CORONAL, axis: 1 },
  { title: 'Sagittal', key: 's', type: SLICE_TYPE.SAGITTAL, axis: 0 },
  { title: '3D', key: 'd', type: SLICE_TYPE.RENDER, axis: -1 },
]
const ALL: View = { title: 'All', key: 'x', type: SLICE_TYPE.MULTIPLANAR, axis: 2 }
const NOTCH = 40 // pixels of the wheel for one slice; a notch of most mice is 100
const FAINT = 0.18 // of its color: what is beside the class that is pointed at
const FAR = 12 // times that one can zoom in

/** Whether this browser can draw scans. */
export function canDraw(): boolean {
  return document.createElement('canvas').getContext('webgl2') !== null
}

export class Viewer {
  /** Ids of the classes in the scan that is shown. */
  present: ReadonlySet<number> = new Set()
  /** Called when classes were switched on or off. */
  onSwitch: () => void = () => undefined
  readonly views: View[]
  readonly stage = make('div', 'nnv-stage')
  view: View
  tool: Tool = 'look'
  window: Window = SOFT_TISSUE
  opacity = 0.5
  contours = false
  /** The class that is drawn on, and so not part of the map that is shown. */
  drawn: number | null = null
  /** What other keys do just now. */
  extraKeys: Record<string, () => void> = {}

  private readonly hidden = new Set<number>()
  private readonly probe = make('output', 'nnv-probe')
  private readonly toolbar: Toolbar
  private panes: Pane[] = []
  private emphasised: number | null = null
  private turn = 0
  private rolled = 0 // pixels by the wheel since the last slice
  private drag: [number, number] | null = null // where the pointer was, while it changes the window
  private frame = 0

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
    this.toolbar = new Toolbar(this)
    root.classList.add('nnv')
    root.replaceChildren(this.toolbar.root, this.stage, this.probe)
    listenForKeys(this)
  }

  /** Show a scan; what was shown before goes. False if another was asked for in the meantime. */
  async show(scan: Scan): Promise<boolean> {
    const turn = ++this.turn
    await this.makePanes(scan.layers.map((layer) => layer.title))
    const image = await read(scan.image, 'image.nii.gz')
    const maps = await Promise.all(scan.layers.map((layer) => read(layer.labels, 'labels.nii.gz')))
    if (turn !== this.turn) return false
    for (const [index, pane] of this.panes.entries()) {
      pane.nv.opts.sliceType = AXIAL.type // quick to draw until all is there
      pane.load(index === 0 ? image : image.clone(), maps[index]!, this.window)
    }
    this.present = new Set(this.panes.flatMap((pane) => [...pane.present]))
    this.color()
    const full = this.panes.find((pane) => pane.present.size) ?? this.panes[0]!
    this.moveTo(full.middleOf(full.present) ?? [0.5, 0.5, 0.5])
    this.say('')
    this.turnTo(this.view)
    return true
  }

  /** Whether there is no graphics card, so that drawing is slow. */
  get slow(): boolean {
    return this.panes.some(({ nv }) => isSoftware(nv))
  }

  /** Slices along the axis of the view, and which of them is shown, from 1; null in 3D. */
  get place(): { slice: number; slices: number } | null {
    const [pane] = this.panes
    const { axis } = this.view
    const slices = pane?.slices(axis)
    if (!pane || axis < 0 || !slices) return null
    return { slice: Math.min(Math.floor(pane.nv.scene.crosshairPos[axis]! * slices) + 1, slices), slices }
  }

  /** Dice of each class between the first two panes; empty if there are not two. */
  agreement(): Map<number, number> {
    const [one, other] = this.panes
    return one && other ? agreement(one.ids, other.ids) : new Map<number, number>()
  }

  /** The pane that is drawn on. */
  get main(): Pane {
    return this.panes[0]!
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
    if (id === this.emphasised || this.slow) return // it takes a whole drawing of the scan
    this.emphasised = id
    if (this.present.size) this.paint()
  }

  /** Lay the slices through the middle of a class. */
  centerOn(id: number): void {
    for (const pane of this.panes) {
      const middle = pane.middleOf(new Set([id]))
      if (!middle) continue
      this.moveTo(middle)
      this.drawAll()
      return
    }
  }

  /** Show a plane, all of them, or 3D. */
  turnTo(view: View): void {
    this.view = view
    const solid = view.axis < 0
    for (const pane of this.panes) {
      const { nv } = pane
      if (pane.back) pane.back.opacity = solid ? 0 : 1
      nv.opts.crosshairWidth = view === ALL ? 0.3 : 0
      nv.opts.multiplanarShowRender = this.slow ? SHOW_RENDER.NEVER : SHOW_RENDER.AUTO
      pane.note.hidden = !(this.slow && view === ALL)
      nv.opts.sliceType = view.type
    }
    this.paint() // once for all of it
  }

  /** Go to a slice of the view, from 1. */
  goTo(slice: number): void {
    const { place } = this
    if (place) this.scroll(this.view.axis, Math.min(Math.max(slice, 1), place.slices) - 1, place.slices)
  }

  /** Go some slices on; upwards, forwards and to the patient's left if positive. */
  step(by: number): void {
    const { place } = this
    if (place) this.goTo(place.slice + by)
  }

  /** Choose what a drag with the left button does. */
  setTool(tool: Tool): void {
    this.tool = tool
    for (const { nv } of this.panes) nv.opts.mouseEventConfig = mouse(tool)
    this.stage.dataset['tool'] = tool
    this.toolbar.update()
  }

  /** Set which densities are drawn from black to white. */
  setWindow(window: Window): void {
    this.window = window
    this.toolbar.update()
    this.soon(() => {
      for (const pane of this.panes) pane.setWindow(this.window)
    })
  }

  /** Set how opaque the classes are, from 0 to 1. */
  setOpacity(opacity: number): void {
    this.opacity = Math.min(Math.max(opacity, 0), 1)
    this.toolbar.update()
    this.soon(() => this.paint())
  }

  /** Draw outlines instead of areas. */
  setContours(on: boolean): void {
    this.contours = on
    this.paint()
  }

  /** Zoom in or out by a factor. */
  zoom(by: number): void {
    for (const { nv } of this.panes) {
      const [x, y, z, scale] = nv.scene.pan2Dxyzmm as unknown as [number, number, number, number]
      nv.setPan2Dxyzmm([x, y, z, Math.min(Math.max(scale * by, 1), FAR)])
    }
  }

  /** Show the whole scan again. */
  fit(): void {
    for (const pane of this.panes) pane.fit()
  }

  /** Remove all lengths. */
  clearLengths(): void {
    for (const { nv } of this.panes) nv.clearAllMeasurements()
    this.say('')
  }

  /** Draw the classes anew. */
  paint(): void {
    this.color()
    for (const pane of this.panes) pane.paint()
    this.toolbar.update()
  }

  private soon(act: () => void): void {
    cancelAnimationFrame(this.frame)
    this.frame = requestAnimationFrame(act)
  }

  private say(line: string): void {
    if (this.probe.textContent !== line) this.probe.textContent = line
  }

  private drawAll(): void {
    for (const { nv } of this.panes) nv.drawScene()
    this.toolbar.update()
  }

  private moveTo(place: Triple): void {
    for (const { nv } of this.panes) nv.scene.crosshairPos = place
  }

  private scroll(axis: number, slice: number, slices: number): void {
    for (const { nv } of this.panes) nv.scene.crosshairPos[axis] = (slice + 0.5) / slices
    this.drawAll()
  }

  private async makePanes(titles: string[]): Promise<void> {
    while (this.panes.length > Math.max(titles.length, 1)) this.panes.pop()!.remove()
    while (this.panes.length < titles.length) {
      const pane = new Pane()
      this.panes.push(pane) // before it is waited for: another call must not make it a second time
      this.stage.append(pane.figure)
      await pane.start()
      pane.nv.opts.mouseEventConfig = mouse(this.tool)
      this.listen(pane)
    }
    this.stage.dataset['panes'] = String(titles.length)
    for (const [index, pane] of this.panes.entries()) {
      const others = this.panes.filter((other) => other !== pane).map(({ nv }) => nv)
      pane.nv.broadcastTo(others)
      pane.name(titles[index] ?? '')
    }
  }

  private listen(pane: Pane): void {
    const { canvas, nv } = pane
    const early = { capture: true, passive: false }
    nv.onLocationChange = () => {
      this.toolbar.update()
      this.say(this.readAt(pane, nv.scene.crosshairPos as unknown as Triple))
    }
    nv.onMeasurementCompleted = ({ distance }) => this.say(`Length ${distance.toFixed(1)} mm`)
    canvas.addEventListener('wheel', (event) => this.roll(event, pane), early)
    canvas.addEventListener('pointerdown', (event) => this.grab(event), early)
    for (const name of ['mousedown', 'touchstart'] as const) {
      canvas.addEventListener(name, (event) => this.drag && event.stopImmediatePropagation(), early)
    }
    canvas.addEventListener('pointermove', (event) => this.move(event, pane))
    for (const name of ['pointerup', 'pointercancel'] as const) canvas.addEventListener(name, () => (this.drag = null))
  }

  /** The right button changes the window, and the left one with that tool. */
  private grab(event: PointerEvent): void {
    if (this.view.axis < 0 || !(event.button === 2 || (event.button === 0 && this.tool === 'window'))) return
    this.drag = [event.clientX, event.clientY]
    const canvas = event.currentTarget as HTMLCanvasElement
    canvas.focus({ preventScroll: true })
    canvas.setPointerCapture(event.pointerId)
  }

  private move(event: PointerEvent, pane: Pane): void {
    if (this.drag) {
      this.setWindow(dragged(this.window, event.clientX - this.drag[0], event.clientY - this.drag[1]))
      this.drag = [event.clientX, event.clientY]
    } else if (!event.buttons) {
      const place = this.view.axis < 0 ? null : pane.placeAt(event.offsetX, event.offsetY)
      if (place) this.say(this.readAt(pane, place))
    }
  }

  /** What is at a place: density, class, position. */
  private readAt(pane: Pane, place: Triple): string {
    const found = pane.readAt(place)
    if (!found) return ''
    const title = this.classes.find(({ id }) => id === found.id)?.title
    const mm = found.mm.map((value) => value.toFixed(0)).join(', ')
    return [`${Math.round(found.hu)} HU`, title, `(${mm}) mm`].filter(Boolean).join(' · ')
  }

  /** The wheel moves through the slices, one at a time; NiiVue would zoom. With Ctrl, and in 3D, it zooms. */
  private roll(event: WheelEvent, pane: Pane): void {
    if (document.activeElement !== pane.canvas) return // the page scrolls
    const axis = this.axisAt(event, pane)
    const slices = pane.slices(axis)
    if (axis < 0 || !slices) return
    event.preventDefault()
    event.stopImmediatePropagation()
    if (event.ctrlKey) return this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15)
    this.rolled += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : NOTCH * Math.sign(event.deltaY)
    if (Math.abs(this.rolled) < NOTCH) return // touchpads send many small steps
    const now = Math.floor(pane.nv.scene.crosshairPos[axis]! * slices)
    const next = Math.min(Math.max(now - Math.sign(this.rolled), 0), slices - 1)
    this.rolled = 0
    this.scroll(axis, next, slices)
  }

  /** The axis that the plane under the pointer is perpendicular to: x, y, z; -1 for the 3D view. */
  private axisAt(event: WheelEvent, pane: Pane): number {
    if (this.view !== ALL) return this.view.axis
    return VIEWS.find((view) => view.type === pane.planeAt(event.offsetX, event.offsetY))?.axis ?? -1
  }

  private color(): void {
    const one = this.emphasised !== null && this.isOn(this.emphasised) ? this.emphasised : null
    const strength = ({ id }: LabelClass): number => (one === null || one === id ? 1 : FAINT) // alpha is all or nothing
    const channel = (index: 0 | 1 | 2): number[] => [0, ...this.classes.map((item) => Math.round(item.color[index] * strength(item)))]
    const table = {
      R: channel(0),
      G: channel(1),
      B: channel(2),
      A: [0, ...this.classes.map(({ id }) => (this.isOn(id) && id !== this.drawn ? 255 : 0))],
      I: [0, ...this.classes.map((item) => item.id)],
      labels: ['', ...this.classes.map((item) => item.title)],
    }
    const solid = this.view.axis < 0
    for (const pane of this.panes) {
      pane.map?.setColormapLabel(table)
      pane.setContours(this.contours && !solid ? this.view.axis : null, (id) => this.isOn(id) && id !== this.drawn)
      if (pane.map) pane.map.opacity = solid || this.contours ? 1 : this.opacity
    }
  }
}

function mouse(tool: Tool): { leftButton: { primary: DRAG_MODE; withShift: DRAG_MODE }; rightButton: DRAG_MODE; centerButton: DRAG_MODE } {
  const primary = tool === 'measure' ? DRAG_MODE.measurement : DRAG_MODE.crosshair
  return { leftButton: { primary, withShift: DRAG_MODE.pan }, rightButton: DRAG_MODE.pan, centerButton: DRAG_MODE.pan }
}
