/** One scan: how far it is, then what was found in it. */
import { button, make } from '../dom'
import type { Viewer } from '../viewer'
import { fileAddress, getFile, type Job, type Label, sentence } from './api'
import { loadViewer } from './engine'
import { Organs } from './organs'
import { seconds, stateOf, when } from './words'

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
  private readonly files = make('div', 'files')
  private readonly note = make('div', 'notes')
  private readonly body = make('div', 'body')
  private readonly wait = make('div', 'wait')
  private readonly screen = make('div', 'screen')
  private readonly stage = make('div')
  private readonly veil = make('p', 'veil')
  private readonly organs: Organs
  private viewer: Viewer | null = null
  private shown = ''

  constructor(
    private readonly labels: Label[],
    private readonly remove: (job: Job) => void,
  ) {
    this.organs = new Organs(labels)
    const head = make('header')
    const text = make('div')
    text.append(this.title, this.meta)
    head.append(text, this.files)
    this.screen.append(this.stage, this.veil)
    this.body.append(this.screen, this.organs.root)
    this.root.append(head, this.note, this.wait, this.body)
  }

  /** Show a job as it stands; called again whenever it may have changed. */
  show(job: Job): void {
    this.title.textContent = job.name
    this.meta.textContent = `${when(job.created)}${job.state === 'done' && job.seconds !== null ? ` · segmented in ${seconds(job.seconds)}` : ''}`
    if (job.state === 'queued' || job.state === 'running') this.drawWait(job)
    const state = `${job.id} ${job.state}`
    if (state === this.shown) return
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

  private async draw(job: Job): Promise<void> {
    const state = this.shown
    const current = (): boolean => state === this.shown
    this.cover('Opening the scan …')
    try {
      const [engine, image, labels] = await Promise.all([
        loadViewer(),
        getFile(job.id, 'image.nii.gz'),
        getFile(job.id, 'labels.nii.gz'),
      ])
      if (!current()) return
      if (!engine.canDraw()) {
        this.cover('This browser has no WebGL 2, which looking at the scan needs. The files can be downloaded.')
        return
      }
      this.viewer ??= new engine.Viewer(this.stage, this.labels, { all: true })
      const { viewer } = this
      if (!(await viewer.show({ image, layers: [{ title: job.name, labels }] })) || !current()) return
      viewer.onSwitch = () => this.organs.update()
      this.organs.attach(viewer)
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
