/** Where scans come in: by drag and drop anywhere on the page, or by a dialog. */
import { button, make } from '../dom'
import type { Part } from './api'
import { chosen, dropped } from './pick'

const PICTURE = `<svg viewBox="0 0 48 48" aria-hidden="true"><ellipse cx="24" cy="24" rx="20" ry="15" /><path d="M24 17v14M18 25l6 6 6-6" /></svg>`

/**
 * Fill a place with the drop zone, and take drops on the whole page.
 *
 * @param take Given the files.
 * @param fail Told in a line what went wrong.
 */
export function makeDropZone(place: HTMLElement, take: (parts: Part[]) => void, fail: (why: string) => void): void {
  const zone = make('div', 'zone')
  zone.innerHTML = PICTURE
  const file = picker((input) => (input.multiple = true))
  const folder = picker((input) => (input.webkitdirectory = true))
  file.ariaLabel = 'Files'
  folder.ariaLabel = 'Folder'
  for (const input of [file, folder]) {
    input.addEventListener('change', () => {
      if (input.files?.length) take(chosen(input.files))
      input.value = '' // so that the same file can be chosen again
    })
  }
  const choices = make('div', 'choices')
  choices.append(
    button('pill', 'Choose a file', () => file.click()),
    button('pill', 'Choose a folder', () => folder.click()),
  )
  zone.append(
    make('h2', '', 'Drop a CT here'),
    make('p', 'soft', `A NIfTI, NRRD or MetaImage file, a DICOM folder, or a zip of either.${isHere() ? ' It stays on this machine.' : ''}`),
    choices,
    file,
    folder,
  )
  place.replaceChildren(zone)

  const isFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false
  let depth = 0 // of the elements that the pointer is in: leaving one is entering another
  const mark = (change: number): void => {
    depth = Math.max(0, depth + change)
    document.body.classList.toggle('dragging', depth > 0)
  }
  document.addEventListener('dragenter', (event) => isFiles(event) && mark(1))
  document.addEventListener('dragleave', (event) => isFiles(event) && mark(-1))
  document.addEventListener('dragover', (event) => isFiles(event) && event.preventDefault())
  document.addEventListener('drop', (event) => {
    if (!isFiles(event)) return
    event.preventDefault()
    mark(-depth)
    dropped(event.dataTransfer!).then(take, () => fail('What was dropped could not be read; choose it instead.'))
  })
}

function isHere(): boolean {
  return ['127.0.0.1', '[::1]', 'localhost'].includes(location.hostname)
}

function picker(set: (input: HTMLInputElement) => void): HTMLInputElement {
  const input = make('input')
  input.type = 'file'
  input.hidden = true
  set(input)
  return input
}
