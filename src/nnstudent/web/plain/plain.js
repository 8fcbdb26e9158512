// The page for a checkout without Node: upload, progress, picture, table, downloads. It needs no build.

const FILES = { 'labels.nii.gz': 'Labels (NIfTI)', 'labels.seg.dcm': 'DICOM-SEG', 'statistics.csv': 'Volumes (CSV)', 'preview.png': 'Picture' }
const SOON = 1000 // ms between two looks while something is going on
const LATER = 10_000

const $ = (id) => document.getElementById(id)
const say = (line) => ($('say').textContent = line)
const shown = new Map() // a job's id: its article
let titles = new Map() // a class's name: how it is written
let timer = 0

function sentence(line) {
  return line.charAt(0).toUpperCase() + line.slice(1) + (/[.!?]$/.test(line) ? '' : '.')
}

async function ask(path, init) {
  let answer
  try {
    answer = await fetch(path, init)
  } catch {
    throw new Error('The service does not answer. Is it still running?')
  }
  if (answer.status === 204) return null
  const body = await answer.json().catch(() => null)
  if (!answer.ok) throw Object.assign(new Error(sentence(body?.error ?? `error ${answer.status}`)), { status: answer.status })
  return body
}

const enter = (token) =>
  ask('api/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token }) })

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token) {
    history.replaceState(null, '', location.pathname) // out of sight, and out of the history
    await enter(token).catch(() => undefined) // a wrong one is asked for again
  }
  try {
    const about = await ask('api/about')
    titles = new Map((await ask('api/labels')).map((label) => [label.name, label.title]))
    $('model').textContent = `${about.model.bundled ? 'Bundled student: a demonstration' : about.model.name} · ${about.version}`
  } catch (error) {
    if (error.status !== 401) throw error
    $('token').hidden = false
    return
  }
  $('token').hidden = true
  $('main').hidden = false
  await look()
}

async function look() {
  clearTimeout(timer)
  let busy = false
  try {
    const jobs = await ask('api/jobs')
    show(jobs)
    busy = jobs.some(({ state }) => state === 'queued' || state === 'running')
  } catch (error) {
    say(error.message)
  }
  timer = setTimeout(look, busy && !document.hidden ? SOON : LATER)
}

function show(jobs) {
  for (const [id, article] of shown) {
    if (jobs.some((job) => job.id === id)) continue
    article.remove()
    shown.delete(id)
  }
  jobs.forEach((job, index) => {
    if (!shown.has(job.id)) shown.set(job.id, make(job))
    const article = shown.get(job.id)
    if ($('jobs').children[index] !== article) $('jobs').insertBefore(article, $('jobs').children[index] ?? null)
    update(article, job)
  })
}

function make(job) {
  const article = $('job').content.cloneNode(true).firstElementChild
  article.querySelector('h2').textContent = job.name
  article.querySelector('.remove').addEventListener('click', async () => {
    if (!confirm(`Delete ${job.name}?`)) return
    await ask(`api/jobs/${job.id}`, { method: 'DELETE' }).catch((error) => say(error.message))
    await look()
  })
  return article
}

function update(article, job) {
  const bar = article.querySelector('progress')
  article.querySelector('.state').textContent = stateOf(job)
  bar.hidden = job.state !== 'running'
  if (job.progress?.total) Object.assign(bar, { max: job.progress.total, value: job.progress.done })
  else bar.removeAttribute('value')
  if (article.dataset.state === job.state) return
  article.dataset.state = job.state
  article.classList.toggle('failed', job.state === 'failed')
  const notes = [...(job.error ? [job.error] : []), ...job.warnings].map((line) => element('li', sentence(line)))
  article.querySelector('.notes').replaceChildren(...notes)
  article.querySelector('.files').replaceChildren(...Object.entries(FILES).filter(([name]) => job.files.includes(name)).map(link(job)))
  if (job.state !== 'done') return
  const image = article.querySelector('img')
  image.hidden = !job.files.includes('preview.png')
  image.alt = `Slices of ${job.name} with what was found`
  if (!image.hidden) image.src = `api/jobs/${job.id}/files/preview.png`
  const found = job.organs.filter((organ) => organ.volume_ml > 0)
  article.querySelector('table').hidden = !found.length
  article.querySelector('tbody').replaceChildren(...found.map(row))
}

function stateOf(job) {
  const found = (job.organs ?? []).filter((organ) => organ.volume_ml > 0).length
  if (job.state === 'queued') return job.place > 1 ? `${job.place} in the queue` : 'Next in the queue'
  if (job.state === 'failed') return 'Failed'
  if (job.state === 'done') return found ? `${found} ${found === 1 ? 'structure' : 'structures'} found in ${Math.round(job.seconds)} s` : 'Nothing found'
  const { what, done, total } = job.progress ?? { what: 'starting' }
  return total ? `${what}: ${done} of ${total}` : what
}

function row(organ) {
  const line = element('tr', '')
  const volume = organ.volume_ml.toFixed(organ.volume_ml < 10 ? 1 : 0)
  const confidence = organ.confidence === null ? '–' : `${Math.round(100 * organ.confidence)} %`
  line.append(
    element('td', titles.get(organ.name) ?? organ.name),
    element('td', volume, 'number'),
    element('td', confidence, 'number'),
    element('td', organ.touches_border ? 'touches the border of the image' : ''),
  )
  return line
}

const link = (job) => ([name, title]) => {
  const anchor = element('a', title)
  anchor.href = `api/jobs/${job.id}/files/${name}`
  anchor.download = ''
  return anchor
}

function element(tag, text, name = '') {
  const made = document.createElement(tag)
  made.textContent = text
  if (name) made.className = name
  return made
}

function send(input) {
  const form = new FormData()
  for (const file of input.files) form.append('files', file, file.webkitRelativePath || file.name)
  input.value = '' // so that the same file can be chosen again
  const request = new XMLHttpRequest() // fetch does not tell how much is sent
  const done = (line) => {
    $('sent').hidden = true
    say(line)
    void look()
  }
  say('')
  $('sent').hidden = false
  request.upload.onprogress = (event) => ($('sent').value = event.total ? event.loaded / event.total : 0)
  request.onload = () => done(request.status === 201 ? '' : sentence(request.response?.error ?? `error ${request.status}`))
  request.onerror = () => done('The upload was broken off. Is the service still running?')
  request.open('POST', 'api/jobs')
  request.responseType = 'json'
  request.send(form)
}

for (const input of [$('files'), $('folder')]) input.addEventListener('change', () => input.files.length && send(input))
$('token').addEventListener('submit', (event) => {
  event.preventDefault()
  enter(new FormData(event.target).get('token').trim()).then(() => (say(''), start()), (error) => say(error.message))
})
start().catch((error) => say(error.message))
