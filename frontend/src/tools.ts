// The tool bar: what each button does to the active film.

import { byId, pressed } from "./element";
import type { Tool } from "./gestures";
import { layers } from "./layers";
import { LAYOUTS, stage } from "./stage";
import { onLanguage, word } from "./words";

const ACTS: Record<string, () => void> = {
  "zoom-in": () => stage.active.film.zoomBy(1.25),
  "zoom-out": () => stage.active.film.zoomBy(0.8),
  "zoom-fit": () => stage.active.film.fit(),
  "zoom-actual": () => stage.active.film.actualSize(),
  "rotate-left": () => stage.active.film.rotateBy(-90),
  "rotate-right": () => stage.active.film.rotateBy(90),
  flip: () => stage.active.film.flip(),
  invert: () => stage.active.film.invert(),
  reset: () => stage.active.film.reset(),
  "page-previous": () => stage.turnTo(stage.active.page - 1),
  "page-next": () => stage.turnTo(stage.active.page + 1),
};

export const act = (name: string): void => ACTS[name]?.();

export function startTools(): void {
  for (const name of Object.keys(ACTS)) byId(name).addEventListener("click", () => act(name));
  for (const tool of ["pan", "window", "lens"] as Tool[]) byId(`tool-${tool}`).addEventListener("click", () => stage.wield(tool));
  for (const layout of LAYOUTS) byId(`layout-${layout}`).addEventListener("click", () => stage.arrange(layout));
  layers.start();
  stage.changed.on(draw);
  onLanguage(draw);
  for (const pane of stage.panes) {
    pane.film.windowed.on(drawSwitches);
    pane.film.moved.on(drawSwitches);
  }
  stage.wield("pan");
  draw();
}

function draw(): void {
  const { analysis, page } = stage.active;
  const pages = analysis?.pages.length ?? 0;
  byId("pager").hidden = pages < 2;
  byId("page-number").textContent = pages ? word("viewer.page", { page: page + 1, pages }) : "";
  byId<HTMLButtonElement>("page-previous").disabled = page === 0;
  byId<HTMLButtonElement>("page-next").disabled = page >= pages - 1;
  drawSwitches();
}

function drawSwitches(): void {
  pressed(byId("invert"), stage.active.film.inverted);
  pressed(byId("flip"), stage.active.film.flipped);
}
