// The radiograph with its bone mask and boxes: zoom by wheel, buttons, keys or two fingers; pan by drag or arrows.

import { onLanguage, percent, word } from "./words.js";

const MOST = 16;
const $ = (id) => document.getElementById(id);
const viewer = $("viewer");
const frame = $("stage-frame");
const stage = $("stage");
const picture = $("picture");
const mask = $("mask");
const boxes = $("boxes");

const shown = { width: 1, height: 1, fractures: [], selected: -1 };
const view = { scale: 1, x: 0, y: 0, fitted: true };
const pointers = new Map();
let choose = () => {};

export const onChoose = (listener) => (choose = listener);

export function show(url, width, height) {
  viewer.hidden = false;
  const other = shown.width !== width || shown.height !== height;
  picture.src = url;
  Object.assign(shown, { width, height });
  stage.style.width = `${width}px`;
  stage.style.height = `${height}px`;
  if (other) fit();
  else place();
}

export function clear() {
  showMask(null);
  showFractures([]);
  shown.width = 0;
  picture.removeAttribute("src");
}

export function hide() {
  clear();
  viewer.hidden = true;
}

export function showMask(url) {
  if (url) mask.src = url;
  else mask.removeAttribute("src");
  place();
}

export function showFractures(fractures) {
  shown.fractures = fractures;
  shown.selected = -1;
  drawBoxes();
}

export function select(index, { zoom = false } = {}) {
  shown.selected = index;
  for (const [number, box] of [...boxes.children].entries()) box.classList.toggle("selected", number === index);
  if (zoom && index >= 0) zoomTo(shown.fractures[index].box_xyxy_px);
}

function drawBoxes() {
  boxes.replaceChildren(
    ...shown.fractures.map((fracture, index) => {
      const box = document.createElement("button");
      box.type = "button";
      box.className = `box ${fracture.grade}`;
      const text = `${index + 1} · ${word(`grade.${fracture.grade}`)} ${percent(fracture.probability)}`;
      const label = document.createElement("span");
      label.textContent = text;
      box.append(label);
      box.setAttribute("aria-label", text);
      box.addEventListener("click", () => choose(index));
      return box;
    }),
  );
  place();
}

function place() {
  stage.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  $("zoom").textContent = `${Math.round(view.scale * 100)}%`;
  picture.classList.toggle("coarse", view.scale > 3);
  const showBoxes = pressed("toggle-boxes");
  boxes.hidden = !showBoxes;
  mask.hidden = !pressed("toggle-bone") || !mask.hasAttribute("src");
  for (const [index, box] of [...boxes.children].entries()) {
    const [x0, y0, x1, y1] = shown.fractures[index].box_xyxy_px;
    const top = y0 * view.scale + view.y;
    box.style.transform = `translate(${x0 * view.scale + view.x}px, ${top}px)`;
    box.style.width = `${(x1 - x0) * view.scale}px`;
    box.style.height = `${(y1 - y0) * view.scale}px`;
    box.classList.toggle("label-inside", top < 24);
  }
}

const pressed = (id) => $(id).getAttribute("aria-pressed") === "true";
const fitting = () => Math.min(frame.clientWidth / shown.width, frame.clientHeight / shown.height);

function fit() {
  if (!shown.width || !frame.clientWidth) return;
  view.scale = fitting();
  view.x = (frame.clientWidth - shown.width * view.scale) / 2;
  view.y = (frame.clientHeight - shown.height * view.scale) / 2;
  view.fitted = true;
  place();
}

function zoomBy(factor, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
  const least = fitting() / 2;
  const scale = Math.min(Math.max(view.scale * factor, least), Math.max(MOST, least));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  view.fitted = false;
  keepInSight();
}

function zoomTo([x0, y0, x1, y1]) {
  const wide = frame.clientWidth / (x1 - x0);
  const high = frame.clientHeight / (y1 - y0);
  view.scale = Math.min(Math.min(wide, high) * 0.4, MOST);
  view.x = frame.clientWidth / 2 - ((x0 + x1) / 2) * view.scale;
  view.y = frame.clientHeight / 2 - ((y0 + y1) / 2) * view.scale;
  view.fitted = false;
  place();
}

function pan(dx, dy) {
  view.x += dx;
  view.y += dy;
  view.fitted = false;
  keepInSight();
}

function keepInSight() {
  const rest = 60;
  view.x = Math.min(Math.max(view.x, rest - shown.width * view.scale), frame.clientWidth - rest);
  view.y = Math.min(Math.max(view.y, rest - shown.height * view.scale), frame.clientHeight - rest);
  place();
}

function toggle(id) {
  $(id).setAttribute("aria-pressed", String(!pressed(id)));
  place();
}

const KEYS = {
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: fit,
  ArrowLeft: () => pan(40, 0),
  ArrowRight: () => pan(-40, 0),
  ArrowUp: () => pan(0, 40),
  ArrowDown: () => pan(0, -40),
  KeyB: () => toggle("toggle-boxes"),
  KeyM: () => toggle("toggle-bone"),
};

function spread() {
  const [first, second] = [...pointers.values()];
  return Math.hypot(first.x - second.x, first.y - second.y);
}

function onPointerMove(event) {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const { left, top } = frame.getBoundingClientRect();
  const now = { x: event.clientX - left, y: event.clientY - top };
  if (pointers.size === 2) {
    const distance = spread();
    pointers.set(event.pointerId, now);
    const [first, second] = [...pointers.values()];
    zoomBy(spread() / Math.max(distance, 1), (first.x + second.x) / 2, (first.y + second.y) / 2);
  } else {
    pointers.set(event.pointerId, now);
    pan(now.x - before.x, now.y - before.y);
  }
}

export function startViewer() {
  frame.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { left, top } = frame.getBoundingClientRect();
      zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX - left, event.clientY - top);
    },
    { passive: false },
  );
  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".box")) return;
    const { left, top } = frame.getBoundingClientRect();
    pointers.set(event.pointerId, { x: event.clientX - left, y: event.clientY - top });
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", onPointerMove);
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  frame.addEventListener("dblclick", fit);
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYS[event.key] ?? KEYS[event.code];
    if (!act) return;
    event.preventDefault();
    act();
  });
  $("zoom-in").addEventListener("click", () => zoomBy(1.25));
  $("zoom-out").addEventListener("click", () => zoomBy(0.8));
  $("zoom-fit").addEventListener("click", fit);
  for (const id of ["toggle-boxes", "toggle-bone"]) $(id).addEventListener("click", () => toggle(id));
  new ResizeObserver(() => (view.fitted ? fit() : keepInSight())).observe(frame);
  onLanguage(() => {
    const { selected } = shown;
    drawBoxes();
    select(selected);
  });
}
