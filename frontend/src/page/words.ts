/** Figures and states as a person reads them. */
import type { Job } from './api'

/** A volume, with as many digits as mean something. */
export function volume(ml: number): string {
  return ml >= 100 ? ml.toFixed(0) : ml >= 1 ? ml.toFixed(1) : ml.toFixed(2)
}

export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`
  if (value < 100) return `${Math.round(value)} s`
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
}

export function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`
}

/** What a scan is, in a line: series, size, spacing, phase. */
export function factsOf({ scan }: Job): string {
  if (!scan) return ''
  const size = scan.size.join(' × ')
  const spacing = scan.spacing_mm.map((mm) => Number(mm.toFixed(2))).join(' × ')
  return [scan.series, `${size} voxels of ${spacing} mm`, scan.phase].filter(Boolean).join(' · ')
}

/** Whether two scans have the same size and spacing, so that their results can be compared. */
export function alike(one: Job, other: Job): boolean {
  if (!one.scan || !other.scan) return false
  const same = (a: number[], b: number[]): boolean => a.every((value, axis) => Math.abs(value - b[axis]!) < 0.01)
  return same(one.scan.size, other.scan.size) && same(one.scan.spacing_mm, other.scan.spacing_mm)
}

/** When a job was begun: the time if it was today, else the day. */
export function when(created: number): string {
  const date = new Date(created * 1000)
  const today = date.toDateString() === new Date().toDateString()
  return date.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium' })
}

/** What happens to a job just now, in a few words. */
export function stateOf(job: Job): string {
  switch (job.state) {
    case 'queued':
      return job.place === null || job.place <= 1 ? 'Next in the queue' : `${ordinal(job.place)} in the queue`
    case 'running':
      return doing(job.progress)
    case 'done': {
      const found = foundIn(job).length
      return found ? `${found} ${found === 1 ? 'structure' : 'structures'} found` : 'Nothing found'
    }
    case 'failed':
      return 'Failed'
  }
}

export function foundIn(job: Job): NonNullable<Job['organs']> {
  return (job.organs ?? []).filter((organ) => organ.volume_ml > 0)
}

function doing(progress: Job['progress']): string {
  if (!progress) return 'Starting'
  if (progress.what === 'windows') return `Segmenting, part ${Math.min(progress.done + 1, progress.total)} of ${progress.total}`
  return { reading: 'Reading the scan', writing: 'Writing the results' }[progress.what] ?? progress.what
}

function ordinal(place: number): string {
  const ending = place % 100 >= 11 && place % 100 <= 13 ? 'th' : (['th', 'st', 'nd', 'rd'][place % 10] ?? 'th')
  return `${place}${ending}`
}
