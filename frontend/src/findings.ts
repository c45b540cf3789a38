// What is open, as text: decision, what it rests on, each place with the reader's judgement, links.

import { announce } from "./announce";
import { may } from "./config";
import type { Mark } from "./draft";
import { byId, element, icon, pressed } from "./element";
import type { Analysis, Bone, Decision, Findings, Fracture, Preview } from "./interface";
import { type Problem } from "./server";
import { stage } from "./stage";
import { problemOf, STEPS, type Submission } from "./submission";
import { currentLanguage, decimal, type Key, onLanguage, percent, word, wordIfAny } from "./words";

type Part = Node | null;

export function startFindings(): void {
  stage.changed.on(draw);
  onLanguage(draw);
  draw();
}

function draw(): void {
  const { analysis, submission, problem, page } = stage.active;
  const nothing = !analysis && !submission && !problem;
  byId("drop").hidden = !(nothing && stage.visible.every((pane) => pane.empty && !pane.problem));
  byId("viewer").hidden = !byId("drop").hidden;
  document.body.classList.toggle("reading", !nothing);
  drawSteps(submission);
  const parts = submission
    ? ofSubmission(submission)
    : problem
      ? ofProblem(problem)
      : analysis
        ? ofAnalysis(analysis, page)
        : [element("p", { className: "quiet" }, word("result.empty"))];
  byId("findings").replaceChildren(...parts.filter((part) => part !== null));
  drawDetails(analysis, stage.active.findings, page);
  announceResult();
}

function announceResult(): void {
  const { analysis, submission, findings } = stage.active;
  if (findings && analysis) announce(`${analysis.name}: ${word(`decision.${findings.decision}`)}. ${word(`meaning.${findings.decision}`)}`);
  else if (submission?.state === "refused") announce(`${submission.name}: ${word("decision.not_a_radiograph")}`);
  else if (submission?.state === "failed") announce(`${submission.name}: ${headline(submission.problem!)}`);
}

// A file on its way

const CURRENT: Partial<Record<Submission["state"], string>> = { refused: "refused", failed: "refused", done: "done" };

function drawSteps(submission: Submission | null): void {
  const list = byId("steps");
  list.hidden = !submission;
  byId("upload").hidden = !(submission && ["upload", "broken"].includes(submission.state));
  byId("state").textContent = submission && !submission.over ? stateOf(submission) : "";
  if (!submission) return;
  byId<HTMLProgressElement>("upload").value = submission.sent * 100;
  const at = STEPS.indexOf(submission.step);
  for (const [index, item] of [...list.children].entries()) {
    item.className = index < at ? "done" : index === at ? (CURRENT[submission.state] ?? "now") : "";
    if (item.className === "now") item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

export function stateOf({ state, sent, problem, leftOut }: Submission): string {
  if (state === "refused") return word("decision.not_a_radiograph");
  if (state === "failed") return problem ? headline(problem) : "";
  return state === "done" ? word("submission.left", { names: leftOut.map(({ source }) => source).join(", ") }) : word(`state.${state}`, { percent: Math.floor(sent * 100) });
}

function ofSubmission(submission: Submission): Part[] {
  const { state, preview, problem } = submission;
  if (state === "failed" && problem) return [...ofProblem(problem), again("submission.retry", submission)];
  if (state !== "refused" || !preview) return [element("p", { className: "file-name" }, submission.name)];
  return [
    element("p", { className: "file-name" }, submission.name),
    ...verdict("not_a_radiograph"),
    element("p", { className: "reason" }, `${reason(preview)} ${word("reason.kept")}`),
    again("submission.anyway", submission),
    element("dl", { className: "facts" }, bone(preview.bone)),
  ];
}

function again(key: "submission.retry" | "submission.anyway", submission: Submission): HTMLElement {
  const button = element("button", { type: "button", className: "button small again" }, word(key));
  button.addEventListener("click", () => void submission.runAgain());
  return button;
}

function reason({ reason: why, bone: { area_fraction: area, confidence }, cuts }: Preview): string {
  if (!why) return "";
  const cut = why === "low_confidence" ? decimal(cuts.confidence) : percent(cuts.area_fraction);
  return word(`reason.${why}`, { area: percent(area), confidence: decimal(confidence), cut });
}

// What went wrong

const headline = ({ kind }: Problem): string => wordIfAny(`problem.${kind}`) ?? word("problem");

const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function ofProblem(problem: Problem): Part[] {
  const hint = problem.kind === "network" ? word("problem.network.hint") : problem.hint;
  const foreign = problem.kind === "network" ? {} : { lang: "en" };
  return [
    element("p", { className: "decision failed" }, icon("failed"), headline(problem)),
    problem.message ? element("p", { lang: "en" }, sentence(problem.message)) : null,
    hint ? element("p", { className: "quiet", ...foreign }, sentence(hint)) : null,
  ];
}

// What was found

function ofAnalysis(analysis: Analysis, page: number): Part[] {
  const findings = analysis.pages[page];
  const name = element("p", { className: "file-name" }, analysis.name);
  if (!findings) return [name, ...unfinished(analysis)];
  const marks = stage.active.draft?.marks ?? [];
  return [
    name,
    ...verdict(findings.decision, findings.suspicion?.probability, findings.damage?.probability),
    marks.length ? places(marks, findings.fractures) : null,
  ];
}

function unfinished({ status, error, progress }: Analysis): Part[] {
  if (error) return ofProblem(problemOf(error));
  return [
    element("p", { className: "decision" }, icon(status === "cancelled" ? "failed" : "waiting"), word(`status.${status}`)),
    status === "running" ? element("progress", { max: 1, value: progress, label: word("status.running") }) : null,
  ];
}

const verdict = (decision: Decision, probability?: number | null, judged?: number | null): Part[] => [
  element("p", { className: `decision ${decision}` }, icon(decision), word(`decision.${decision}`)),
  element("p", { className: "meaning" }, word(`meaning.${decision}`)),
  chance("suspicion", decision, probability),
  chance("damage", decision, judged),
];

const chance = (name: "suspicion" | "damage", decision: Decision, probability?: number | null): Part =>
  typeof probability === "number" ? element("p", { className: `suspicion ${decision}` }, word(name, { probability: percent(probability) }), meter(probability)) : null;

const places = (marks: Mark[], fractures: Fracture[]): HTMLElement =>
  element("ol", { className: "places" }, ...marks.map((mark, index) => place(mark, index, fractures)));

function place(mark: Mark, index: number, fractures: Fracture[]): HTMLElement {
  const fracture = mark.of === null ? null : fractures[mark.of]!;
  const grade = fracture?.grade ?? "own";
  const selected = stage.active.selected === index ? "selected" : "";
  const show = element(
    "button",
    { type: "button", className: "show", title: word("finding.show", { number: index + 1 }) },
    element("b", {}, String(index + 1)),
    element("span", { className: "place-grade" }, fracture ? word(`grade.${fracture.grade}`) : word("box.added")),
    fracture ? meter(fracture.probability) : null,
    fracture?.text ? element("span", { className: "where" }, sentence(fracture.text[currentLanguage()])) : null,
    fracture
      ? element("span", { className: "figures" }, `${word("probability")} ${percent(fracture.probability)} · ${word("score")} ${decimal(fracture.score)}`)
      : null,
    mark.status && fracture ? element("span", { className: "judged" }, icon(`box-${mark.status}`), word(`box.${mark.status}`)) : null,
  );
  show.addEventListener("click", () => stage.select(index, { zoom: true }));
  const judgements = may("answer") ? judgementsOf(mark, index) : null;
  return element("li", { className: `place ${grade} ${mark.status ?? ""} ${selected}` }, show, judgements);
}

function meter(probability: number): HTMLElement {
  const bar = element("i");
  bar.style.width = `${Math.round(probability * 100)}%`;
  return element("span", { className: "meter" }, bar);
}

function judgementsOf(mark: Mark, index: number): HTMLElement {
  const number = { number: index + 1 };
  const own = mark.of === null;
  const row = element("span", { className: "judgements" });
  if (!own) row.append(judgement("accept", word("judge.accept", number), mark.status === "accepted", () => judge(index, "accepted")));
  row.append(
    judgement(own ? "trash" : "reject", word(own ? "judge.remove" : "judge.reject", number), own ? null : mark.status === "rejected", () =>
      judge(index, "rejected"),
    ),
    judgement("redraw", word("judge.redraw", number), own ? null : mark.status === "redrawn", () => drawBox(index)),
  );
  return row;
}

function judgement(sign: string, label: string, on: boolean | null, act: () => void): HTMLElement {
  const button = element("button", { type: "button", className: `judge ${sign}`, label, title: label }, icon(sign));
  if (on !== null) pressed(button, on);
  button.addEventListener("click", act);
  return button;
}

export function judge(index: number, status: "accepted" | "rejected"): void {
  const pane = stage.active;
  const focused = focusedIn(index);
  pane.draft?.judge(index, status);
  if (!pane.draft?.marks[pane.selected]) pane.selected = -1;
  pane.draw();
  stage.changed.tell();
  focused?.();
}

// The list is drawn anew after a judgement; the focus stays where it was.
function focusedIn(index: number): (() => void) | null {
  const find = (): NodeListOf<HTMLElement> =>
    document.querySelectorAll<HTMLElement>(`#findings .places > li:nth-child(${index + 1}) .judge`);
  const at = [...find()].indexOf(document.activeElement as HTMLElement);
  return at < 0 ? null : () => find()[at]?.focus();
}

export function drawBox(index: number | null): void {
  stage.active.drawBox(index, () => stage.changed.tell());
  stage.active.element.focus();
  announce(word("draw.how"));
}

function drawDetails(analysis: Analysis | null, findings: Findings | null, page: number): void {
  byId("details").hidden = !findings;
  byId("details-body").replaceChildren(...(analysis && findings ? [facts(findings), links(analysis, page)] : []));
}

function facts(findings: Findings): HTMLElement {
  return element(
    "dl",
    { className: "facts" },
    bone(findings.bone),
    fact("size", word("size.value", { width: findings.width_px, height: findings.height_px })),
    fact("time", time(findings.timing_ms)),
  );
}

const fact = (key: Key, text: string): HTMLElement => element("div", {}, element("dt", {}, word(key)), element("dd", {}, text));

const bone = ({ area_fraction: area, confidence }: Bone): HTMLElement =>
  fact("bone", word("bone.value", { area: percent(area), confidence: decimal(confidence) }));

function time({ total = 0, gate = 0, detect, bones, judge = 0 }: Record<string, number>): string {
  const values = { total: decimal(total, 0), gate: decimal(gate, 0), detect: decimal(detect ?? 0, 0), bones: decimal((bones ?? 0) + judge, 0) };
  return word(detect === undefined ? "time.gate" : bones === undefined ? "time.value" : "time.bones", values);
}

function links({ links: { overlay, report, self } }: Analysis, page: number): HTMLElement {
  const language = `language=${currentLanguage()}`;
  const link = (key: Key, href: string): HTMLElement =>
    element("a", { href, target: "_blank", rel: "noopener", className: "button small" }, word(key));
  return element(
    "p",
    { className: "row links" },
    link("link.report", `${report}?${language}`),
    link("link.print", `${report.replace(/pdf$/, "html")}?${language}`),
    link("link.overlay", `${overlay}?${language}&page=${page + 1}`),
    link("link.json", self),
  );
}
