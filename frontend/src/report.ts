/** The report's viewer: the scans are in the page itself, in base64, and one of them is shown at a time. */
import { button, make } from './dom'
import { Legend } from './legend'
import { canDraw, type LabelClass, Viewer } from './viewer'

export { Drawing } from './drawing'
export { canDraw, Viewer } from './viewer' // the page of the service uses the same build

interface Case {
  title: string
  note: string
  image: string
  layers: { title: string; labels: string }[]
}

function blob(base64: string): Blob {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))])
}

async function start(place: HTMLElement): Promise<void> {
  const cases = [...document.querySelectorAll<HTMLScriptElement>('script[data-scan]')]
  const classes = JSON.parse(document.getElementById('viewer-classes')!.textContent) as LabelClass[]
  if (!canDraw()) {
    place.textContent = 'This browser has no WebGL 2, which scrolling through the scans needs; the pictures below need nothing.'
    return
  }
  const tabs = make('div', 'nnv-cases')
  const stage = make('div')
  const note = make('p', 'soft')
  const viewer = new Viewer(stage, classes)
  const legend = new Legend(viewer, classes)
  place.replaceChildren(tabs, stage, legend.root, note)
  const show = async (index: number): Promise<void> => {
    const found = JSON.parse(cases[index]!.textContent) as Case
    for (const [number, tab] of [...tabs.children].entries()) tab.ariaPressed = String(number === index)
    note.textContent = 'Loading the scan …'
    place.ariaBusy = 'true'
    const shown = await viewer.show({
      image: blob(found.image),
      layers: found.layers.map((layer) => ({ title: layer.title, labels: blob(layer.labels) })),
    })
    if (!shown) return // another one was asked for, which is still loading
    note.textContent = found.note
    place.ariaBusy = 'false'
    legend.draw()
    place.dataset['shown'] = String(index)
  }
  tabs.append(
    ...cases.map((data, index) => button('', data.dataset['scan']!, () => void show(index))),
  )
  await show(0)
}

const place = document.getElementById('viewer')
if (place) {
  // Not before it is looked at: a report that is only read or printed stays light.
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      observer.disconnect()
      void start(place)
    }
  }).observe(place)
}
