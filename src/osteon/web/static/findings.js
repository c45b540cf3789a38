// The findings as text: decision, what it rests on, each place, links.

import * as viewer from "./viewer.js";
import { currentLanguage, decimal, hasWord, onLanguage, percent, word } from "./words.js";

const panel = document.getElementById("findings");
let redraw = () => {};

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

function draw(make) {
  redraw = () => panel.replaceChildren(...make().filter((part) => part !== null));
  redraw();
}

onLanguage(() => redraw());

export const showNothing = () => draw(() => []);

const verdict = (decision) => [
  element("p", { className: `decision ${decision}` }, icon(decision), word(`decision.${decision}`)),
  element("p", {}, word(`meaning.${decision}`)),
];

const fact = (key, text) => element("div", {}, element("dt", {}, word(key)), element("dd", {}, text));

const bone = ({ area_fraction: area, confidence }) =>
  fact("bone", word("bone.value", { area: percent(area), confidence: decimal(confidence) }));

export function showTurnedAway(preview) {
  draw(() => [
    ...verdict("not_a_radiograph"),
    element("p", { className: "reason" }, reason(preview), " ", word("reason.kept")),
    element("dl", { className: "facts" }, bone(preview.bone)),
  ]);
}

function reason({ reason: why, bone: { area_fraction: area, confidence }, cuts }) {
  const cut = why === "low_confidence" ? decimal(cuts.confidence) : percent(cuts.area_fraction);
  return word(`reason.${why}`, { area: percent(area), confidence: decimal(confidence), cut });
}

export function showProblem(problem) {
  draw(() => {
    const known = `problem.${problem.kind}`;
    const hint = problem.kind === "network" ? word("problem.network.hint") : problem.hint;
    return [
      element("p", { className: "decision failed" }, icon("failed"), word(hasWord(known) ? known : "problem")),
      problem.detail ? element("p", { lang: "en" }, sentence(problem.detail)) : null,
      hint ? element("p", { className: "quiet" }, sentence(hint)) : null,
    ];
  });
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

export function showFindings(analysis, page) {
  const findings = analysis.pages[page];
  draw(() => [
    element("p", { className: "file-name" }, analysis.name),
    ...verdict(findings.decision),
    findings.fractures.length ? places(findings.fractures) : null,
    element(
      "dl",
      { className: "facts" },
      bone(findings.bone),
      fact("size", word("size.value", { width: findings.width_px, height: findings.height_px })),
      fact("time", time(findings.timing_ms)),
    ),
    links(analysis, page),
  ]);
}

function time({ total, gate, detect }) {
  const values = { total: decimal(total, 0), gate: decimal(gate, 0), detect: decimal(detect ?? 0, 0) };
  return word(detect === undefined ? "time.gate" : "time.value", values);
}

const places = (fractures) => element("ol", { className: "places" }, ...fractures.map(place));

function place({ grade, probability, score }, index) {
  const meter = element("span", { className: "meter" }, element("i", {}));
  meter.firstChild.style.width = `${Math.round(probability * 100)}%`;
  const button = element(
    "button",
    { type: "button", className: `place ${grade}`, title: word("finding.show", { number: index + 1 }) },
    element("b", {}, String(index + 1)),
    element("span", { className: "place-grade" }, word(`grade.${grade}`)),
    meter,
    element(
      "span",
      { className: "quiet figures" },
      `${word("probability")} ${percent(probability)} · ${word("score")} ${decimal(score)}`,
    ),
  );
  button.addEventListener("click", () => viewer.select(index, { zoom: true }));
  return element("li", {}, button);
}

function links({ links: { overlay, report, self } }, page) {
  const language = `language=${currentLanguage()}`;
  const link = (key, href) => element("a", { href, target: "_blank", rel: "noopener", className: "button small" }, word(key));
  return element(
    "p",
    { className: "row links" },
    link("link.report", `${report}?${language}`),
    link("link.overlay", `${overlay}?${language}&page=${page + 1}`),
    link("link.json", self),
  );
}
