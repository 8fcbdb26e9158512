/** NiiVue and the viewer, which are large: loaded when the first result is looked at. */
import type * as Report from '../report'

declare global {
  interface Window {
    nnstudent?: typeof Report
  }
}

let loading: Promise<typeof Report> | null = null

/** The build that reports carry too. */
export function loadViewer(): Promise<typeof Report> {
  loading ??= new Promise<typeof Report>((resolve, reject) => {
    const script = document.createElement('script')
    const fail = (): void => {
      loading = null
      script.remove()
      reject(new Error('The viewer could not be loaded; the files below can be.'))
    }
    script.src = 'viewer.js'
    script.onload = () => (window.nnstudent ? resolve(window.nnstudent) : fail())
    script.onerror = fail
    document.head.append(script)
  })
  return loading
}
