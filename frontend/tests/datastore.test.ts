// @vitest-environment happy-dom
import { expect, test, vi } from 'vitest'
import { Panel } from '../src/page/datastore'

const found = {
  scans: 2,
  corrected: 0,
  segmented: 2,
  strategies: [{ name: 'first', description: 'in order' }],
  learns: false,
  student: 0,
  training: null,
}

test('the next scan cannot be asked for before the strategies are known', async () => {
  let answer: (response: Response) => void = () => undefined
  const asked = vi.fn(() => new Promise<Response>(resolve => (answer = resolve)))
  vi.stubGlobal('fetch', asked)
  const panel = new Panel(() => undefined, () => '')
  const next = [...panel.root.querySelectorAll('button')].find(item => item.textContent === 'Next scan')
  const looked = panel.look()
  expect(next?.disabled).toBe(true)
  next?.click()
  expect(asked).toHaveBeenCalledTimes(1)
  answer(new Response(JSON.stringify(found), { headers: { 'content-type': 'application/json' } }))
  await looked
  expect(next?.disabled).toBe(false)
  expect(panel.root.querySelector('option')?.value).toBe('first')
})
