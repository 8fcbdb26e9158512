/** An element with its class and its text. */
export function make<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, name = '', text = ''): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  if (name) element.className = name
  if (text) element.textContent = text
  return element
}

/** A button that does something. */
export function button(name: string, text: string, act: () => void): HTMLButtonElement {
  const element = make('button', name, text)
  element.type = 'button'
  element.addEventListener('click', act)
  return element
}
