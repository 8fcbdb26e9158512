// @vitest-environment happy-dom
import { expect, test, vi } from 'vitest'

vi.mock('@niivue/niivue', () => ({
  Niivue: class {
    volumes: unknown[] = []
    calls: string[] = []
    clearAllMeasurements = () => undefined
    updateGLVolume = () => this.calls.push('all')
    refreshLayers = (_: unknown, layer: number) => this.calls.push(`layer ${layer}`)
    drawScene = () => undefined
  },
}))

import { Pane } from '../src/pane'

test('the scan is made a texture once, and again only if one sees through it more or less', () => {
  const pane = new Pane()
  const nv = pane.nv as unknown as { calls: string[]; volumes: unknown[] }
  const back = { opacity: 1 }
  const map = { img: new Uint8Array(8), hdr: { dims: [3, 2, 2, 2] } }
  pane.paint() // before there is a scan
  pane.load(back as never, map as never, { low: 0, high: 1 })
  expect(nv.calls).toEqual([])
  expect(nv.volumes).toEqual([back, map])
  pane.paint()
  pane.paint()
  expect(nv.calls).toEqual(['all', 'layer 1'])
  back.opacity = 0 // in 3D
  pane.paint()
  pane.paint()
  expect(nv.calls).toEqual(['all', 'layer 1', 'all', 'layer 1'])
  pane.load({ opacity: 0 } as never, map as never, { low: 0, high: 1 })
  pane.paint()
  expect(nv.calls.slice(4)).toEqual(['all'])
})
