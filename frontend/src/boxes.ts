// Boxes over a film: Osteon's with grade and probability, the reader's own; each can be reached by keyboard.

import type { Draft, Mark } from "./draft";
import { element, icon } from "./element";
import type { Film, Rectangle } from "./film";
import type { Box, Fracture } from "./interface";
import { Signal } from "./signal";
import { currentLanguage, percent, word } from "./words";

const LABEL_PX = 24;
const CORNERS_PX = 28; // what is written at the film's upper corners
const NUDGE_PX = 4;
const LEAST_PX = 4;

export class Boxes {
  readonly element = element("div", { className: "boxes" });
  readonly chosen = new Signal<number>();
  readonly nudged = new Signal<{ index: number; box: Box }>();
  private marks: Mark[] = [];

  constructor(private readonly film: Film) {
    film.moved.on(() => this.place());
  }

  get shown(): boolean {
    return !this.element.hidden;
  }

  set shown(on: boolean) {
    this.element.hidden = !on;
  }

  draw(draft: Draft | null, fractures: Fracture[], selected: number): void {
    const focused = [...this.element.children].indexOf(document.activeElement as Element);
    this.marks = draft?.marks ?? [];
    this.element.replaceChildren(...this.marks.map((mark, index) => this.one(mark, index, fractures, selected)));
    this.place();
    if (focused >= 0) (this.element.children[focused] as HTMLElement | undefined)?.focus();
  }

  focus(index: number): void {
    (this.element.children[index] as HTMLElement | undefined)?.focus();
  }

  private one(mark: Mark, index: number, fractures: Fracture[], selected: number): HTMLElement {
    const fracture = mark.of === null ? null : fractures[mark.of];
    const what = fracture ? `${word(`grade.${fracture.grade}`)} ${percent(fracture.probability)}` : word("box.added");
    const where = fracture?.text ? `, ${fracture.text[currentLanguage()]}` : "";
    const judged = mark.status && fracture ? `, ${word(`box.${mark.status}`)}` : "";
    const sign = mark.status && icon(`box-${mark.status}`);
    const button = element(
      "button",
      {
        type: "button",
        className: ["box", fracture?.grade ?? "own", mark.status ?? "", index === selected ? "selected" : ""].join(" ").trim(),
        label: `${index + 1} · ${what}${where}${judged}`,
      },
      element("span", {}, sign, String(index + 1), element("i", {}, `· ${what}`)),
    );
    button.addEventListener("click", () => this.chosen.tell(index));
    button.addEventListener("keydown", (event) => this.nudge(event, index));
    return button;
  }

  // Arrows move a box of the reader's own, with Shift they change its size.
  private nudge(event: KeyboardEvent, index: number): void {
    const { status, box } = this.marks[index]!;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if ((!dx && !dy) || (status !== "added" && status !== "redrawn")) return;
    event.preventDefault();
    event.stopPropagation();
    const by = Math.max(1, NUDGE_PX / this.film.scale);
    const [x0, y0, x1, y1] = box;
    const moved: Box = event.shiftKey
      ? [x0, y0, x1 + dx! * by, y1 + dy! * by]
      : [x0 + dx! * by, y0 + dy! * by, x1 + dx! * by, y1 + dy! * by];
    const kept = this.inside(moved);
    if (kept) this.nudged.tell({ index, box: kept });
  }

  // A box cut to the picture; null where hardly anything is left.
  inside([x0, y0, x1, y1]: Box): Box | null {
    const { width, height } = this.film.picture ?? { width: 0, height: 0 };
    const cut = (value: number, most: number): number => Math.round(Math.min(Math.max(value, 0), most) * 10) / 10;
    const box: Box = [cut(Math.min(x0, x1), width), cut(Math.min(y0, y1), height), cut(Math.max(x0, x1), width), cut(Math.max(y0, y1), height)];
    return box[2] - box[0] >= LEAST_PX && box[3] - box[1] >= LEAST_PX ? box : null;
  }

  private place(): void {
    if (!this.film.picture) return;
    const labels: Rectangle[] = [];
    for (const [index, child] of [...this.element.children].entries()) {
      const { x, y, width, height } = this.film.onScreen(this.marks[index]!.box);
      const { style } = child as HTMLElement;
      style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
      style.width = `${width.toFixed(1)}px`;
      style.height = `${height.toFixed(1)}px`;
      const label = { x, y: y - LABEL_PX, width: (child.firstChild as HTMLElement).offsetWidth, height: LABEL_PX };
      const below = y < LABEL_PX + CORNERS_PX || labels.some((other) => overlap(other, label));
      child.classList.toggle("label-below", below);
      labels.push(below ? { ...label, y: y + height } : label);
    }
  }
}

const overlap = (a: Rectangle, b: Rectangle): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
