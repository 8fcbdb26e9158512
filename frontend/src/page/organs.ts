/** What was found, a line a class; also the viewer's legend: a class is switched, pointed at and looked up here. */
import { button, make } from '../dom'
import type { Viewer } from '../viewer'
import type { Job, Label, Organ } from './api'
import { foundIn, volume } from './words'

const PAUSE = 90 // ms that the pointer rests on a line before the picture follows

/** The part of the viewer that the table works on. */
export type Shown = Pick<Viewer, 'switch' | 'isOn' | 'emphasise' | 'centerOn'>

export class Organs {
  readonly root = make('section', 'organs')
  private readonly boxes = new Map<number, HTMLInputElement>()
  private viewer: Shown | null = null
  private resting = 0

  constructor(private readonly labels: Label[]) {
    this.root.ariaLabel = 'Structures'
  }

  /** Show what was found in a scan; without a viewer until one is given. */
  show(job: Job): void {
    this.viewer = null
    this.boxes.clear()
    const found = foundIn(job)
    const missing = (job.organs ?? []).filter((organ) => !found.includes(organ)).map((organ) => this.titleOf(organ))
    const parts: HTMLElement[] = []
    if (found.length) parts.push(this.table(found))
    if (missing.length) parts.push(make('p', 'soft missing', `Not found: ${missing.join(', ').toLowerCase()}.`))
    this.root.replaceChildren(...parts)
  }

  /** From now on what is done here is seen there. */
  attach(viewer: Shown): void {
    this.viewer = viewer
    this.update()
  }

  /** Show which classes are on. */
  update(): void {
    const { viewer } = this
    for (const [id, box] of this.boxes) {
      box.disabled = !viewer
      box.checked = viewer?.isOn(id) ?? true
      box.closest('tr')!.classList.toggle('off', !box.checked)
    }
    const all = this.root.querySelector<HTMLInputElement>('thead input')
    if (!all) return
    const on = [...this.boxes.values()].filter((box) => box.checked).length
    all.disabled = !viewer
    all.checked = on === this.boxes.size
    all.indeterminate = on > 0 && on < this.boxes.size
  }

  private table(found: Organ[]): HTMLElement {
    const table = make('table')
    const head = table.createTHead().insertRow()
    const all = check('Show all')
    all.addEventListener('change', () => this.viewer?.switch([...this.boxes.keys()], all.checked))
    head.append(make('th'), make('th', '', 'Structure'), make('th', 'number', 'Volume, ml'), make('th', 'number', 'Confidence'))
    head.firstElementChild!.append(all)
    for (const cell of head.cells) (cell).scope = 'col'
    table.createTBody().append(...found.map((organ) => this.line(organ)))
    return table
  }

  private line(organ: Organ): HTMLTableRowElement {
    const { id } = organ
    const label = this.labels.find((item) => item.id === id)
    const title = this.titleOf(organ)
    const row = make('tr')
    row.dataset['organ'] = organ.name
    row.style.setProperty('--color', label ? `rgb(${label.color.join()})` : 'gray')

    const box = check(`Show ${title.toLowerCase()}`)
    box.addEventListener('change', () => this.viewer?.switch([id], box.checked))
    this.boxes.set(id, box)
    const name = make('th')
    name.scope = 'row'
    const go = button('name', title, () => {
      if (!this.viewer?.isOn(id)) this.viewer?.switch([id], true)
      this.viewer?.centerOn(id)
    })
    go.title = `Go to the ${title.toLowerCase()}`
    name.append(go)
    if (organ.touches_border) {
      const flag = make('span', 'flag', 'touches the border of the image')
      flag.title = 'The volume is that of the part in view.'
      name.append(flag)
    }
    const sure = make('td', 'number', organ.confidence === null ? '–' : `${Math.round(organ.confidence * 100)} %`)
    sure.title = 'Mean probability that the network gives it over its own voxels'
    row.append(make('td'), name, make('td', 'number', volume(organ.volume_ml)), sure)
    row.firstElementChild!.append(box)

    row.addEventListener('pointerenter', () => this.point(id))
    row.addEventListener('pointerleave', () => this.point(null))
    go.addEventListener('focus', () => go.matches(':focus-visible') && this.point(id))
    go.addEventListener('blur', () => this.point(null))
    return row
  }

  private titleOf(organ: Organ): string {
    return this.labels.find((item) => item.id === organ.id)?.title ?? organ.name.replaceAll('_', ' ')
  }

  private point(id: number | null): void {
    clearTimeout(this.resting)
    this.resting = window.setTimeout(() => this.viewer?.emphasise(id), PAUSE)
  }
}

function check(label: string): HTMLInputElement {
  const box = make('input')
  box.type = 'checkbox'
  box.checked = true
  box.disabled = true
  box.ariaLabel = label
  return box
}
