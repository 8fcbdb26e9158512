// @vitest-environment happy-dom
import { beforeEach, expect, test, vi } from 'vitest'
import { type Job, type Label, sendCorrection, ServiceError } from '../src/page/api'
import { Correct } from '../src/page/correct'

vi.mock('../src/page/nifti', () => ({ withVoxels: vi.fn().mockResolvedValue(new Blob(['label'])) }))
vi.mock('../src/page/api', async (original) => ({ ...(await original<object>()), sendCorrection: vi.fn() }))

const LABELS: Label[] = [
  { id: 1, name: 'liver', title: 'Liver', color: [200, 0, 0], kind: 'organ' },
  { id: 9, name: 'gallbladder', title: 'Gallbladder', color: [0, 200, 0], kind: 'organ' },
]
const JOB = { id: 'a1', correction: { version: 2, confirmed: [] } } as unknown as Job
const drawing = { item: LABELS[1]!, pen: 'brush', size: 3, end: vi.fn(), clear: vi.fn(), use: vi.fn(), undo: vi.fn(), onChange: () => undefined }
const axial = { title: 'Axial', axis: 2 }
const viewer = {
  present: new Set([1, 9]),
  views: [{ title: 'All', axis: 2 }, axial],
  view: axial,
  isOn: () => true,
  switch: vi.fn(),
  centerOn: vi.fn(),
  turnTo: vi.fn(),
  main: { ids: new Uint8Array(3) },
}
const engine = { Drawing: vi.fn(function () { return drawing }) }
let correct: Correct
const press = (name: string): void => {
  const item = [...correct.root.querySelectorAll('button')].find((button) => button.textContent === name)
  if (!item) throw new Error(`no button ${name}: ${correct.root.textContent}`)
  item.click()
}
const sent = (): unknown => vi.mocked(sendCorrection).mock.calls.at(-1)?.[2]

beforeEach(() => {
  vi.clearAllMocks()
  viewer.present = new Set([1, 9])
  correct = new Correct(LABELS, () => undefined)
  correct.attach(engine as never, viewer as never, JOB, new Blob())
})

test('three clicks from a wrong gallbladder to a right one', async () => {
  vi.mocked(sendCorrection).mockResolvedValue({ confirmed: ['gallbladder'], version: 3, warnings: [] })
  drawing.end.mockImplementation(() => (viewer.present = new Set([1])))
  correct.begin(9)
  press('Not there')
  press('Submit')
  await vi.waitFor(() => expect(correct.root.textContent).toContain('Submitted: gallbladder.'))
  expect(drawing.clear).toHaveBeenCalled()
  expect(sent()).toMatchObject({ confirmed: [], absent: ['gallbladder'], version: 2 })
})

test('a class that is right is confirmed as it is, and can be taken back', () => {
  correct.toggle(1)
  expect(correct.said.get(1)).toBe('present')
  correct.toggle(1)
  expect(correct.said.size).toBe(0)
  expect(correct.root.hidden).toBe(true)
})

test('what is not kept changes nothing', () => {
  correct.begin(9)
  press('Cancel')
  expect(drawing.end).toHaveBeenCalledWith(false)
  expect(correct.said.size).toBe(0)
})

test('when somebody was first, nothing is lost and it can be sent over theirs', async () => {
  vi.mocked(sendCorrection).mockRejectedValueOnce(new ServiceError('Anna corrected this scan.', 409))
  correct.toggle(1)
  press('Submit')
  await vi.waitFor(() => expect(correct.root.textContent).toContain('Anna corrected'))
  expect(correct.said.get(1)).toBe('present')
  vi.mocked(sendCorrection).mockResolvedValueOnce({ confirmed: ['liver'], version: 4, warnings: [] })
  press('Submit over it')
  await vi.waitFor(() => expect(correct.root.textContent).toContain('Submitted'))
  expect(sent()).toMatchObject({ version: null })
})

test('what a click came to is said', () => {
  correct.begin(9)
  const { onSay } = drawing as unknown as { onSay: (line: string, bad?: boolean) => void }
  onSay('Segmenting …')
  expect(correct.root.textContent).toContain('Segmenting …')
  onSay('The service does not answer.', true)
  expect(correct.root.querySelector('.bad')?.textContent).toBe('The service does not answer.')
})
