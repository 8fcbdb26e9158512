/** Scans that are being sent, one after the other. */
import { button, make } from '../dom'
import { type About, type Job, type Part, sendScan, ServiceError } from './api'
import { scansIn, type Upload } from './pick'
import { size } from './words'

export class Uploads {
  readonly root = make('ul', 'uploads')
  private before: Promise<void> = Promise.resolve()

  /**
   * @param arrived Told of each job that came of it.
   * @param say Told in a line what happened.
   */
  constructor(
    private readonly about: About,
    private readonly arrived: (job: Job) => void,
    private readonly say: (line: string) => void,
  ) {
    this.root.ariaLabel = 'Uploads'
  }

  /** Send whatever scans are in these files. */
  add(parts: Part[]): void {
    const scans = scansIn(parts, this.about.formats)
    if (!scans.length) this.fail('', 'There is no file in it.')
    for (const scan of scans) {
      const why = this.refusal(scan)
      if (why) this.fail(scan.name, why)
      else this.queue(scan)
    }
  }

  /** Show that something could not be sent, until it is put away. */
  fail(name: string, why: string): void {
    const line = make('li', 'bad')
    line.append(make('span', '', name ? `${name}: ${why}` : why), this.close('Put away', () => line.remove()))
    this.root.append(line)
    this.say(why)
  }

  private refusal({ parts }: Upload): string {
    const { upload_bytes, files } = this.about.limits
    const bytes = parts.reduce((sum, part) => sum + part.file.size, 0)
    if (!bytes) return 'It is empty.'
    if (bytes > upload_bytes) return `It has ${size(bytes)}; at most ${size(upload_bytes)} are taken at once.`
    if (parts.length > files) return `It has ${parts.length} files; at most ${files} are taken at once.`
    return ''
  }

  private queue(scan: Upload): void {
    const stop = new AbortController()
    const line = make('li')
    const what = make('span', '', `${scan.name}: waiting`)
    const bar = make('progress')
    bar.max = 1
    bar.value = 0
    bar.ariaLabel = `Upload of ${scan.name}`
    line.append(what, this.close('Stop the upload', () => stop.abort()), bar)
    this.root.append(line)
    const tell = (share: number): void => {
      bar.value = share
      what.textContent = share < 1 ? `Sending ${scan.name} · ${Math.floor(share * 100)} %` : `Checking ${scan.name}`
    }
    this.before = this.before.then(async () => {
      try {
        if (!stop.signal.aborted) {
          tell(0)
          this.arrived(await sendScan(scan.parts, tell, stop.signal))
        }
      } catch (error) {
        if (!stop.signal.aborted) this.fail(scan.name, error instanceof ServiceError ? error.message : 'It could not be sent.')
      } finally {
        line.remove()
      }
    })
  }

  private close(label: string, act: () => void): HTMLButtonElement {
    const cross = button('cross', '×', act)
    cross.ariaLabel = label
    return cross
  }
}
