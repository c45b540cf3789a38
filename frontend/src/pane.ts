// A place for one radiograph: film, boxes, what is written at its corners.

import { Boxes } from "./boxes";
import { type Draft, draftOf } from "./draft";
import { element, icon } from "./element";
import { Film } from "./film";
import { Gestures } from "./gestures";
import type { GreyPicture } from "./grey";
import type { Analysis, Box, Findings } from "./interface";
import { Lens } from "./lens";
import { type Layer, layers } from "./layers";
import { bonesOn, Outlines } from "./outlines";
import { type Problem, readPixels } from "./server";
import { Signal } from "./signal";
import { skeleton } from "./skeleton";
import type { Submission } from "./submission";
import { decimal, percent, word } from "./words";

const KEPT_PICTURES = 6;
const pictures = new Map<string, Promise<GreyPicture>>();

function pixels(analysis: Analysis, page: number): Promise<GreyPicture> {
  const key = `${analysis.id}/${page}`;
  const found = pictures.get(key) ?? readPixels(analysis, page);
  pictures.delete(key);
  pictures.set(key, found);
  found.catch(() => pictures.delete(key));
  if (pictures.size > KEPT_PICTURES) pictures.delete(pictures.keys().next().value!);
  return found;
}

export class Pane {
  readonly film = new Film();
  readonly outlines = new Outlines(this.film);
  readonly boxes = new Boxes(this.film);
  readonly lens = new Lens(this.film);
  readonly extent = element("div", { className: "extent", role: "img" });
  readonly corners = {
    name: element("span", { className: "corner name" }),
    decision: element("span", { className: "corner grade" }),
    window: element("span", { className: "corner window" }),
    zoom: element("output", { className: "corner zoom" }),
  };
  readonly element = element("div", { className: "pane", tabIndex: 0, role: "group" });
  readonly gestures: Gestures;
  readonly redrawn = new Signal();
  analysis: Analysis | null = null;
  submission: Submission | null = null;
  problem: Problem | null = null;
  page = 0;
  selected = -1;
  private wanted: ((box: Box) => void) | null = null; // what becomes of the box that is being drawn

  constructor() {
    this.element.append(this.film.element, this.extent, this.outlines.element, this.boxes.element, ...Object.values(this.corners), this.lens.element);
    this.gestures = new Gestures(this.element, this.film, this.lens);
    this.film.moved.on(() => this.tellPlace());
    this.film.windowed.on(() => this.tellWindow());
    layers.changed.on((layer) => this.layLayer(layer));
    skeleton.changed.on((id) => id === this.analysis?.id && this.drawBones());
    this.outlines.fade(layers.opacity("bones"));
    this.element.addEventListener("pointermove", ({ clientX, clientY }) => {
      const { left, top } = this.element.getBoundingClientRect();
      this.outlines.point({ x: clientX - left, y: clientY - top });
    });
    this.element.addEventListener("pointerleave", () => this.outlines.point(null));
  }

  get empty(): boolean {
    return !this.analysis && !this.submission;
  }

  get findings(): Findings | null {
    return this.analysis?.pages[this.page] ?? null;
  }

  get draft(): Draft | null {
    return this.analysis && this.findings ? draftOf(this.analysis, this.page) : null;
  }

  clear(): void {
    this.analysis = null;
    this.submission = null;
    this.problem = null;
    this.page = 0;
    this.selected = -1;
    this.gestures.drawNext(null);
    this.film.clear();
    this.draw();
  }

  // A file on its way, as far as the browser can show it.
  showSubmission(submission: Submission): void {
    if (this.submission !== submission) this.clear();
    this.submission = submission;
    const { picture, preview } = submission;
    if (picture && this.film.picture !== picture) this.film.show(picture);
    if (preview && picture) this.film.lay("bone", preview.mask, layers.opacity("bone"));
    this.draw();
  }

  // What has been found; the pixels shown already are kept where they are the film's own.
  show(analysis: Analysis, page: number): void {
    const sent = this.submission?.analyses.some(({ id }) => id === analysis.id) ? this.submission : null;
    const own = sent?.picture && sameShape(sent.picture, analysis.pages[page]) ? sent.picture : null;
    if (!own) this.clear();
    this.submission = null;
    this.analysis = analysis;
    this.page = page;
    this.selected = -1;
    if (!own || !this.exact || !isEightBit(sent!.file)) void this.fetch(analysis, page, own !== null);
    this.layAll();
    this.draw();
  }

  // Whether the pixels shown are the film's own and not a smaller preview; only then boxes have their place.
  private get exact(): boolean {
    return this.film.picture?.width === this.findings?.width_px;
  }

  private async fetch(analysis: Analysis, page: number, keep: boolean): Promise<void> {
    if (!this.findings) return;
    const picture = await pixels(analysis, page).catch(() => null);
    if (!picture || this.analysis?.id !== analysis.id || this.page !== page) return;
    this.film.show(picture, { keep });
    this.layAll();
    this.draw();
  }

  private layAll(): void {
    if (!this.film.picture) return;
    for (const layer of layers.all) this.layLayer(layer);
  }

  private layLayer(layer: Layer): void {
    if (layer.key === "boxes") this.boxes.shown = layer.shown;
    else if (layer.key === "bones") this.layBones();
    else if (this.findings && this.analysis && this.film.picture) {
      this.film.lay(layer.key, layer.url(this.analysis, this.page), layers.opacity(layer.key));
    } else this.film.fade(layer.key, layers.opacity(layer.key));
  }

  // Single bones are looked for while their layer is on, not before.
  private layBones(): void {
    this.outlines.fade(layers.opacity("bones"));
    if (layers.shown("bones") && this.analysis && this.findings) void skeleton.want(this.analysis);
    this.drawBones();
  }

  private drawBones(): void {
    const bones = this.exact && skeleton.of(this.analysis)?.bones;
    this.outlines.draw(bones ? bonesOn(bones, this.page) : []);
  }

  // The same analysis as it stands now.
  renew(analysis: Analysis): void {
    if (this.analysis?.id !== analysis.id) return;
    this.analysis = analysis;
    this.draw();
  }

  draw(): void {
    this.drawBones();
    this.boxes.draw(this.exact ? this.draft : null, this.findings?.fractures ?? [], this.selected);
    const name = this.analysis?.name ?? this.submission?.name ?? "";
    this.corners.name.textContent = name;
    const decision = this.findings?.decision;
    this.corners.decision.className = `corner grade ${decision ?? ""}`;
    this.corners.decision.replaceChildren(...(decision ? [icon(decision), word(`decision.${decision}`)] : []));
    this.element.setAttribute("aria-label", name ? word("viewer.film", { name }) : word("viewer"));
    this.extent.setAttribute("aria-label", name ? word("viewer.film", { name }) : word("viewer.none"));
    this.tellPlace();
    this.tellWindow();
    this.redrawn.tell();
  }

  private tellPlace(): void {
    const { picture } = this.film;
    this.corners.zoom.textContent = picture ? percent(this.film.scale * devicePixelRatio) : "";
    this.extent.hidden = !picture;
    if (!picture) return;
    const { x, y, width, height } = this.film.onScreen([0, 0, picture.width, picture.height]);
    const { style } = this.extent;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }

  private tellWindow(): void {
    const { low, high } = this.film.window;
    const values = { width: decimal(high - low, 0), level: decimal((high + low) / 2, 0) };
    this.corners.window.textContent = this.film.picture ? word("viewer.values", values) : "";
  }

  // The next drag gives a box; with a mark's index that one is drawn anew.
  drawBox(index: number | null, done: () => void): void {
    this.wanted = (box) => this.take(box, index, done);
    this.gestures.drawNext(this.wanted);
  }

  // For those without a pointer: a box in the middle of what is seen, to be moved by arrows.
  placeBox(): void {
    const { width, height } = this.film.size;
    const side = Math.min(width, height) / 8;
    const a = this.film.toPicture(width / 2 - side, height / 2 - side);
    const b = this.film.toPicture(width / 2 + side, height / 2 + side);
    this.gestures.drawNext(null);
    this.wanted?.([a.x, a.y, b.x, b.y]);
  }

  private take(box: Box, index: number | null, done: () => void): void {
    const cut = this.boxes.inside(box);
    if (!cut || !this.draft) return;
    if (index === null) this.selected = this.draft.add(cut);
    else this.draft.redraw(index, cut);
    this.draw();
    done();
    this.boxes.focus(index ?? this.selected);
  }

  select(index: number, { zoom = false } = {}): void {
    const mark = this.draft?.marks[index];
    this.selected = mark ? index : -1;
    if (mark && zoom) this.film.zoomTo(mark.box);
    this.draw();
  }
}

const sameShape = ({ width, height }: GreyPicture, page: Findings | undefined): boolean =>
  page !== undefined && Math.abs((width * page.height_px) / page.width_px - height) <= 1;

// These hold 8 bits a channel, so the browser's pixels are all there is.
const isEightBit = ({ type }: File): boolean => ["image/jpeg", "image/webp", "image/bmp", "image/gif"].includes(type);
