/** The viewer's controls: views and slices in one row, tools, window and how the classes are drawn in another. */
import { button, make } from './dom'
import { KEYS } from './keys'
import type { Tool, Viewer } from './viewer'
import { PRESETS, presetOf, spoken } from './window'

const TOOLS: [Tool, string, string, string][] = [
  ['look', 'Pointer', 'V', 'Drag: move the crosshair. Right button: window. Shift or middle button: pan'],
  ['window', 'Window', 'W', 'Drag: to the right wider, downwards darker'],
  ['measure', 'Length', 'M', 'Drag: measure a length'],
]

export class Toolbar {
  readonly root = make('div', 'nnv-controls')
  private readonly slider = range('Slice', 'nnv-slider')
  private readonly place = make('output', 'nnv-place')
  private readonly opacity = range('Opacity', 'nnv-opacity')
  private readonly shown = make('output', 'nnv-window')
  private readonly contours = button('nnv-toggle', 'Contours', () => this.viewer.setContours(!this.viewer.contours))
  private readonly views: HTMLElement
  private readonly tools: HTMLElement
  private readonly presets: HTMLElement

  constructor(private readonly viewer: Viewer) {
    this.views = group('View', viewer.views.map((view) => choice(view.title, view.key, '', () => viewer.turnTo(view))))
    this.tools = group('Tool', TOOLS.map(([tool, title, key, hint]) => choice(title, key, hint, () => viewer.setTool(tool))))
    this.presets = group('Window', PRESETS.map(({ title, key, window }) => choice(title, key, spoken(window), () => viewer.setWindow(window))))
    this.slider.min = '1'
    this.slider.addEventListener('input', () => viewer.goTo(Number(this.slider.value)))
    this.opacity.max = '100'
    this.opacity.step = '5'
    this.opacity.addEventListener('input', () => viewer.setOpacity(Number(this.opacity.value) / 100))
    tell(this.contours, 'O', 'Outlines instead of areas')
    const opacity = make('label', 'nnv-label', 'Opacity')
    opacity.append(this.opacity)
    const fit = choice('Fit', 'F', 'Show the whole scan', () => viewer.fit())
    fit.removeAttribute('aria-pressed')
    fit.className = 'nnv-toggle'
    const first = make('div', 'nnv-bar')
    first.append(this.views, this.slider, this.place)
    const second = make('div', 'nnv-bar nnv-tools')
    second.append(this.tools, this.presets, this.shown, opacity, this.contours, fit, help())
    this.root.append(first, second)
    this.update()
  }

  /** Show how the viewer stands. */
  update(): void {
    const { viewer } = this
    press(this.views, viewer.views.indexOf(viewer.view))
    press(this.tools, TOOLS.findIndex(([tool]) => tool === viewer.tool))
    const preset = presetOf(viewer.window)
    press(this.presets, preset ? PRESETS.indexOf(preset) : -1)
    this.contours.ariaPressed = String(viewer.contours)
    write(this.shown, spoken(viewer.window))
    this.opacity.value = String(Math.round(100 * viewer.opacity))
    const { place } = viewer
    for (const part of [this.slider, this.place]) part.style.visibility = place ? 'visible' : 'hidden'
    if (!place) return
    this.slider.max = String(place.slices)
    this.slider.value = String(place.slice)
    write(this.place, `${place.slice} / ${place.slices}`)
  }
}

function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

function press(row: HTMLElement, index: number): void {
  for (const [number, item] of [...row.children].entries()) item.ariaPressed = String(number === index)
}

function range(label: string, name: string): HTMLInputElement {
  const input = make('input', name)
  input.type = 'range'
  input.step = '1'
  input.ariaLabel = label
  return input
}

function tell(element: HTMLElement, key: string, hint: string): void {
  element.title = [hint, `key ${key.toUpperCase()}`].filter(Boolean).join('; ')
  element.setAttribute('aria-keyshortcuts', key.toUpperCase())
}

function choice(title: string, key: string, hint: string, act: () => void): HTMLButtonElement {
  const item = button('', title, act)
  item.ariaPressed = 'false'
  tell(item, key, hint)
  return item
}

function group(label: string, items: HTMLElement[]): HTMLElement {
  const row = make('div', 'nnv-views')
  row.role = 'group'
  row.ariaLabel = label
  row.append(...items)
  return row
}

function help(): HTMLElement {
  const details = make('details', 'nnv-help')
  const list = make('dl')
  for (const [keys, what] of KEYS) list.append(make('dt', '', keys), make('dd', '', what))
  list.append(make('dt', '', 'Wheel'), make('dd', '', 'slices; with Ctrl: zoom (click the picture first)'))
  details.append(make('summary', 'nnv-toggle', 'Keys'), list)
  return details
}
