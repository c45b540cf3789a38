// The worklist: films on their way, then what the server holds; filters, search, unread marks, older ones.

import { may } from "./config";
import { byId, element, icon } from "./element";
import { stateOf } from "./findings";
import { finished, type Status, type Summary } from "./interface";
import { listAnalyses, markSeen, removeAnalysis } from "./server";
import { stage } from "./stage";
import type { Submission } from "./submission";
import { moment, onLanguage, word } from "./words";

const PAGE = 30;
const SEARCH_MS = 250;
const DECISIONS = ["fracture", "doubt", "no_fracture", "not_a_radiograph"];
const MARKS: Partial<Record<Status, string>> = { queued: "waiting", running: "waiting", failed: "failed", cancelled: "failed" };

const list = byId("recent");
const more = byId("recent-more");
const tasks = byId("tasks");
const filter = byId<HTMLSelectElement>("filter");
const search = byId<HTMLInputElement>("search");
const unseen = byId<HTMLInputElement>("unseen");

let known: Summary[] = [];
let submissions: Submission[] = [];
let cursor: string | null = null;
let asked = 0; // only the latest question's answer counts
let loaded = false;

export function startWorklist(): void {
  more.addEventListener("click", () => void load(cursor));
  filter.addEventListener("change", () => void refresh());
  unseen.addEventListener("change", () => void refresh());
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = window.setTimeout(() => void refresh(), SEARCH_MS);
  });
  stage.changed.on(markOpen);
  stage.opened.on(({ id }) => see(id, true));
  onLanguage(() => (draw(), drawTasks()));
  void refresh();
}

export const refresh = (): Promise<void> => load(null);

async function load(from: string | null): Promise<void> {
  const question = ++asked;
  const byDecision = DECISIONS.includes(filter.value);
  const wanted = {
    decision: byDecision ? filter.value : "",
    status: byDecision ? "" : filter.value,
    search: search.value.trim(),
    unseen: unseen.checked,
    cursor: from,
    limit: from ? PAGE : Math.min(100, Math.max(PAGE, known.length)),
  };
  const answer = await listAnalyses(wanted).catch(() => null);
  if (!answer || question !== asked) return;
  loaded = true;
  known = from ? [...known, ...answer.analyses] : answer.analyses;
  cursor = answer.next_cursor;
  draw();
}

function draw(): void {
  more.hidden = !cursor;
  byId("recent-empty").hidden = known.length > 0 || !tasks.hidden || !loaded;
  const focused = (document.activeElement as HTMLElement | null)?.closest<HTMLElement>("#recent [data-id]");
  const within = focused ? [...focused.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement) : -1;
  list.replaceChildren(...known.map(row));
  if (focused) list.querySelector(`[data-id="${focused.dataset.id}"]`)?.querySelectorAll("button")[within]?.focus();
  markOpen();
}

function row(analysis: Summary): HTMLElement {
  const mark = analysis.decision ?? MARKS[analysis.status] ?? "waiting";
  const text = word(analysis.decision ? `decision.${analysis.decision}` : `status.${analysis.status}`);
  const unread = !analysis.seen && finished(analysis.status);
  const show = element(
    "button",
    { type: "button", className: `open ${mark}` },
    thumbnail(analysis),
    element(
      "span",
      { className: "row-text" },
      element("span", { className: "file-name" }, unread ? element("i", { className: "unread", role: "img", label: word("recent.unread") }) : null, analysis.name),
      element("span", { className: `row-grade ${mark}` }, icon(mark), text),
      element("span", { className: "quiet" }, ...details(analysis)),
    ),
  );
  show.addEventListener("click", () => void stage.open(analysis.id));
  const remove = may("analyse") ? action("trash", word("recent.remove", { name: analysis.name }), () => ask(analysis)) : null;
  return element("li", { data: { id: analysis.id }, className: unread ? "new" : "" }, show, remove);
}

function details(analysis: Summary): Node[] {
  const parts: Node[] = [element("time", { dateTime: analysis.created_at }, moment(analysis.created_at))];
  if (analysis.page_count > 1) parts.push(document.createTextNode(` · ${word("recent.pages", { count: analysis.page_count })}`));
  const beside = known.filter(({ study }) => study && study === analysis.study).length;
  if (beside > 1) parts.push(document.createTextNode(` · ${word("recent.study", { count: beside })}`));
  return parts;
}

function thumbnail({ status, links }: Summary): HTMLElement {
  if (status !== "succeeded") return element("span", { className: "thumbnail" }, icon("film"));
  return element("img", {
    className: "thumbnail",
    src: links.thumbnail,
    alt: "",
    loading: "lazy",
    decoding: "async",
  });
}

function action(sign: string, label: string, act: () => void): HTMLElement {
  const button = element("button", { type: "button", className: "tool row-action", label, title: label }, icon(sign));
  button.addEventListener("click", act);
  return button;
}

function markOpen(): void {
  const open = new Map(stage.visible.map(({ analysis }) => [analysis?.id, analysis === stage.active.analysis]));
  for (const item of list.querySelectorAll<HTMLElement>("[data-id]")) {
    const here = open.get(item.dataset.id);
    item.classList.toggle("shown", here !== undefined);
    const button = item.querySelector("button")!;
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

// The next or previous one in the list.
export function openNeighbour(by: number): void {
  const at = known.findIndex(({ id }) => id === stage.active.analysis?.id);
  const next = known[at < 0 ? 0 : at + by];
  if (!next) return;
  void stage.open(next.id);
  list.querySelector(`[data-id="${next.id}"]`)?.scrollIntoView({ block: "nearest" });
}

export function see(id: string, seen: boolean): void {
  const found = known.find((one) => one.id === id);
  if (found?.seen === seen) return;
  if (found) found.seen = seen;
  draw();
  void markSeen(id, seen).catch(() => null);
}

function ask(analysis: Summary): void {
  const dialog = byId<HTMLDialogElement>("remove");
  byId("remove-name").textContent = analysis.name;
  dialog.returnValue = "no";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    await removeAnalysis(analysis.id).catch(() => null);
    stage.forget(analysis.id);
    await refresh();
  };
  dialog.showModal();
}

// Films on their way

export function watch(submission: Submission): void {
  submissions = [submission, ...submissions];
  submission.changed.on(() => {
    if (submission.state === "done") {
      if (!submission.leftOut.length) submissions = submissions.filter((one) => one !== submission);
      void refresh();
    }
    drawTasks();
  });
  drawTasks();
}

function drawTasks(): void {
  // Once the server lists them, only what it left out of an archive is still told here.
  const shown = submissions.filter(({ analyses, leftOut }) => !analyses.length || leftOut.length).map(taskRow);
  tasks.replaceChildren(...shown);
  tasks.hidden = !shown.length;
  byId("recent-empty").hidden = known.length > 0 || shown.length > 0 || !loaded;
}

function taskRow(submission: Submission): HTMLElement {
  const { state } = submission;
  const mark = state === "refused" ? "not_a_radiograph" : state === "failed" || state === "done" ? "failed" : "waiting";
  const show = element(
    "button",
    { type: "button", className: `open ${mark}` },
    element("span", { className: "thumbnail" }, icon(mark)),
    element(
      "span",
      { className: "row-text" },
      element("span", { className: "file-name" }, submission.name),
      element("span", { className: `row-grade ${mark}` }, stateOf(submission)),
      ["upload", "broken"].includes(state)
        ? element("progress", { max: 1, value: submission.sent, label: word("step.upload") })
        : null,
    ),
  );
  show.addEventListener("click", () => stage.submit(submission));
  const dismiss = action("close", word("submission.dismiss", { name: submission.name }), () => {
    submission.stop();
    submissions = submissions.filter((one) => one !== submission);
    for (const pane of stage.panes) if (pane.submission === submission) pane.clear();
    stage.changed.tell();
    drawTasks();
  });
  return element("li", {}, show, dismiss);
}
