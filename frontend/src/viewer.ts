/**
 * A scan to scroll through: one pane a label map, side by side and in step, in slices and in 3D, with organs to switch
 * on and off. It knows nothing of where the scan comes from.
 */
import { DRAG_MODE, Niivue, NVImage, SLICE_TYPE } from '@niivue/niivue'
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

const WINDOW_HU = [-160, 240] as const
const VIEWS = [
  { title: 'Axial', type: SLICE_TYPE.AXIAL, axis: 2 },
  { title: 'Coronal', type: SLICE_TYPE.CORONAL, axis: 1 },
  { title: 'Sagittal', type: SLICE_TYPE.SAGITTAL, axis: 0 },
  { title: '3D', type: SLICE_TYPE.RENDER, axis: -1 },
] as const
const OPACITY = 0.5

/** Whether this browser can draw scans. */
export function canDraw(): boolean {
  return document.createElement('canvas').getContext('webgl2') !== null
}

export class Viewer {
  private readonly hidden = new Set<number>()
  private readonly bar = make('div', 'nnv-bar')
  private readonly stage = make('div', 'nnv-stage')
  private readonly slider = make('input', 'nnv-slider')
  private readonly legend = make('div', 'nnv-legend')
  private panes: Niivue[] = []
  private view: (typeof VIEWS)[number] = VIEWS[0]

  constructor(
    readonly root: HTMLElement,
    private readonly classes: LabelClass[],
  ) {
    if (!document.getElementById('nnv-style')) {
      const sheet = make('style', '')
      sheet.id = 'nnv-style'
      sheet.textContent = style
      document.head.append(sheet)
    }
    root.classList.add('nnv')
    this.bar.append(this.viewButtons(), this.slider)
    this.slider.type = 'range'
    this.slider.min = '0'
    this.slider.max = '1'
    this.slider.step = 'any'
    this.slider.ariaLabel = 'Position of the slice'
    this.slider.addEventListener('input', () => this.scrollTo(Number(this.slider.value)))
    root.replaceChildren(this.bar, this.stage, this.legend)
  }

  /** Show a scan; what was shown before goes. */
  async show(scan: Scan): Promise<void> {
    await this.makePanes(scan.layers.map((layer) => layer.title))
    const image = await read(scan.image, 'image.nii.gz')
    const maps = await Promise.all(scan.layers.map((layer) => read(layer.labels, 'labels.nii.gz')))
    for (const [index, pane] of this.panes.entries()) {
      const back = index === 0 ? image : image.clone()
      back.colormap = 'gray'
      ;[back.cal_min, back.cal_max] = WINDOW_HU
      pane.volumes = []
      pane.addVolume(back)
      pane.addVolume(maps[index]!)
    }
    this.drawLegend(present(maps))
    this.paint()
    const middle = middleOf(maps.find((map) => map.img?.some((id) => id > 0)) ?? image)
    for (const pane of this.panes) pane.scene.crosshairPos = pane.vox2frac(middle)
    this.turnTo(this.view)
  }

  private async makePanes(titles: string[]): Promise<void> {
    while (this.panes.length < titles.length) {
      const place = make('figure', 'nnv-pane')
      const canvas = make('canvas', '')
      canvas.tabIndex = 0
      place.append(make('div', 'nnv-frame'), make('figcaption', ''))
      place.firstElementChild!.append(canvas)
      this.stage.append(place)
      const pane = new Niivue({
        backColor: [0, 0, 0, 1],
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
      await pane.attachToCanvas(canvas, true)
      pane.setRenderAzimuthElevation(160, 10) // from the front, as one looks at a patient
      pane.setScale(1.35)
      pane.onLocationChange = () => this.follow(pane)
      this.panes.push(pane)
    }
    for (const pane of this.panes) pane.broadcastTo(this.panes.filter((other) => other !== pane))
    for (const [index, caption] of this.stage.querySelectorAll('figcaption').entries()) caption.textContent = titles[index] ?? ''
  }

  private viewButtons(): HTMLElement {
    const group = make('div', 'nnv-views')
    group.role = 'group'
    for (const view of VIEWS) {
      const button = make('button', '', view.title)
      button.type = 'button'
      button.ariaPressed = String(view === this.view)
      button.addEventListener('click', () => {
        for (const other of group.children) other.ariaPressed = String(other === button)
        this.turnTo(view)
      })
      group.append(button)
    }
    return group
  }

  private turnTo(view: (typeof VIEWS)[number]): void {
    this.view = view
    const solid = view.axis < 0
    this.slider.style.visibility = solid ? 'hidden' : 'visible'
    for (const pane of this.panes) {
      pane.setOpacity(0, solid ? 0 : 1)
      pane.setOpacity(1, solid ? 1 : OPACITY)
      pane.setSliceType(view.type)
    }
    if (this.panes[0]) this.follow(this.panes[0])
  }

  private scrollTo(share: number): void {
    for (const pane of this.panes) {
      pane.scene.crosshairPos[this.view.axis] = share
      pane.drawScene()
    }
  }

  private follow(pane: Niivue): void {
    if (this.view.axis >= 0) this.slider.value = String(pane.scene.crosshairPos[this.view.axis])
  }

  private drawLegend(ids: Set<number>): void {
    const all = make('button', 'nnv-all', 'All')
    const none = make('button', 'nnv-all', 'None')
    const chips = this.classes
      .filter((item) => ids.has(item.id))
      .map((item) => {
        const chip = make('button', 'nnv-organ')
        const swatch = make('span', 'nnv-swatch')
        swatch.style.background = `rgb(${item.color.join()})`
        chip.append(swatch, item.title)
        chip.dataset['id'] = String(item.id)
        chip.addEventListener('click', () => this.switch([item.id], this.hidden.has(item.id)))
        return chip
      })
    all.addEventListener('click', () => this.switch([...ids], true))
    none.addEventListener('click', () => this.switch([...ids], false))
    for (const button of [...chips, all, none]) button.type = 'button'
    this.legend.replaceChildren(...chips, all, none)
  }

  private switch(ids: number[], on: boolean): void {
    for (const id of ids) {
      if (on) this.hidden.delete(id)
      else this.hidden.add(id)
    }
    this.paint()
  }

  private paint(): void {
    const shown = (item: LabelClass): number => (this.hidden.has(item.id) ? 0 : 255)
    const channel = (index: 0 | 1 | 2): number[] => [0, ...this.classes.map((item) => item.color[index])]
    const table = {
      R: channel(0),
      G: channel(1),
      B: channel(2),
      A: [0, ...this.classes.map(shown)],
      I: [0, ...this.classes.map((item) => item.id)],
      labels: ['', ...this.classes.map((item) => item.title)],
    }
    for (const pane of this.panes) {
      pane.volumes[1]!.setColormapLabel(table)
      pane.updateGLVolume()
    }
    for (const chip of this.legend.querySelectorAll<HTMLElement>('.nnv-organ')) {
      chip.ariaPressed = String(!this.hidden.has(Number(chip.dataset['id'])))
    }
  }
}

async function read(blob: Blob, name: string): Promise<NVImage> {
  return NVImage.loadFromFile({ file: new File([blob], name), name })
}

function present(maps: NVImage[]): Set<number> {
  const ids = new Set<number>()
  for (const map of maps) for (const id of map.img ?? []) ids.add(id)
  ids.delete(0)
  return ids
}

/** The voxel in the middle of all that is labeled, (x, y, z). */
function middleOf(map: NVImage): [number, number, number] {
  const [, width = 1, height = 1, depth = 1] = map.hdr!.dims
  const sum = [0, 0, 0, 0] as [number, number, number, number]
  map.img!.forEach((id: number, index: number) => {
    if (id <= 0) return
    sum[0] += index % width
    sum[1] += Math.floor(index / width) % height
    sum[2] += Math.floor(index / (width * height))
    sum[3] += 1
  })
  return sum[3] ? [sum[0] / sum[3], sum[1] / sum[3], sum[2] / sum[3]] : [width / 2, height / 2, depth / 2]
}

function make<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, name: string, text = ''): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  if (name) element.className = name
  if (text) element.textContent = text
  return element
}
