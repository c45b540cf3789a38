// The reader's answer to a page: verdict, comment, save; the boxes are judged in the list of findings.

import { announce } from "./announce";
import { may } from "./config";
import { type Draft, draftOf } from "./draft";
import { byId, icon } from "./element";
import { drawBox } from "./findings";
import type { Verdict } from "./interface";
import { isAbort, keepAnswer, Problem, readAnswers } from "./server";
import { stage } from "./stage";
import { moment, onLanguage, word } from "./words";

const VERDICTS: Verdict[] = ["fracture", "no_fracture", "unsure", "unusable"];
const asked = new Set<string>();
let fault = "";

const panel = byId("answer");
const comment = byId<HTMLTextAreaElement>("answer-comment");

export function startAnswer(): void {
  stage.opened.on(({ id }) => void restore(id));
  if (!may("answer")) return;
  for (const verdict of VERDICTS) {
    choice(verdict).addEventListener("change", () => change((draft) => (draft.verdict = verdict)));
  }
  comment.addEventListener("input", () => change((draft) => (draft.comment = comment.value)));
  byId("answer-add").addEventListener("click", () => drawBox(null));
  byId("answer-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void save();
  });
  stage.changed.on(draw);
  onLanguage(draw);
  draw();
}

const choice = (verdict: Verdict): HTMLInputElement => byId<HTMLInputElement>(`verdict-${verdict}`);

function change(act: (draft: Draft) => void): void {
  const { draft } = stage.active;
  if (!draft) return;
  act(draft);
  draft.dirty = true;
  draw();
}

export function decide(verdict: Verdict): void {
  if (panel.hidden) return;
  change((draft) => (draft.verdict = verdict));
}

function draw(): void {
  const { draft } = stage.active;
  panel.hidden = !draft;
  if (!draft) return;
  for (const verdict of VERDICTS) choice(verdict).checked = draft.verdict === verdict;
  if (comment.value !== draft.comment) comment.value = draft.comment;
  byId<HTMLButtonElement>("answer-save").disabled = !draft.verdict || !draft.dirty;
  byId("answer-state").replaceChildren(...stateOf(draft));
}

function stateOf(draft: Draft): (Node | string)[] {
  if (fault) return [icon("failed"), fault];
  if (draft.dirty) return [draft.verdict ? word("answer.unsaved") : word("answer.needed")];
  if (!draft.kept) return [];
  const { created_at, author } = draft.kept;
  return [icon("box-accepted"), word("answer.saved", { time: moment(created_at), author: author === "local" ? word("answer.local") : author })];
}

// What was saved before; where nothing was begun here meanwhile.
async function restore(id: string): Promise<void> {
  if (asked.has(id)) return;
  asked.add(id);
  try {
    const { answers } = await readAnswers(id);
    const pane = stage.panes.find(({ analysis }) => analysis?.id === id);
    if (!pane?.analysis) return;
    for (let page = 0; page < pane.analysis.pages.length; page++) {
      const latest = answers.filter((answer) => answer.page === page + 1).sort((a, b) => (a.created_at < b.created_at ? 1 : -1))[0];
      const draft = draftOf(pane.analysis, page);
      if (latest && !draft.dirty && !draft.kept) draft.restore(latest);
    }
    pane.draw();
    stage.changed.tell();
  } catch (error) {
    if (!isAbort(error)) asked.delete(id);
  }
}

export async function save(): Promise<void> {
  const { analysis, draft, page } = stage.active;
  const answer = draft?.answer(page);
  if (!analysis || !draft || !answer) return;
  fault = "";
  try {
    draft.kept = await keepAnswer(analysis.id, answer);
    draft.dirty = false;
    asked.add(analysis.id);
    announce(word("answer.kept"));
  } catch (error) {
    fault = error instanceof Problem && error.kind === "network" ? word("problem.network") : word("answer.failed");
  }
  draw();
}
