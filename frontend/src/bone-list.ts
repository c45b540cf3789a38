// The bones of the open film as a list: name and score of each, shown on the film by pointer, focus or click.

import { announce } from "./announce";
import { byId, element, icon } from "./element";
import { layers } from "./layers";
import { bonesOn, broken, type ShownBone, told } from "./outlines";
import type { Problem } from "./server";
import { skeleton } from "./skeleton";
import { stage } from "./stage";
import { counted, decimal, onLanguage, word, wordIfAny } from "./words";

const panel = byId("bones");
const list = byId("bones-list");
const state = byId("bones-state");

export function startBoneList(): void {
  stage.changed.on(draw);
  onLanguage(draw);
  layers.changed.on(draw);
  skeleton.changed.on((id) => {
    draw();
    const { analysis, page } = stage.active;
    const { bones = null, problem = null } = skeleton.of(analysis) ?? {};
    if (analysis?.id !== id) return;
    if (bones) announce(counted("bones", bonesOn(bones, page).length));
    else announce(problem ? failure(problem) : word("bones.search"));
  });
  for (const pane of stage.panes) {
    pane.outlines.lit.on((index) => {
      if (pane !== stage.active) return;
      for (const [at, item] of [...list.children].entries()) item.classList.toggle("lit", at === index);
    });
  }
  draw();
}

function draw(): void {
  const { analysis, page, findings } = stage.active;
  const search = skeleton.of(analysis);
  panel.hidden = !(findings && search && layers.shown("bones"));
  const searching = !panel.hidden && search !== null && !search.bones && !search.problem;
  document.getElementById("toggle-bones")?.classList.toggle("searching", searching);
  if (panel.hidden || !search) return;
  const bones = search.bones ? bonesOn(search.bones, page) : [];
  state.replaceChildren(...(bones.length ? [] : stateOf()));
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...bones.map(line));
  list.hidden = !bones.length;
  if (focused >= 0) list.children[focused]?.querySelector("button")?.focus();
}

const failure = ({ kind }: Problem): string => wordIfAny(`problem.${kind}`) ?? word("bones.failed");

function stateOf(): (Node | string)[] {
  const { analysis } = stage.active;
  const { bones = null, problem = null } = skeleton.of(analysis) ?? {};
  if (bones) return [word("bones.none")];
  if (!problem) return [element("i", { className: "busy" }), word("bones.search")];
  const again = element("button", { type: "button", className: "button small" }, word("bones.again"));
  again.addEventListener("click", () => analysis && void skeleton.want(analysis, { again: true }));
  return [icon("failed"), failure(problem), again];
}

function line(bone: ShownBone, index: number): HTMLElement {
  const swatch = element("i", { className: "bone-colour" });
  swatch.style.background = bone.colour;
  const button = element(
    "button",
    { type: "button", label: told(bone) },
    swatch,
    element("span", {}, bone.name),
    element("span", { className: "figures" }, decimal(bone.score)),
    broken(bone) ? element("span", { className: "figures broken" }, broken(bone)) : null,
  );
  const light = (on: boolean) => () => stage.active.outlines.show(on ? index : -1);
  for (const [kind, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]] as const) {
    button.addEventListener(kind, light(on));
  }
  button.addEventListener("click", () => {
    const [x, y, width, height] = bone.bbox;
    stage.active.film.zoomTo([x, y, x + width, y + height], { room: 1.25 });
    stage.active.outlines.show(index);
  });
  return element("li", {}, button);
}
