import { afterEach, expect, test, vi } from 'vitest'
import { BY_IMAGE, fileAddress, getJobs, removeJob, sendClick, sentence, ServiceError } from '../src/page/api'

const answer = (status: number, body: unknown): void => {
  const text = status === 204 ? null : JSON.stringify(body)
  vi.stubGlobal('fetch', vi.fn().mockResolvedValue(new Response(text, { status })))
}
const failure = async (): Promise<ServiceError> => {
  try {
    await getJobs()
  } catch (error) {
    if (error instanceof ServiceError) return error
  }
  throw new Error('no ServiceError')
}

afterEach(() => {
  vi.unstubAllGlobals()
})

test('the line that the service says is shown as a sentence', async () => {
  answer(413, { error: 'more than 2 GB; send less' })
  const error = await failure()
  expect(error.message).toBe('More than 2 GB; send less.')
  expect(error.status).toBe(413)
})

test('an answer without a line names its code', async () => {
  answer(502, 'gateway')
  expect((await failure()).message).toBe('The service answered with an error (502).')
})

test('a service that is gone is said to be gone', async () => {
  vi.stubGlobal('fetch', vi.fn().mockRejectedValue(new TypeError('network')))
  const error = await failure()
  expect(error.message).toMatch(/does not answer/)
  expect(error.status).toBe(0)
})

test('an answer without content is no error', async () => {
  answer(204, null)
  await expect(removeJob('a1')).resolves.toBeUndefined()
  expect(fetch).toHaveBeenCalledWith('api/jobs/a1', { method: 'DELETE' })
})

test('addresses are relative, so that a proxy may put the page anywhere', () => {
  expect(fileAddress('a1', 'labels.nii.gz')).toBe('api/jobs/a1/files/labels.nii.gz')
})

test.each([
  ['gone', 'Gone.'],
  ['Is it running?', 'Is it running?'],
])('sentence(%s)', (line, text) => {
  expect(sentence(line)).toBe(text)
})

test.each([
  ['image', BY_IMAGE],
  ['scores', ''],
])('a click says where it was, and what decided about it: %s', async (by, note) => {
  const fetched = vi.fn().mockResolvedValue(new Response(Uint8Array.of(1, 0), { headers: { 'Decided-By': by } }))
  vi.stubGlobal('fetch', fetched)
  const box = { start: [4, 5, 6], size: [1, 1, 2], spacing: [1, 2, 3], voxel: [0, 0, 1], reach: 15 } as const
  const found = await sendClick('a1', 9, structuredClone(box) as never, true, Uint8Array.of(0))
  expect(found).toEqual({ mask: Uint8Array.of(1, 0), note })
  const asked = new URL(String(fetched.mock.calls[0]![0]), 'http://localhost').searchParams
  expect(asked.getAll('start')).toEqual(['6', '5', '4']) // z, y, x
  expect([asked.get('job'), asked.get('organ')]).toEqual(['a1', '9'])
})
