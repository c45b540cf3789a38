// What a drag on a film does besides moving it: window and level, the magnifier, drawing a box.

import { element } from "./element";
import type { Film, Point } from "./film";
import type { Box } from "./interface";
import type { Lens } from "./lens";

export type Tool = "pan" | "window" | "lens";

type Act = (event: PointerEvent) => void;

const SECONDARY = 2;
const LEAST_DRAG_PX = 6;

export class Gestures {
  tool: Tool = "pan";
  private draw: ((box: Box) => void) | null = null;
  private readonly rubber = element("div", { className: "rubber", hidden: true });

  constructor(
    private readonly host: HTMLElement,
    private readonly film: Film,
    private readonly lens: Lens,
  ) {
    host.append(this.rubber);
    host.addEventListener("pointerdown", (event) => this.down(event), { capture: true });
    host.addEventListener("contextmenu", (event) => event.preventDefault());
    host.addEventListener("pointermove", (event) => {
      if (this.tool === "lens" && !this.draw) this.lens.show(this.at(event));
    });
    host.addEventListener("pointerleave", () => this.lens.hide());
  }

  // The next drag draws a box; null ends that.
  drawNext(take: ((box: Box) => void) | null): void {
    this.draw = take;
    this.lens.hide();
    this.host.classList.toggle("drawing", take !== null);
  }

  get drawing(): boolean {
    return this.draw !== null;
  }

  wield(tool: Tool): void {
    this.tool = tool;
    this.host.dataset.tool = tool;
    if (tool !== "lens") this.lens.hide();
  }

  private at({ clientX, clientY }: PointerEvent): Point {
    const { left, top } = this.host.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  private down(event: PointerEvent): void {
    if (!this.film.picture) return;
    if (event.button === 0 && this.draw) return this.drawBox(event);
    if ((event.target as Element).closest("button")) return;
    const windowing = event.button === SECONDARY || (event.button === 0 && this.tool === "window");
    if (windowing) return this.drag(event, this.windowing());
    if (event.button === 0 && this.tool === "lens") this.drag(event, () => undefined);
  }

  // Takes the pointer, so that OpenSeadragon does not see this drag.
  private drag(first: PointerEvent, move: Act, end: Act = () => undefined): void {
    first.preventDefault();
    first.stopPropagation();
    this.host.focus({ preventScroll: true });
    this.host.setPointerCapture(first.pointerId);
    const stop = new AbortController();
    const { signal } = stop;
    const mine = (act: Act) => (event: PointerEvent) => {
      if (event.pointerId !== first.pointerId) return;
      event.stopPropagation();
      act(event);
    };
    this.host.addEventListener("pointermove", mine(move), { capture: this.tool !== "lens", signal });
    for (const kind of ["pointerup", "pointercancel"] as const) {
      this.host.addEventListener(kind, mine((event) => (stop.abort(), end(event))), { capture: true, signal });
    }
  }

  private windowing(): Act {
    let [dx, dy] = [0, 0];
    let asked = false;
    return ({ movementX, movementY }) => {
      dx += movementX;
      dy += movementY;
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        this.film.lookBy(dx, dy);
        [dx, dy, asked] = [0, 0, false];
      });
    };
  }

  private drawBox(first: PointerEvent): void {
    const from = this.at(first);
    const stretch: Act = (event) => {
      const to = this.at(event);
      this.rubber.hidden = false;
      this.rubber.style.transform = `translate(${Math.min(from.x, to.x)}px, ${Math.min(from.y, to.y)}px)`;
      this.rubber.style.width = `${Math.abs(from.x - to.x)}px`;
      this.rubber.style.height = `${Math.abs(from.y - to.y)}px`;
    };
    const end: Act = (event) => {
      this.rubber.hidden = true;
      const to = this.at(event);
      if (event.type === "pointercancel" || Math.hypot(to.x - from.x, to.y - from.y) < LEAST_DRAG_PX) return;
      const [a, b] = [this.film.toPicture(from.x, from.y), this.film.toPicture(to.x, to.y)];
      const take = this.draw;
      this.drawNext(null);
      take?.([a.x, a.y, b.x, b.y]);
    };
    this.drag(first, stretch, end);
  }
}
