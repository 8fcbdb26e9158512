/** Drawing on one class of the viewer's first pane, with NiiVue's tools. */
import { cmapper, PEN_TYPE, SLICE_TYPE } from '@niivue/niivue'
import type { LabelClass, Viewer } from './viewer'

/** A brush, an outline that is filled when the pointer is let go, or an eraser. */
export type Pen = 'brush' | 'outline' | 'eraser'

const OPACITY = 0.65
const UNDOS = 20

export class Drawing {
  pen: Pen = 'brush'
  size = 3 // voxels
  /** Called when something was drawn or taken back. */
  onChange: () => void = () => undefined
  private before: Uint8Array | null = null

  /**
   * Begin to draw on a class; what is there of it can be erased.
   *
   * @param viewer Shows the scan. Its drawing ends with {@link Drawing.end}.
   */
  constructor(
    private readonly viewer: Viewer,
    readonly item: LabelClass,
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
    nv.opts.penSize = pen === 'outline' ? 1 : this.size
    nv.setDrawingEnabled(true)
    nv.setPenValue(pen === 'eraser' ? 0 : 1, pen === 'outline')
    this.viewer.stage.dataset['tool'] = 'draw'
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
