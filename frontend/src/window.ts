/** The window: which densities, in HU, are drawn from black to white. */

export interface Window {
  low: number
  high: number
}

export interface Preset {
  title: string
  key: string
  window: Window
}

const about = (width: number, level: number): Window => ({ low: level - width / 2, high: level + width / 2 })

export const PRESETS: readonly Preset[] = [
  { title: 'Soft tissue', key: '1', window: about(400, 40) },
  { title: 'Liver', key: '2', window: about(160, 90) },
  { title: 'Lung', key: '3', window: about(1500, -600) },
  { title: 'Bone', key: '4', window: about(1800, 400) },
]
export const SOFT_TISSUE = PRESETS[0]!.window

const NARROWEST = 10 // HU
const WIDEST = 4000
const LOWEST = -1200
const HIGHEST = 3000

/** How radiologists say it: width and level. */
export function spoken({ low, high }: Window): string {
  return `W ${Math.round(high - low)} L ${Math.round((high + low) / 2)}`
}

/**
 * A window after a drag: to the right widens it, downwards raises its level, which darkens the picture.
 *
 * @param hu By how much one pixel changes it.
 */
export function dragged({ low, high }: Window, right: number, down: number, hu = 2): Window {
  const width = Math.min(Math.max(high - low + hu * right, NARROWEST), WIDEST)
  const level = Math.min(Math.max((high + low) / 2 + hu * down, LOWEST), HIGHEST)
  return about(width, level)
}

/** The preset that a window is, if it is one. */
export function presetOf({ low, high }: Window): Preset | undefined {
  return PRESETS.find(({ window }) => window.low === low && window.high === high)
}
