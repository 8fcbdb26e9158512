/** The scans so far, newest first. */
import { make } from '../dom'
import type { Job } from './api'
import { stateOf, when } from './words'

export class List {
  private readonly lines = new Map<string, HTMLLIElement>()

  constructor(private readonly root: HTMLUListElement) {}

  /** Show these jobs; lines that stay are not made anew, so that the focus stays where it is. */
  show(jobs: Job[], selected: string | null): void {
    for (const [id, line] of this.lines) {
      if (jobs.some((job) => job.id === id)) continue
      line.remove()
      this.lines.delete(id)
    }
    jobs.forEach((job, index) => {
      const line = this.lines.get(job.id) ?? this.make(job)
      if (this.root.children[index] !== line) this.root.insertBefore(line, this.root.children[index] ?? null)
      this.update(line, job, job.id === selected)
    })
  }

  private make(job: Job): HTMLLIElement {
    const line = make('li')
    const link = make('a')
    link.href = `#${job.id}`
    link.append(make('span', 'name', job.name), make('span', 'soft'), make('progress'))
    link.querySelector('progress')!.ariaHidden = 'true' // the words beside it say the same
    line.append(link)
    this.lines.set(job.id, line)
    return line
  }

  private update(line: HTMLLIElement, job: Job, selected: boolean): void {
    const link = line.firstElementChild as HTMLAnchorElement
    const [, state, bar] = link.children as unknown as [HTMLElement, HTMLElement, HTMLProgressElement]
    const text = job.state === 'done' ? `${stateOf(job)} · ${when(job.created)}` : stateOf(job)
    if (state.textContent !== text) state.textContent = text
    line.dataset['state'] = job.state
    bar.hidden = job.state !== 'running'
    if (job.progress?.total) {
      bar.max = job.progress.total
      bar.value = job.progress.done
    } else bar.removeAttribute('value')
    if (selected) link.setAttribute('aria-current', 'true')
    else link.removeAttribute('aria-current')
  }
}
