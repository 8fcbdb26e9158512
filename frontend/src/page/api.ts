/** The service's API. Its types are generated from openapi.json, the service's own description (`npm run types`). */
import type { Around, Segmented } from '../around'
import type { components } from './schema'

type Schemas = components['schemas']

export type About = Schemas['About']
export type Label = Schemas['Label']
export type Organ = Schemas['Organ']
export type Job = Schemas['JobOut']
export type Datastore = Schemas['DatastoreOut']
export type Saved = Schemas['SavedOut']

/** What is said beside a corrected label map. */
export interface CorrectionParams {
  confirmed: string[]
  absent: string[]
  version: number | null // that was corrected; null to replace whatever there is
  by: string
}

/** A file to send, under the name that it has in the folder it comes from. */
export interface Part {
  file: File
  name: string
}

/** What went wrong, in one plain line. */
export class ServiceError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message)
  }
}

const AWAY = 'The service does not answer. Is it still running?'

export const getAbout = (): Promise<About> => ask('api/about')
export const getLabels = (): Promise<Label[]> => ask('api/labels')
export const getJobs = (): Promise<Job[]> => ask('api/jobs')
export const removeJob = (id: string): Promise<void> => ask(`api/jobs/${id}`, { method: 'DELETE' })
export const fileAddress = (id: string, file: string): string => `api/jobs/${id}/files/${file}`

export const getDatastore = (): Promise<Datastore> => ask('api/datastore')
export const nextScan = (strategy: string, by: string): Promise<Job> => ask('api/datastore/next', json({ strategy, by }))
export const beginTraining = (by: string): Promise<unknown> => ask('api/datastore/training', json({ by }))
export const stopTraining = (): Promise<void> => ask('api/datastore/training', { method: 'DELETE' })
export const rollBack = (): Promise<void> => ask('api/datastore/student', { method: 'DELETE' })

/** The label map of a job: the result, with what was corrected laid over it. */
export async function getLabelMap(job: Job): Promise<Blob> {
  if (!job.correction?.confirmed.length) return getFile(job.id, 'labels.nii.gz')
  return (await call(`api/jobs/${job.id}/labels`)).blob()
}

/** Submit a corrected label map. */
export function sendCorrection(id: string, label: Blob, params: CorrectionParams): Promise<Saved> {
  const form = new FormData()
  form.append('params', JSON.stringify(params))
  form.append('label', label, 'label.nii.gz')
  return ask(`api/jobs/${id}/labels`, { method: 'PUT', body: form })
}

/** Said of a click that the network's scores had no part in. */
export const BY_IMAGE = 'By the image alone: what the network thought is not known there.'

/** Segment an organ of a job's result again around a click. */
export async function sendClick(
  job: string,
  organ: number,
  around: Around,
  add: boolean,
  body: Uint8Array<ArrayBuffer>,
): Promise<Segmented> {
  const elsewhere = String(around.elsewhere ?? true)
  const params = new URLSearchParams({ job, organ: String(organ), add: String(add), reach_mm: String(around.reach), elsewhere })
  const triples = [['shape', around.size], ['spacing_mm', around.spacing], ['voxel', around.voxel], ['start', around.start]] as const
  for (const [name, triple] of triples) {
    for (const value of [...triple].reverse()) params.append(name, String(value)) // z, y, x
  }
  const answer = await call(`api/datastore/click?${params}`, { method: 'POST', body })
  const note = answer.headers.get('Decided-By') === 'image' ? BY_IMAGE : ''
  return { mask: new Uint8Array(await answer.arrayBuffer()), note }
}

/** Exchange the token for a session. */
export const openSession = (token: string): Promise<void> =>
  ask('api/session', json({ token }))

/** One of a job's files. */
export async function getFile(id: string, file: string): Promise<Blob> {
  return (await call(fileAddress(id, file))).blob()
}

/**
 * Send the files of one scan.
 *
 * @param progress Told the share that is sent, 0 to 1.
 */
export function sendScan(parts: Part[], progress: (share: number) => void, stop: AbortSignal): Promise<Job> {
  const form = new FormData()
  for (const part of parts) form.append('files', part.file, part.name)
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest() // fetch does not tell how much is sent
    request.open('POST', 'api/jobs')
    request.responseType = 'json'
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0)
    request.onload = () => {
      if (request.status === 201) resolve(request.response as Job)
      else reject(new ServiceError(reason(request.response, request.status), request.status))
    }
    request.onerror = () => reject(new ServiceError('The upload was broken off. Is the service still running?', 0))
    request.onabort = () => reject(new ServiceError('The upload was stopped.', 0))
    stop.addEventListener('abort', () => request.abort())
    request.send(form)
  })
}

function json(body: unknown): RequestInit {
  return { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
}

async function ask<T>(path: string, init?: RequestInit): Promise<T> {
  const answer = await call(path, init)
  return (answer.status === 204 ? undefined : await answer.json()) as T
}

async function call(path: string, init?: RequestInit): Promise<Response> {
  let answer: Response
  try {
    answer = await fetch(path, init)
  } catch {
    throw new ServiceError(AWAY, 0)
  }
  if (!answer.ok) throw new ServiceError(reason(await answer.json().catch(() => null), answer.status), answer.status)
  return answer
}

function reason(body: unknown, status: number): string {
  const said = (body as { error?: unknown } | null)?.error
  if (typeof said !== 'string' || !said) return `The service answered with an error (${status}).`
  return sentence(said)
}

/** A line as the command says it, as a sentence. */
export function sentence(line: string): string {
  return line.charAt(0).toUpperCase() + line.slice(1) + (/[.!?]$/.test(line) ? '' : '.')
}
