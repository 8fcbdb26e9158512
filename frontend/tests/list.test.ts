// @vitest-environment happy-dom
import { beforeEach, expect, test } from 'vitest'
import type { Job } from '../src/page/api'
import { List } from '../src/page/list'

const job = (id: string, more: Partial<Job> = {}): Job => ({
  id,
  name: id,
  state: 'queued',
  place: 1,
  progress: null,
  created: 0,
  seconds: null,
  error: null,
  warnings: [],
  organs: null,
  scan: null,
  files: [],
  delivery: null,
  correction: null,
  ...more,
})
let root: HTMLUListElement
let list: List
const lines = (): HTMLElement[] => [...root.querySelectorAll('li')]

beforeEach(() => {
  root = document.createElement('ul')
  list = new List(root)
})

test('a line that stays is not made anew, so that the focus stays', () => {
  list.show([job('a'), job('b')], 'a')
  const [, second] = lines()
  list.show([job('c'), job('b')], 'b')
  expect(lines().map((line) => line.querySelector('.name')!.textContent)).toEqual(['c', 'b'])
  expect(lines()[1]).toBe(second)
})

test('the selected scan is marked, and only that', () => {
  list.show([job('a'), job('b')], 'b')
  expect(lines().map((line) => line.firstElementChild!.getAttribute('aria-current'))).toEqual([null, 'true'])
})

test('a name is text, never markup', () => {
  list.show([job('a', { name: '<img src=x onerror=alert(1)>' })], null)
  expect(root.querySelector('img')).toBeNull()
  expect(root.querySelector('.name')!.textContent).toContain('<img')
})

test('the bar is there while a scan runs', () => {
  list.show([job('a', { state: 'running', progress: { what: 'windows', done: 1, total: 4 } })], null)
  const bar = root.querySelector('progress')!
  expect([bar.hidden, bar.max, bar.value]).toEqual([false, 4, 1])
  list.show([job('a', { state: 'done' })], null)
  expect(bar.hidden).toBe(true)
})
