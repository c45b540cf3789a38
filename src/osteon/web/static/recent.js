// The list of recent analyses: open, remove, older ones.

import { element, icon } from "./findings.js";
import { listAnalyses, removeAnalysis } from "./server.js";
import { currentLanguage, onLanguage, word } from "./words.js";

const list = document.getElementById("recent");
const more = document.getElementById("recent-more");
const dialog = document.getElementById("remove");
let known = [];
let cursor = null;
let open = () => {};
let onRemoved = () => {};

export function startRecent(handlers) {
  ({ open, onRemoved } = handlers);
  more.addEventListener("click", () => load(cursor));
  onLanguage(draw);
}

export const refresh = () => load(null);

async function load(from) {
  const answer = await listAnalyses(from).catch(() => null);
  if (!answer) return;
  known = from ? [...known, ...answer.analyses] : answer.analyses;
  cursor = answer.next_cursor;
  draw();
}

function draw() {
  more.hidden = !cursor;
  list.replaceChildren(
    ...(known.length ? known.map(row) : [element("li", { className: "quiet" }, word("recent.empty"))]),
  );
}

const MARKS = { queued: "waiting", running: "waiting", failed: "failed", cancelled: "failed" };

function row(analysis) {
  const mark = analysis.decision ?? MARKS[analysis.status];
  const text = word(analysis.decision ? `decision.${analysis.decision}` : `status.${analysis.status}`);
  const moment = element("time", { dateTime: analysis.created_at }, when(new Date(analysis.created_at)));
  const show = element(
    "button",
    { type: "button", className: `open ${mark}` },
    icon(mark),
    element("span", { className: "file-name" }, analysis.name),
    element("span", { className: "quiet" }, text, " · ", moment),
  );
  show.addEventListener("click", () => open(analysis.id));
  const remove = element("button", { type: "button", className: "tool" }, icon("trash"));
  const label = word("recent.remove", { name: analysis.name });
  remove.setAttribute("aria-label", label);
  remove.title = label;
  remove.addEventListener("click", () => ask(analysis));
  return element("li", {}, show, remove);
}

// The time for today's, the date for older ones.
function when(moment) {
  const today = moment.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(currentLanguage(), today ? { timeStyle: "short" } : { dateStyle: "medium" }).format(moment);
}

function ask(analysis) {
  document.getElementById("remove-name").textContent = analysis.name;
  dialog.returnValue = "no";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    await removeAnalysis(analysis.id).catch(() => null);
    onRemoved(analysis.id);
    await refresh();
  };
  dialog.showModal();
}
