// The views of one study: a strip over the film with each view's grade, a summary, and all of them side by side.

import { byId, element, icon } from "./element";
import type { Decision, Summary } from "./interface";
import { readStudy } from "./server";
import { stage } from "./stage";
import { counted, onLanguage, word } from "./words";

const GRAVEST: Decision[] = ["fracture", "doubt", "no_fracture", "not_a_radiograph"];

const strip = byId("study");
let study = "";
let views: Summary[] = [];

export function startStudy(): void {
  stage.opened.on((analysis) => void load(analysis.study));
  stage.changed.on(draw);
  onLanguage(draw);
}

export const refreshStudy = (): Promise<void> => load(study);

async function load(wanted: string): Promise<void> {
  study = wanted;
  if (!wanted) {
    views = [];
    return draw();
  }
  const found = await readStudy(wanted).catch(() => null);
  if (study !== wanted || !found) return;
  views = found.analyses;
  draw();
}

function draw(): void {
  const shown = stage.active.analysis?.study === study && study !== "" && views.length > 1;
  strip.hidden = !shown;
  if (!shown) return;
  const gravest = GRAVEST.find((decision) => views.some((view) => view.decision === decision));
  const counts = gravest ? views.filter((view) => view.decision === gravest).length : 0;
  const label = word("study.beside");
  const beside = element("button", { type: "button", className: "tool", id: "study-beside", label, title: label }, icon("layout-4"));
  beside.addEventListener("click", () => void stage.openBeside(views));
  strip.replaceChildren(
    element(
      "p",
      { className: "study-summary" },
      element("strong", {}, counted("views", views.length)),
      gravest ? element("span", { className: `row-grade ${gravest}` }, icon(gravest), word("study.gravest", { decision: word(`decision.${gravest}`), count: counts, views: views.length })) : null,
    ),
    element("ul", { className: "study-views" }, ...views.map(view)),
    beside,
  );
}

function view(summary: Summary): HTMLElement {
  const mark = summary.decision ?? "waiting";
  const text = word(summary.decision ? `decision.${summary.decision}` : `status.${summary.status}`);
  const picture = summary.status === "succeeded" ? element("img", { src: summary.links.thumbnail, alt: "" }) : null;
  const label = `${summary.name}: ${text}`;
  const button = element("button", { type: "button", className: `view ${mark}`, label, title: label }, picture, icon(mark));
  if (stage.visible.some(({ analysis }) => analysis?.id === summary.id)) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => void stage.open(summary.id));
  return element("li", {}, button);
}
