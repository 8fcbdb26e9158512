/** The scans that are corrected together: how far they are, the next one, and what the student learns from them. */
import { button, make } from '../dom'
import { beginTraining, type Datastore, getDatastore, type Job, nextScan, rollBack, stopTraining } from './api'

const LATER = 5000 // ms between two looks while a training runs

export class Panel {
  readonly root = make('section', 'datastore')
  private readonly strategy = make('select')
  private readonly next = button('pill', 'Next scan', () => void this.act(async () => this.arrived(await nextScan(this.strategy.value, this.by()))))
  private readonly state = make('p', 'soft')
  private readonly training = make('div', 'training')
  private readonly line = make('p', 'bad')
  private timer = 0

  /**
   * @param arrived Told of the job of the next scan.
   * @param by Who corrects.
   */
  constructor(
    private readonly arrived: (job: Job) => void,
    private readonly by: () => string,
  ) {
    this.root.ariaLabel = 'Scans to correct'
    this.strategy.ariaLabel = 'How the next scan is chosen'
    this.line.role = 'status'
    const row = make('div', 'row')
    this.next.disabled = true // until the strategies are known
    row.append(this.strategy, this.next)
    this.root.append(make('h2', '', 'To correct'), this.state, row, this.training, this.line)
  }

  /** Ask how it stands. */
  async look(): Promise<void> {
    clearTimeout(this.timer)
    const found = await getDatastore()
    if (!this.strategy.options.length) {
      this.strategy.append(...found.strategies.map(({ name, description }) => {
        const option = make('option', '', name)
        option.value = name
        option.title = description
        return option
      }))
    }
    this.next.disabled = false
    const ahead = found.segmented < found.scans ? `; the strategies choose among the ${found.segmented} that were segmented` : ''
    this.state.textContent = `${found.corrected} of ${found.scans} scans corrected${ahead}`
    this.draw(found)
    if (found.training?.state === 'running') this.timer = window.setTimeout(() => void this.look(), LATER)
  }

  private draw({ learns, training, student, corrected }: Datastore): void {
    const parts: HTMLElement[] = []
    if (training?.state === 'running') {
      const bar = make('progress')
      bar.ariaLabel = 'Training'
      if (training.total) [bar.max, bar.value] = [training.total, training.done]
      parts.push(
        make('p', 'soft', `Learning: ${training.what || 'starting'}${training.total ? ` · ${training.done} of ${training.total}` : ''}`),
        bar,
        button('quiet', 'Stop', () => void this.act(stopTraining)),
      )
    } else {
      if (training?.why) {
        const how = { done: training.used ? 'The new student is used' : 'The model stays', failed: 'Training failed', stopped: 'Stopped' }
        parts.push(make('p', training.state === 'failed' ? 'bad' : 'soft', `${how[training.state]}: ${training.why}.`))
      }
      if (learns && corrected) parts.push(button('pill', 'Learn from corrections', () => void this.act(() => beginTraining(this.by()))))
      if (student) parts.push(button('quiet', 'Go back to the model before', () => void this.act(rollBack)))
    }
    this.training.replaceChildren(...parts)
  }

  private async act(what: () => Promise<unknown>): Promise<void> {
    this.line.textContent = ''
    try {
      await what()
      await this.look()
    } catch (error) {
      this.line.textContent = error instanceof Error ? error.message : String(error)
    }
  }
}
