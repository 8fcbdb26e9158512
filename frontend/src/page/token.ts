/** The token that a service asks for which is reached from other machines. */
import { button, make } from '../dom'
import { openSession } from './api'

/** Take the token from the page's address, where the printed one has it, and out of sight. */
export async function enterByAddress(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (!token) return
  history.replaceState(null, '', location.pathname)
  await openSession(token).catch(() => undefined) // a wrong one is asked for again
}

/** Ask for the token until it is right. */
export function askForToken(place: HTMLElement): Promise<void> {
  return new Promise((resolve) => {
    const form = make('form', 'token')
    const field = make('input')
    const label = make('label', '', 'Token')
    const why = make('p', 'soft', 'It was printed where the service was started.')
    const send = button('pill', 'Enter', () => undefined)
    field.type = 'password'
    field.autocomplete = 'current-password'
    field.required = true
    send.type = 'submit'
    why.role = 'status'
    label.append(field)
    form.append(make('h1', '', 'This service asks for a token'), label, send, why)
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      openSession(field.value.trim()).then(
        () => {
          form.remove()
          resolve()
        },
        (error: unknown) => {
          why.textContent = error instanceof Error ? error.message : String(error)
          field.select()
        },
      )
    })
    place.replaceChildren(form)
    field.focus()
  })
}
