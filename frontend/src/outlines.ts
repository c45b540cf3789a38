// Bones over a film: an outline each in its label's colour, with the name where there is room for it.

import { element } from "./element";
import type { Film, Point, Rectangle } from "./film";
import type { Bones, BoneShape } from "./interface";
import { Signal } from "./signal";
import { currentLanguage, decimal, percent, word } from "./words";

const SPACE = "http://www.w3.org/2000/svg";
const LABEL_PX = { height: 20, gap: 2 };

export interface ShownBone extends BoneShape {
  name: string; // in the page's language
  colour: string;
}

// The bones of a page (from 0), the surest first.
export function bonesOn(bones: Bones, page: number): ShownBone[] {
  const categories = new Map(bones.categories.map((one) => [one.id, one]));
  return bones.annotations.flatMap((one) => {
    const category = categories.get(one.category_id);
    if (one.image_id !== page + 1 || !category) return [];
    return [{ ...one, name: category.names[currentLanguage()], colour: category.colour }];
  });
}

const LEAST_SHOWN = 0.05;

export const told = (bone: ShownBone): string =>
  [word("bones.one", { name: bone.name, score: decimal(bone.score) }), broken(bone)].filter(Boolean).join(", ");

// How likely it is broken, in words; "" where that is unlikely, or nobody has judged it.
export function broken({ damage }: ShownBone): string {
  const probability = damage?.probability ?? 0;
  return probability < LEAST_SHOWN ? "" : word("bones.broken", { probability: percent(probability) });
}

export class Outlines {
  readonly element = element("div", { className: "outlines" });
  readonly lit = new Signal<number>(); // -1: none
  private readonly group = document.createElementNS(SPACE, "g");
  private readonly labels = element("div");
  private bones: ShownBone[] = [];
  private light = -1;

  constructor(private readonly film: Film) {
    const picture = document.createElementNS(SPACE, "svg");
    picture.append(this.group);
    this.element.append(picture, this.labels);
    this.element.setAttribute("aria-hidden", "true"); // the list beside the film says the same
    film.moved.on(() => this.place());
  }

  fade(opacity: number): void {
    this.element.hidden = opacity === 0;
    this.element.style.opacity = String(opacity);
    this.place();
  }

  draw(bones: ShownBone[]): void {
    this.bones = bones;
    this.group.replaceChildren(...bones.map(outline).reverse());
    this.labels.replaceChildren(...bones.map((bone) => element("span", {}, bone.name, element("i", {}, ` · ${decimal(bone.score)}`))));
    this.show(this.light < bones.length ? this.light : -1);
  }

  // One of them stands out, as its line in the list does.
  show(index: number): void {
    this.light = index;
    const { length } = this.bones;
    for (const [at, path] of [...this.group.children].entries()) path.classList.toggle("lit", length - 1 - at === index);
    for (const [at, label] of [...this.labels.children].entries()) label.classList.toggle("lit", at === index);
    this.place();
  }

  // The smallest bone under a point of the film's element lights up.
  point(at: Point | null): void {
    const found = at && !this.element.hidden ? this.under(this.film.toPicture(at.x, at.y)) : -1;
    if (found === this.light) return;
    this.show(found);
    this.lit.tell(found);
  }

  private under({ x, y }: Point): number {
    const at = new DOMPoint(x, y);
    const hits = [...this.group.children].map((path, index) => ((path as SVGPathElement).isPointInFill(at) ? this.bones.length - 1 - index : -1));
    const by = (index: number): number => this.bones[index]!.area;
    return hits.filter((index) => index >= 0).sort((a, b) => by(a) - by(b))[0] ?? -1;
  }

  private place(): void {
    const { picture } = this.film;
    if (!picture || this.element.hidden || !this.bones.length) return;
    const [origin, right, down] = [this.film.toScreen(0, 0), this.film.toScreen(picture.width, 0), this.film.toScreen(0, picture.height)];
    const matrix = [
      (right.x - origin.x) / picture.width,
      (right.y - origin.y) / picture.width,
      (down.x - origin.x) / picture.height,
      (down.y - origin.y) / picture.height,
      origin.x,
      origin.y,
    ];
    this.group.setAttribute("transform", `matrix(${matrix.join(" ")})`);
    this.placeLabels();
  }

  // The one that is lit first, then the surest; a name that would cover another is left out.
  private placeLabels(): void {
    const taken: Rectangle[] = [];
    const order = [...this.bones.keys()].sort((a, b) => Number(b === this.light) - Number(a === this.light));
    for (const index of order) {
      const label = this.labels.children[index] as HTMLElement;
      const { inside_xy_px: [x, y] } = this.bones[index]!;
      const at = this.film.toScreen(x, y);
      const width = label.offsetWidth;
      const place = { x: at.x - width / 2, y: at.y - LABEL_PX.height / 2, width: width + LABEL_PX.gap, height: LABEL_PX.height + LABEL_PX.gap };
      const free = index === this.light || !taken.some((other) => overlap(other, place));
      label.style.transform = `translate(${place.x.toFixed(1)}px, ${place.y.toFixed(1)}px)`;
      label.style.visibility = free ? "" : "hidden";
      if (free) taken.push(place);
    }
  }
}

function outline({ segmentation, colour }: ShownBone): SVGPathElement {
  const path = document.createElementNS(SPACE, "path");
  path.setAttribute("d", segmentation.map((part) => `M${part.map((value) => value.toFixed(1)).join(" ")}Z`).join(""));
  path.setAttribute("stroke", colour);
  path.setAttribute("fill", colour);
  return path;
}

const overlap = (a: Rectangle, b: Rectangle): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
