/** Drawing on one class of the viewer's first pane, with NiiVue's tools. */
import { cmapper, PEN_TYPE, SLICE_TYPE } from '@niivue/niivue'
import { around, readBox, type Segment, writeBox } from './around'
import type { Triple } from './labelmap'
import type { LabelClass, Viewer } from './viewer'

/** A brush, an outline that is filled when the pointer is let go, an eraser, or a click by which the organ grows or shrinks. */
export type Pen = 'brush' | 'outline' | 'eraser' | 'grow' | 'remove'

const OPACITY = 0.65
const UNDOS = 20
const STILL = 4 // pixels that a pointer may move in a click
const KEYS: Record<string, Pen> = { b: 'brush', l: 'outline', e: 'eraser', g: 'grow', r: 'remove' }

export class Drawing {
  pen: Pen = 'brush'
  size = 3 // voxels
  /** Called when something was drawn or taken back. */
  onChange: () => void = () => undefined
  /** Told in a line what a click came to; empty while all is well. */
  onSay: (line: string, bad?: boolean) => void = () => undefined
  private busy = false // a click is being answered
  private before: Uint8Array | null = null
  private down: [number, number] | null = null
  private readonly listening = new AbortController()

  /**
   * Begin to draw on a class; what is there of it can be erased.
   *
   * @param viewer Shows the scan. Its drawing ends with {@link Drawing.end}.
   * @param segment Segments the class again around a click.
   */
  constructor(
    private readonly viewer: Viewer,
    readonly item: LabelClass,
    private readonly segment: Segment,
  ) {
    const { nv } = viewer.main
    const [red, green, blue] = item.color
    nv.opts.maxDrawUndoBitmaps = UNDOS
    nv.opts.penType = PEN_TYPE.PEN
    nv.drawLut = cmapper.makeDrawLut({ R: [0, red], G: [0, green], B: [0, blue], A: [0, 255], I: [0, 1], min: 0, max: 1 })
    nv.drawOpacity = OPACITY
    viewer.main.openDrawing(item.id)
    this.before = viewer.main.readDrawing()
    nv.onDrawingChanged = () => this.onChange()
    viewer.drawn = item.id
    viewer.setTool('look')
    viewer.paint()
    this.use('brush')
    this.listen()
  }

  private listen(): void {
    const { viewer } = this
    const { canvas } = viewer.main
    const { signal } = this.listening
    canvas.addEventListener('pointerdown', ({ offsetX, offsetY, button }) => (this.down = button ? null : [offsetX, offsetY]), { signal })
    canvas.addEventListener('pointerup', ({ offsetX, offsetY }) => {
      const still = this.down && Math.hypot(offsetX - this.down[0], offsetY - this.down[1]) < STILL
      const place = still && viewer.view.axis >= 0 ? viewer.main.placeAt(offsetX, offsetY) : null
      if (place && (this.pen === 'grow' || this.pen === 'remove')) void this.click(place, this.pen === 'grow')
    }, { signal })
    for (const [key, pen] of Object.entries(KEYS)) viewer.extraKeys[key] = () => this.use(pen)
    viewer.extraKeys['z'] = () => this.undo()
  }

  /** Segment the class again around a place, which belongs to it or does not. */
  private async click(place: Triple, add: boolean): Promise<void> {
    const { main } = this.viewer
    if (this.busy || !main.nv.drawBitmap) return
    const slices: Triple = [main.slices(0), main.slices(1), main.slices(2)]
    const voxel = place.map((share, axis) => Math.min(Math.floor(share * slices[axis]!), slices[axis]! - 1)) as Triple
    const [, x = 1, y = 1, z = 1] = main.back?.pixDimsRAS ?? []
    const box = around(voxel, slices, [x, y, z])
    this.busy = true
    this.onSay('Segmenting …')
    try {
      const { mask, note } = await this.segment(this.item.id, box, add, readBox(main, box, this.item.id))
      if (this.listening.signal.aborted) return // it ended meanwhile
      writeBox(main, box, mask)
      main.nv.drawAddUndoBitmap()
      main.nv.refreshDrawing(true)
      this.onChange()
      this.onSay(note)
    } catch (error) {
      this.onSay(error instanceof Error ? error.message : String(error), true)
    } finally {
      this.busy = false
    }
  }

  /** Whether anything differs from what was there at first. */
  get changed(): boolean {
    const now = this.viewer.main.readDrawing()
    return !this.before || now.some((value, index) => value !== this.before![index])
  }

  /** Choose a pen. */
  use(pen: Pen, size = this.size): void {
    this.pen = pen
    this.size = Math.min(Math.max(size, 1), 30)
    const { nv } = this.viewer.main
    const clicks = pen === 'grow' || pen === 'remove'
    nv.opts.penSize = pen === 'outline' ? 1 : this.size
    nv.setDrawingEnabled(!clicks)
    if (!clicks) nv.setPenValue(pen === 'eraser' ? 0 : 1, pen === 'outline')
    this.viewer.stage.dataset['tool'] = clicks ? 'click' : 'draw'
    this.onChange()
  }

  /** Take back the last stroke. */
  undo(): void {
    this.viewer.main.nv.drawUndo()
  }

  /** Erase all of the class. */
  clear(): void {
    const { nv } = this.viewer.main
    nv.drawBitmap?.fill(0)
    nv.drawAddUndoBitmap()
    nv.refreshDrawing(true)
    this.onChange()
  }

  /** Fill the slices of the view that lie between drawn ones, where nothing is drawn; false if there are none. */
  fillBetween(): boolean {
    const { view, main } = this.viewer
    const type = view.type > SLICE_TYPE.SAGITTAL ? SLICE_TYPE.AXIAL : view.type
    const gaps = gapsIn(main.drawnSlices(view.type > SLICE_TYPE.SAGITTAL ? 2 : view.axis))
    for (const [low, high] of gaps) {
      main.nv.interpolateMaskSlices(low, high, { sliceType: type, useIntensityGuided: false, binaryThreshold: 0.5 })
    }
    if (gaps.length) {
      main.nv.drawAddUndoBitmap()
      this.onChange()
    }
    return gaps.length > 0
  }

  /** End the drawing. The label map takes it over if it is kept. */
  end(keep: boolean): void {
    const { viewer } = this
    const { main } = viewer
    this.listening.abort()
    viewer.extraKeys = {}
    if (keep) main.replace(this.item.id, main.readDrawing())
    main.nv.onDrawingChanged = () => undefined
    main.nv.setDrawingEnabled(false)
    main.nv.closeDrawing()
    viewer.drawn = null
    viewer.present = main.present
    viewer.setTool('look')
    viewer.paint()
  }
}

/** The pairs of drawn slices between which there are some that are not. */
export function gapsIn(drawn: readonly boolean[]): [number, number][] {
  const gaps: [number, number][] = []
  let last = -1
  drawn.forEach((is, slice) => {
    if (!is) return
    if (last >= 0 && slice - last > 1) gaps.push([last, slice])
    last = slice
  })
  return gaps
}
