/** One scan: how far it is, then what was found in it. */
import { button, make } from '../dom'
import type { Viewer } from '../viewer'
import { fileAddress, getFile, getLabelMap, type Job, type Label, sentence } from './api'
import { Correct } from './correct'
import { loadViewer } from './engine'
import { Organs } from './organs'
import { alike, factsOf, seconds, stateOf, when } from './words'

const FILES: [Job['files'][number], string, string][] = [
  ['labels.nii.gz', 'NIfTI', 'Label map on the scan’s own grid'],
  ['labels.seg.dcm', 'DICOM-SEG', 'DICOM segmentation that refers to the series'],
  ['statistics.csv', 'CSV', 'Volume, density, flags and confidence of each structure'],
  ['preview.png', 'Picture', 'A picture of a few slices'],
]
const SURE = 5000 // ms in which a second click deletes

export class Result {
  readonly root = make('article', 'result')
  private readonly title = make('h1')
  private readonly meta = make('p', 'soft meta')
  private readonly facts = make('p', 'soft meta facts')
  private readonly compare = make('select')
  private readonly versus = make('label', 'versus soft', 'Compare with')
  private readonly files = make('div', 'files')
  private readonly note = make('div', 'notes')
  private readonly body = make('div', 'body')
  private readonly wait = make('div', 'wait')
  private readonly screen = make('div', 'screen')
  private readonly stage = make('div')
  private readonly veil = make('p', 'veil')
  private readonly organs: Organs
  private readonly correct: Correct | null
  private viewer: Viewer | null = null
  private shown = ''
  private job: Job | null = null
  private others: Job[] = []

  /**
   * @param remove Deletes a job.
   * @param say Told in a line what happened; null if nothing can be corrected.
   */
  constructor(
    private readonly labels: Label[],
    private readonly remove: (job: Job) => void,
    say: ((line: string) => void) | null = null,
  ) {
    this.correct = say && new Correct(labels, say)
    this.organs = new Organs(labels, this.correct)
    const side = make('div', 'side')
    side.append(...(this.correct ? [this.correct.root] : []), this.organs.root)
    const head = make('header')
    const text = make('div')
    text.append(this.title, this.meta, this.facts)
    this.versus.append(this.compare)
    this.compare.addEventListener('change', () => this.job && void this.draw(this.job))
    head.append(text, this.files)
    this.screen.append(this.stage, this.versus, this.veil)
    this.body.append(this.screen, side)
    this.root.append(head, this.note, this.wait, this.body)
  }

  /**
   * Show a job as it stands; called again whenever it may have changed.
   *
   * @param jobs All of them, of which some may be compared with it.
   */
  show(job: Job, jobs: Job[]): void {
    if (job.id !== this.job?.id) this.compare.value = ''
    this.job = job
    this.drawOthers(jobs.filter((other) => other.id !== job.id && other.state === 'done' && alike(job, other)))
    this.facts.textContent = factsOf(job)
    this.facts.hidden = !this.facts.textContent
    this.title.textContent = job.name
    this.meta.textContent = `${when(job.created)}${job.state === 'done' && job.seconds !== null ? ` · segmented in ${seconds(job.seconds)}` : ''}`
    if (job.state === 'queued' || job.state === 'running') this.drawWait(job)
    const state = `${job.id} ${job.state}`
    if (state === this.shown) return this.organs.showConfirmed(job)
    this.shown = state
    this.wait.hidden = job.state !== 'queued' && job.state !== 'running'
    this.body.hidden = job.state !== 'done'
    this.drawFiles(job)
    this.drawNotes(job)
    this.organs.show(job)
    if (job.state === 'done') void this.draw(job)
  }

  private drawWait(job: Job): void {
    const { progress } = job
    if (!this.wait.firstChild) this.wait.append(make('p', 'what'), make('progress'), make('p', 'soft'))
    const [what, bar, more] = this.wait.children as unknown as [HTMLElement, HTMLProgressElement, HTMLElement]
    what.textContent = stateOf(job)
    bar.ariaLabel = 'Progress'
    bar.hidden = job.state === 'queued'
    if (progress?.total) {
      bar.max = progress.total
      bar.value = progress.done
    } else bar.removeAttribute('value')
    more.textContent =
      job.state === 'queued' ? 'Scans are segmented one after the other.' : job.seconds === null ? '' : `${Math.round(job.seconds)} s so far`
  }

  private drawFiles(job: Job): void {
    const links = FILES.filter(([file]) => job.files.includes(file)).map(([file, title, what]) => {
      const link = make('a', 'pill', title)
      link.href = fileAddress(job.id, file)
      link.download = ''
      link.title = what
      link.ariaLabel = `Download ${title}`
      return link
    })
    const word = job.state === 'queued' || job.state === 'running' ? 'Stop' : 'Delete'
    let timer = 0
    const drop = button('quiet', word, () => {
      if (drop.dataset['sure']) return this.remove(job)
      drop.dataset['sure'] = 'yes'
      drop.textContent = word === 'Stop' ? 'Really stop?' : 'Really delete?'
      clearTimeout(timer)
      timer = window.setTimeout(calm, SURE)
    })
    const calm = (): void => {
      delete drop.dataset['sure']
      drop.textContent = word
    }
    drop.addEventListener('blur', calm)
    this.files.replaceChildren(...links, drop)
  }

  private drawNotes(job: Job): void {
    const lines = [...(job.error ? [job.error] : []), ...job.warnings].map((line) => make('p', '', sentence(line)))
    this.note.classList.toggle('bad', job.state === 'failed')
    this.note.hidden = !lines.length
    this.note.replaceChildren(...lines)
  }

  private drawOthers(others: Job[]): void {
    this.versus.hidden = !others.length
    const ids = (jobs: Job[]): string => jobs.map(({ id }) => id).join()
    if (this.compare.options.length && ids(others) === ids(this.others)) return
    this.others = others
    const before = this.compare.value
    this.compare.replaceChildren(new Option('nothing', ''), ...others.map(({ id, name }) => new Option(name, id)))
    this.compare.value = others.some(({ id }) => id === before) ? before : ''
  }

  private async draw(job: Job): Promise<void> {
    const other = this.others.find(({ id }) => id === this.compare.value)
    const state = this.shown
    const current = (): boolean => state === this.shown && (other?.id ?? '') === this.compare.value
    this.cover('Opening the scan …')
    this.correct?.detach()
    try {
      const results = other ? [job, other] : [job]
      const [engine, image, ...labels] = await Promise.all([
        loadViewer(),
        getFile(job.id, 'image.nii.gz'),
        ...results.map((one) => getLabelMap(one)),
      ])
      if (!current()) return
      if (!engine.canDraw()) {
        this.cover('This browser has no WebGL 2, which looking at the scan needs. The files can be downloaded.')
        return
      }
      this.viewer ??= new engine.Viewer(this.stage, this.labels, { all: true })
      const { viewer } = this
      const layers = results.map(({ name }, index) => ({ title: name, labels: labels[index]! }))
      if (!(await viewer.show({ image, layers })) || !current()) return
      this.organs.show(job, other ? { job: other, dice: viewer.agreement() } : null)
      viewer.onSwitch = () => this.organs.update()
      this.organs.attach(viewer)
      if (!other) this.correct?.attach(engine, viewer, job, labels[0]!)
      this.cover('')
      this.screen.dataset['shown'] = job.id
    } catch (error) {
      if (current()) this.cover(error instanceof Error ? error.message : 'The scan could not be opened.')
    }
  }

  private cover(text: string): void {
    delete this.screen.dataset['shown']
    this.veil.textContent = text
    this.veil.hidden = !text
  }
}
