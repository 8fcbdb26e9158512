/** What was found, a line a class; also the viewer's legend: a class is switched, pointed at and looked up here. */
import { button, make } from '../dom'
import type { Viewer } from '../viewer'
import type { Job, Label, Organ } from './api'
import type { Correct } from './correct'
import { foundIn, volume } from './words'

const PAUSE = 90 // ms that the pointer rests on a line before the picture follows

/** The part of the viewer that the table works on. */
export type Shown = Pick<Viewer, 'switch' | 'isOn' | 'emphasise' | 'centerOn'>

/** Another result for the same scan. */
export interface Comparison {
  job: Job
  dice: ReadonlyMap<number, number>
}

export class Organs {
  readonly root = make('section', 'organs')
  private readonly boxes = new Map<number, HTMLInputElement>()
  private viewer: Shown | null = null
  private resting = 0
  private other: Comparison | null = null
  private editable = false
  private graded = false // whether an expected Dice is known

  /** @param correct Corrects classes; null if the service has no place for corrections. */
  constructor(
    private readonly labels: Label[],
    private readonly correct: Correct | null = null,
  ) {
    this.root.ariaLabel = 'Structures'
    if (correct) correct.onChange = () => this.mark()
  }

  /**
   * Show what was found in a scan; without a viewer until one is given.
   *
   * @param other What it is compared with, and the Dice of each class that either has.
   */
  show(job: Job, other: Comparison | null = null): void {
    this.viewer = null
    this.boxes.clear()
    this.other = other
    const also = other ? foundIn(other.job) : []
    this.editable = this.correct !== null && !other && job.state === 'done'
    this.graded = foundIn(job).some((organ) => organ.quality)
    const found = (job.organs ?? []).filter(
      (organ) => organ.volume_ml > 0 || this.editable || also.some(({ id }) => id === organ.id),
    )
    const missing = (job.organs ?? []).filter((organ) => !found.includes(organ)).map((organ) => this.titleOf(organ))
    const parts: HTMLElement[] = []
    if (found.length) parts.push(this.table(found))
    if (missing.length) parts.push(make('p', 'soft missing', `Not found: ${missing.join(', ').toLowerCase()}.`))
    this.root.replaceChildren(...parts)
    this.mark()
    this.showConfirmed(job)
  }

  /** Show who confirmed which class. */
  showConfirmed({ correction }: Job): void {
    for (const row of this.root.querySelectorAll<HTMLElement>('tbody tr')) {
      const found = correction?.confirmed.find(({ name }) => name === row.dataset['organ'])
      row.querySelector('.who')!.textContent = found
        ? `${found.present ? 'Confirmed' : 'Confirmed as absent'} by ${found.by}, ${found.at.slice(0, 10)}`
        : ''
    }
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
    const more = this.other ? ['Other, ml', 'Dice'] : [this.graded ? 'Expected Dice' : 'Confidence']
    head.append(make('td'), make('th', '', 'Structure'), ...['Volume, ml', ...more].map((title) => make('th', 'number', title)))
    head.firstElementChild!.append(all)
    if (this.editable) head.append(make('td'))
    for (const cell of head.querySelectorAll('th')) cell.scope = 'col'
    table.createTBody().append(...found.map((organ) => this.line(organ)))
    return table
  }

  private line(organ: Organ): HTMLTableRowElement {
    const { id } = organ
    const label = this.labels.find((item) => item.id === id)
    const title = this.titleOf(organ)
    const row = make('tr')
    row.dataset['organ'] = organ.name
    row.dataset['id'] = String(id)
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
    if (organ.quality && organ.quality.verdict !== 'pass' && organ.volume_ml) name.append(flagged(organ.quality.verdict, organ.quality.reason))
    name.append(make('span', 'who'))
    row.append(make('td'), name, ...this.figures(organ))
    if (this.editable) row.append(this.actions(organ, title))
    row.firstElementChild!.append(box)

    row.addEventListener('pointerenter', () => this.point(id))
    row.addEventListener('pointerleave', () => this.point(null))
    go.addEventListener('focus', () => go.matches(':focus-visible') && this.point(id))
    go.addEventListener('blur', () => this.point(null))
    return row
  }

  private figures(organ: Organ): HTMLElement[] {
    const cells = [make('td', 'number', organ.volume_ml ? volume(organ.volume_ml) : '–')]
    if (this.other) {
      const same = this.other.job.organs?.find(({ id }) => id === organ.id)
      const dice = this.other.dice.get(organ.id)
      cells.push(make('td', 'number', same ? volume(same.volume_ml) : '–'), make('td', 'number', dice?.toFixed(2) ?? '–'))
    } else if (this.graded) {
      const dice = organ.volume_ml ? organ.quality?.expected_dice : null
      const cell = make('td', 'number', dice?.toFixed(2) ?? '–')
      const range = organ.quality?.dice_interval
      if (range) cell.title = `90 % interval: ${range[0].toFixed(2)} to ${range[1].toFixed(2)}`
      cells.push(cell)
    } else {
      const sure = make('td', 'number', organ.confidence === null ? '–' : `${Math.round(organ.confidence * 100)} %`)
      sure.title = 'Mean probability that the network gives it over its own voxels'
      cells.push(sure)
    }
    return cells
  }

  private actions(organ: Organ, title: string): HTMLElement {
    const lower = title.toLowerCase()
    const cell = make('td', 'actions')
    const right = button('mark', '✓', () => this.correct?.toggle(organ.id))
    right.ariaLabel = organ.volume_ml ? `Confirm the ${lower}` : `Confirm: no ${lower} there`
    right.title = organ.volume_ml ? 'Right as it is' : 'Right: it is not there'
    const draw = button('mark', '✎', () => this.correct?.begin(organ.id))
    draw.ariaLabel = `Correct the ${lower}`
    draw.title = 'Correct'
    cell.append(right, draw)
    return cell
  }

  /** Show what is said of each class, and which is drawn on. */
  private mark(): void {
    const { correct } = this
    for (const row of this.root.querySelectorAll<HTMLElement>('tbody tr')) {
      const [right, draw] = row.querySelectorAll<HTMLButtonElement>('.mark')
      if (!right || !draw) continue
      const id = Number(row.dataset['id'])
      for (const item of [right, draw]) item.disabled = !correct?.ready
      right.ariaPressed = String(correct?.said.has(id) ?? false)
      draw.ariaPressed = String(correct?.drawn === id)
    }
  }

  private titleOf(organ: Organ): string {
    return this.labels.find((item) => item.id === organ.id)?.title ?? organ.name.replaceAll('_', ' ')
  }

  private point(id: number | null): void {
    clearTimeout(this.resting)
    this.resting = window.setTimeout(() => this.viewer?.emphasise(id), PAUSE)
  }
}

function flagged(verdict: string, reason: string): HTMLElement {
  return make('span', verdict === 'fail' ? 'flag bad' : 'flag', reason ? `${verdict}: ${reason}` : verdict)
}

function check(label: string): HTMLInputElement {
  const box = make('input')
  box.type = 'checkbox'
  box.checked = true
  box.disabled = true
  box.ariaLabel = label
  return box
}
