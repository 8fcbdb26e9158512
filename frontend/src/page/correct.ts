/** Correcting a result, one class at a time: draw, confirm or say that it is not there, and submit. */
import { button, make } from '../dom'
import type { Drawing, Pen } from '../drawing'
import type { Viewer } from '../viewer'
import { type Job, type Label, ServiceError, sendClick, sendCorrection } from './api'
import type { loadViewer } from './engine'
import { withVoxels } from './nifti'

type Engine = Awaited<ReturnType<typeof loadViewer>>

/** What is said of a class. */
export type Said = 'present' | 'absent'

const PENS: [Pen, string, string, string][] = [
  ['brush', 'Brush', 'B', 'Paint with the left button'],
  ['outline', 'Outline', 'L', 'Draw around; it is filled when you let go'],
  ['eraser', 'Eraser', 'E', 'Wipe away'],
  ['grow', 'Grow', 'G', 'Click: what looks like it around there is added'],
  ['remove', 'Remove', 'R', 'Click: the part around there is removed'],
]
const NAME = 'nnstudent name'

export class Correct {
  readonly root = make('section', 'correct')
  /** What is said of each class, by id. */
  readonly said = new Map<number, Said>()
  /** Called when something is said, or a class is drawn on. */
  onChange: () => void = () => undefined

  private readonly name = make('input')
  private engine: Engine | null = null
  private viewer: Viewer | null = null
  private job: Job | null = null
  private file: Blob | null = null
  private drawing: Drawing | null = null
  private line = ''
  private bad = false
  private over = false // the next submission replaces somebody else's
  private busy = false

  /** @param say Told in a line what happened. */
  constructor(
    private readonly labels: Label[],
    private readonly say: (line: string) => void,
  ) {
    this.root.ariaLabel = 'Correction'
    this.root.hidden = true
    this.name.autocomplete = 'name'
    this.name.maxLength = 80
    this.name.value = remembered()
    this.name.addEventListener('change', () => remember(this.name.value))
  }

  /** Whether results can be corrected just now. */
  get ready(): boolean {
    return this.viewer !== null
  }

  /** The class that is drawn on. */
  get drawn(): number | null {
    return this.drawing?.item.id ?? null
  }

  /** Correct what is shown from now on. */
  attach(engine: Engine, viewer: Viewer, job: Job, file: Blob): void {
    ;[this.engine, this.viewer, this.job, this.file] = [engine, viewer, job, file]
    this.said.clear()
    ;[this.line, this.bad, this.over] = ['', false, false]
    this.draw()
  }

  /** Nothing can be corrected until something is attached; what is not submitted goes. */
  detach(): void {
    this.drawing?.end(false)
    this.drawing = this.viewer = this.job = null
    this.said.clear()
    this.root.hidden = true
  }

  /** Begin to draw on a class, or stop. */
  begin(id: number): void {
    const { engine, viewer, job } = this
    if (!engine || !viewer || !job || this.busy) return
    const again = this.drawn === id
    this.drawing?.end(false)
    this.drawing = null
    if (!again) {
      if (!viewer.isOn(id)) viewer.switch([id], true)
      if (viewer.present.has(id)) viewer.centerOn(id)
      if (viewer.view.axis < 0 || viewer.view === viewer.views[0]) viewer.turnTo(viewer.views.find(({ title }) => title === 'Axial')!)
      const item = this.labels.find((item) => item.id === id)!
      this.drawing = new engine.Drawing(viewer, item, (...click) => sendClick(job.id, ...click))
      this.drawing.onSay = (line, bad) => this.tell(line, bad)
      this.drawing.onChange = () => {
        this.line = ''
        this.draw()
      }
    }
    this.line = ''
    this.draw()
  }

  /** Say that a class is right as it is, or take it back. */
  toggle(id: number): void {
    if (this.said.has(id)) this.said.delete(id)
    else this.said.set(id, this.viewer?.present.has(id) ? 'present' : 'absent')
    this.draw()
  }

  private confirm(): void {
    const { drawing, viewer } = this
    if (!drawing || !viewer) return
    drawing.end(true)
    this.drawing = null
    this.said.set(drawing.item.id, viewer.present.has(drawing.item.id) ? 'present' : 'absent')
    this.draw()
  }

  private absent(): void {
    this.drawing?.clear()
    this.confirm()
  }

  private async submit(): Promise<void> {
    const { viewer, job, file } = this
    if (!viewer || !job || !file || this.busy) return
    this.busy = true
    this.tell('Submitting …')
    const names = (wanted: Said): string[] =>
      this.labels.filter(({ id }) => this.said.get(id) === wanted).map((item) => item.name)
    const version = this.over ? null : (job.correction?.version ?? 0)
    try {
      const label = await withVoxels(file, Uint8Array.from(viewer.main.ids))
      const params = { confirmed: names('present'), absent: names('absent'), version, by: this.name.value.trim() }
      const saved = await sendCorrection(job.id, label, params)
      this.job = { ...job, correction: { version: saved.version, confirmed: job.correction?.confirmed ?? [] } }
      this.said.clear()
      this.over = false
      const titles = this.labels.filter((item) => saved.confirmed.includes(item.name)).map(({ title }) => title.toLowerCase())
      this.tell([`Submitted: ${titles.join(', ')}.`, ...saved.warnings].join(' '))
    } catch (error) {
      this.over = error instanceof ServiceError && error.status === 409
      this.tell(error instanceof Error ? error.message : String(error), true)
    } finally {
      this.busy = false
      this.draw()
    }
  }

  private tell(line: string, bad = false): void {
    ;[this.line, this.bad] = [line, bad]
    this.say(line)
    this.draw()
  }

  private draw(): void {
    const parts: HTMLElement[] = []
    if (this.drawing) parts.push(...this.tools(this.drawing))
    else if (this.said.size) parts.push(...this.form())
    if (this.line) parts.push(make('p', this.bad ? 'bad' : 'soft', this.line))
    const focused = document.activeElement === this.name
    this.root.replaceChildren(...parts)
    if (focused) this.name.focus()
    this.root.hidden = !parts.length
    this.onChange()
  }

  private tools(drawing: Drawing): HTMLElement[] {
    const pens = make('div', 'nnv-views')
    pens.role = 'group'
    pens.ariaLabel = 'Pen'
    for (const [pen, title, key, hint] of PENS) {
      const item = button('', title, () => drawing.use(pen))
      item.ariaPressed = String(drawing.pen === pen)
      item.title = `${hint}; key ${key}`
      item.setAttribute('aria-keyshortcuts', key)
      pens.append(item)
    }
    const size = make('input')
    size.type = 'range'
    size.min = '1'
    size.max = '15'
    size.value = String(drawing.size)
    size.addEventListener('change', () => drawing.use(drawing.pen, Number(size.value)))
    const label = make('label', 'soft', 'Size')
    label.append(size)
    const row = make('div', 'row')
    row.append(
      label,
      button('pill', 'Fill between slices', () => {
        if (!drawing.fillBetween()) this.tell('Draw on two slices first; those between them are filled.')
      }),
      button('pill', 'Undo', () => drawing.undo()),
    )
    const last = make('div', 'row')
    last.append(
      button('pill strong', 'Confirm', () => this.confirm()),
      button('pill', 'Not there', () => this.absent()),
      button('quiet', 'Cancel', () => this.begin(drawing.item.id)),
    )
    return [make('h2', '', `Correcting: ${drawing.item.title.toLowerCase()}`), pens, row, last]
  }

  private form(): HTMLElement[] {
    const lines = make('ul')
    for (const item of this.labels) {
      const said = this.said.get(item.id)
      if (said) lines.append(make('li', '', said === 'present' ? item.title : `${item.title}: not there`))
    }
    const label = make('label', 'soft', 'Your name')
    label.append(this.name)
    const row = make('div', 'row')
    const send = button('pill strong', this.over ? 'Submit over it' : 'Submit', () => void this.submit())
    send.disabled = this.busy
    row.append(send)
    return [make('h2', '', 'Confirmed'), lines, label, row]
  }
}

/** The name under which somebody corrected last; empty if it is not known. */
export function remembered(): string {
  try {
    return localStorage.getItem(NAME) ?? ''
  } catch {
    return '' // the browser keeps nothing
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(NAME, name)
  } catch {
    // The browser keeps nothing.
  }
}
