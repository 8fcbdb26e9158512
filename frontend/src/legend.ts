/** The classes of a scan as a row of buttons that switch them on and off. */
import { button, make } from './dom'
import type { LabelClass, Viewer } from './viewer'

export class Legend {
  readonly root = make('div', 'nnv-legend')

  constructor(
    private readonly viewer: Viewer,
    private readonly classes: LabelClass[],
  ) {
    viewer.onSwitch = () => this.update()
  }

  /** Draw a button for each class that is in the scan. */
  draw(): void {
    const { viewer } = this
    const chips = this.classes
      .filter((item) => viewer.present.has(item.id))
      .map((item) => {
        const chip = button('nnv-organ', '', () => viewer.switch([item.id], !viewer.isOn(item.id)))
        const swatch = make('span', 'nnv-swatch')
        swatch.style.background = `rgb(${item.color.join()})`
        chip.append(swatch, item.title)
        chip.dataset['id'] = String(item.id)
        return chip
      })
    const all = button('nnv-all', 'All', () => viewer.switch(viewer.present, true))
    const none = button('nnv-all', 'None', () => viewer.switch(viewer.present, false))
    this.root.replaceChildren(...chips, all, none)
    this.update()
  }

  private update(): void {
    for (const chip of this.root.querySelectorAll<HTMLElement>('.nnv-organ')) {
      chip.ariaPressed = String(this.viewer.isOn(Number(chip.dataset['id'])))
    }
  }
}
