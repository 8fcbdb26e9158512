/** The page of `nnstudent serve`: scans go in, are watched, and are looked at. */
import { makeDropZone } from './add'
import { type About, getAbout, getJobs, getLabels, type Job, removeJob, ServiceError } from './api'
import { remembered } from './correct'
import { Panel } from './datastore'
import { List } from './list'
import { Result } from './result'
import { askForToken, enterByAddress } from './token'
import { Uploads } from './uploads'
import { foundIn, stateOf } from './words'

const SOON = 700 // ms between two looks while something is going on
const LATER = 10_000 // while nothing is

const element = (selector: string): HTMLElement => document.querySelector<HTMLElement>(selector)!
const place = element('#detail')
const scans = element('#scans')
const said = element('#said')

const say = (line: string): void => {
  said.textContent = line
}

async function start(): Promise<void> {
  await enterByAddress()
  let about: About
  try {
    about = await getAbout()
  } catch (error) {
    if (!(error instanceof ServiceError) || error.status !== 401) throw error
    await askForToken(place)
    about = await getAbout()
  }
  element('#model').textContent =
    `${about.model.bundled ? 'Bundled student: a demonstration, not a medical device' : about.model.name} · ${about.version}`

  const list = new List(document.querySelector<HTMLUListElement>('#scans ul')!)
  const result = new Result(await getLabels(), (job) => void remove(job), about.datastore ? corrected : null)
  const uploads = new Uploads(about, arrived, say)
  const add = element('#add')
  makeDropZone(
    add,
    (parts) => uploads.add(parts),
    (why) => uploads.fail('', why),
  )
  add.append(uploads.root)
  const panel = about.datastore ? new Panel(arrived, remembered) : null
  if (panel) {
    add.after(panel.root)
    await panel.look()
  }

  let jobs: Job[] = []
  let timer = 0
  let looks = 0

  function show(): void {
    const wanted = location.hash.slice(1)
    const job = jobs.find(({ id }) => id === wanted) ?? jobs[0]
    list.show(jobs, job?.id ?? null)
    scans.hidden = !jobs.length
    document.body.classList.toggle('empty', !jobs.length)
    document.title = job ? `${job.name} – nnStudent` : 'nnStudent'
    if (!job) return place.replaceChildren()
    if (result.root.parentNode !== place) place.replaceChildren(result.root)
    result.show(job, jobs)
  }

  async function look(): Promise<void> {
    const turn = ++looks
    try {
      const fresh = await getJobs()
      if (turn !== looks) return // another look was begun, which knows more
      document.body.classList.remove('away')
      for (const job of fresh) announce(job, jobs.find(({ id }) => id === job.id))
      jobs = fresh
      show()
    } catch (error) {
      if (error instanceof ServiceError && error.status === 401) return location.reload()
      document.body.classList.add('away')
      element('#away').textContent = error instanceof Error ? error.message : String(error)
    }
    const busy = jobs.some(({ state }) => state === 'queued' || state === 'running')
    clearTimeout(timer)
    timer = window.setTimeout(() => void look(), busy && !document.hidden ? SOON : LATER)
  }

  function announce(now: Job, before: Job | undefined): void {
    if (!before || before.state === now.state) return
    if (now.state === 'done' || now.state === 'failed') say(`${now.name}: ${stateOf(now)}${foundIn(now).length ? '' : '.'}`)
  }

  function corrected(line: string): void {
    say(line)
    void panel?.look()
    void look()
  }

  function arrived(job: Job): void {
    jobs = [job, ...jobs.filter(({ id }) => id !== job.id)]
    if (location.hash.slice(1) === job.id) show()
    else location.hash = job.id // which shows it
    void look()
  }

  async function remove(job: Job): Promise<void> {
    try {
      await removeJob(job.id)
      say(`${job.name} is deleted.`)
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 404) uploads.fail(job.name, (error as Error).message)
    }
    history.replaceState(null, '', location.pathname)
    await look()
    element('#add button').focus()
  }

  window.addEventListener('hashchange', show)
  document.addEventListener('visibilitychange', () => document.hidden || void look())
  await look()
}

start().catch((error: unknown) => {
  place.textContent = error instanceof Error ? error.message : String(error)
})
