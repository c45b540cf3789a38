// The magnifier: a round glass that follows the pointer, drawn from the picture's own pixels.

import { element } from "./element";
import type { Film, Point } from "./film";
import { lookUp } from "./grey";

const SIDE = 220;
const MORE_THAN_SHOWN = 2.5;
const MOST = 24;

export class Lens {
  readonly element = element("canvas", { className: "lens", hidden: true, width: SIDE, height: SIDE });
  private readonly pen = this.element.getContext("2d")!;
  private readonly patch = document.createElement("canvas");

  constructor(private readonly film: Film) {
    this.element.setAttribute("aria-hidden", "true");
  }

  hide(): void {
    this.element.hidden = true;
  }

  show({ x, y }: Point): void {
    const { picture } = this.film;
    if (!picture) return this.hide();
    const zoom = Math.min(Math.max(this.film.scale * MORE_THAN_SHOWN, 1), MOST);
    const middle = this.film.toPicture(x, y);
    const side = Math.ceil((SIDE * Math.SQRT2) / zoom) + 2;
    const [left, top] = [Math.floor(middle.x - side / 2), Math.floor(middle.y - side / 2)];
    this.cut(left, top, side);
    const { pen } = this;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, SIDE, SIDE);
    pen.translate(SIDE / 2, SIDE / 2);
    if (this.film.flipped) pen.scale(-1, 1);
    pen.rotate((this.film.rotation * Math.PI) / 180);
    pen.scale(zoom, zoom);
    pen.imageSmoothingEnabled = zoom < 6;
    pen.drawImage(this.patch, left - middle.x, top - middle.y);
    this.element.hidden = false;
    this.element.style.transform = `translate(${x - SIDE / 2}px, ${y - SIDE / 2}px)`;
  }

  private cut(left: number, top: number, side: number): void {
    const { picture, window, inverted } = this.film;
    if (!picture) return;
    const table = lookUp(window, inverted, picture.valueCount);
    this.patch.width = this.patch.height = side;
    const image = new ImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const value = picture.valueAt(left + column, top + row);
        if (value !== null) pixels[row * side + column] = table[value]!;
      }
    }
    this.patch.getContext("2d")!.putImageData(image, 0, 0);
  }
}
