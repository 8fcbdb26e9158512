/** What keys do while the viewer has the focus: the same as its buttons, which show it. */
import { PRESETS } from './window'
import type { Viewer } from './viewer'

/** Every key with what it does, for the list that the viewer shows. */
export const KEYS: readonly [string, string][] = [
  ['↑ ↓', 'next or previous slice; page up and page down: ten'],
  ['X A C S D', 'all planes, axial, coronal, sagittal, 3D'],
  ['V W M', 'pointer, window, length'],
  ['1 2 3 4', PRESETS.map(({ title }) => title.toLowerCase()).join(', ')],
  ['[ ]', 'opacity'],
  ['O', 'contours'],
  ['+ − F', 'zoom in, zoom out, fit'],
  ['Delete', 'remove the lengths'],
  ['B L E G R', 'while correcting: brush, outline, eraser, grow, remove'],
  ['Z', 'while correcting: undo'],
]
const MANY = 10 // slices of a page

/** Take keys wherever the focus is in the viewer, before NiiVue, which has other uses for them. */
export function listenForKeys(viewer: Viewer): void {
  const handle = (event: KeyboardEvent): void => {
    const target = event.target as HTMLElement
    if (target instanceof HTMLCanvasElement) event.stopPropagation()
    if (event.ctrlKey || event.metaKey || event.altKey || event.type === 'keyup') return
    if (target instanceof HTMLInputElement && /^(Arrow|Page|Home|End)/.test(event.key)) return // the slider's own
    const act = actionOf(viewer, event.key)
    if (!act) return
    event.preventDefault()
    act()
  }
  viewer.root.addEventListener('keydown', handle, { capture: true })
  viewer.root.addEventListener('keyup', handle, { capture: true })
}

function actionOf(viewer: Viewer, key: string): (() => void) | undefined {
  const letter = key.toLowerCase()
  const view = viewer.views.find((item) => item.key === letter)
  if (view) return () => viewer.turnTo(view)
  const preset = PRESETS.find((item) => item.key === letter)
  if (preset) return () => viewer.setWindow(preset.window)
  const actions: Record<string, () => void> = {
    arrowup: () => viewer.step(1),
    arrowdown: () => viewer.step(-1),
    pageup: () => viewer.step(MANY),
    pagedown: () => viewer.step(-MANY),
    v: () => viewer.setTool('look'),
    escape: () => viewer.setTool('look'),
    w: () => viewer.setTool('window'),
    m: () => viewer.setTool('measure'),
    o: () => viewer.setContours(!viewer.contours),
    f: () => viewer.fit(),
    '+': () => viewer.zoom(1.25),
    '=': () => viewer.zoom(1.25),
    '-': () => viewer.zoom(0.8),
    '[': () => viewer.setOpacity(viewer.opacity - 0.1),
    ']': () => viewer.setOpacity(viewer.opacity + 0.1),
    delete: () => viewer.clearLengths(),
    backspace: () => viewer.clearLengths(),
  }
  return actions[letter] ?? viewer.extraKeys[letter]
}
