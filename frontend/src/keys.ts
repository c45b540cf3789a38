// Keyboard shortcuts, and the sheet that lists them. Letters go by their place, so that any layout works.

import { decide, save } from "./answer";
import { byId, element } from "./element";
import { drawBox, judge } from "./findings";
import { layers } from "./layers";
import { LAYOUTS, stage } from "./stage";
import { act } from "./tools";
import { type Key, onLanguage, word } from "./words";
import { openNeighbour, see } from "./worklist";

const KEPT = "osteon.keys";
const PAN_PX = 60;

interface Shortcut {
  shown: string; // as the help sheet writes it
  word: Key;
  acts: Record<string, () => void>; // by key, or by code where it is a letter
}

const pan = (dx: number, dy: number) => () => stage.active.film.panBy(dx, dy);

const SHORTCUTS: Shortcut[] = [
  { shown: "+  −", word: "keys.zoom", acts: { "+": () => act("zoom-in"), "=": () => act("zoom-in"), "-": () => act("zoom-out") } },
  { shown: "0", word: "viewer.fit", acts: { "0": () => act("zoom-fit") } },
  { shown: "1", word: "viewer.actual", acts: { "1": () => act("zoom-actual") } },
  {
    shown: "← ↑ ↓ →",
    word: "keys.pan",
    acts: { ArrowLeft: pan(PAN_PX, 0), ArrowRight: pan(-PAN_PX, 0), ArrowUp: pan(0, PAN_PX), ArrowDown: pan(0, -PAN_PX) },
  },
  { shown: "W", word: "viewer.windowing", acts: { KeyW: () => stage.wield(stage.tool === "window" ? "pan" : "window") } },
  { shown: "Z", word: "viewer.lens", acts: { KeyZ: () => stage.wield(stage.tool === "lens" ? "pan" : "lens") } },
  { shown: "I", word: "viewer.invert", acts: { KeyI: () => act("invert") } },
  { shown: "R  Shift+R", word: "keys.rotate", acts: { KeyR: () => act("rotate-right"), "Shift+KeyR": () => act("rotate-left") } },
  { shown: "F", word: "viewer.flip", acts: { KeyF: () => act("flip") } },
  { shown: "Home", word: "viewer.reset", acts: { Home: () => act("reset") } },
  { shown: "B", word: "keys.boxes", acts: { KeyB: () => layers.toggle("boxes") } },
  { shown: "M", word: "keys.bone", acts: { KeyM: () => layers.toggle("bone") } },
  { shown: "S", word: "keys.bones", acts: { KeyS: () => layers.toggle("bones") } },
  { shown: "N  P", word: "keys.findings", acts: { KeyN: () => stage.step(1), KeyP: () => stage.step(-1) } },
  { shown: "A", word: "keys.accept", acts: { KeyA: () => judge(stage.active.selected, "accepted") } },
  { shown: "X", word: "keys.reject", acts: { KeyX: () => judge(stage.active.selected, "rejected") } },
  { shown: "E", word: "keys.redraw", acts: { KeyE: () => redraw() } },
  { shown: "D", word: "keys.add", acts: { KeyD: () => add() } },
  { shown: "Enter", word: "keys.place", acts: {} },
  {
    shown: "Alt+1 … Alt+4",
    word: "keys.verdict",
    acts: {
      "Alt+Digit1": () => decide("fracture"),
      "Alt+Digit2": () => decide("no_fracture"),
      "Alt+Digit3": () => decide("unsure"),
      "Alt+Digit4": () => decide("unusable"),
    },
  },
  { shown: "Ctrl+Enter", word: "answer.save", acts: { "Ctrl+Enter": () => void save() } },
  { shown: "J  K", word: "keys.worklist", acts: { KeyJ: () => openNeighbour(1), KeyK: () => openNeighbour(-1) } },
  { shown: "U", word: "keys.unread", acts: { KeyU: () => stage.active.analysis && see(stage.active.analysis.id, false) } },
  { shown: "[  ]", word: "keys.pages", acts: { BracketLeft: () => act("page-previous"), BracketRight: () => act("page-next") } },
  { shown: "L", word: "keys.layout", acts: { KeyL: () => nextLayout() } },
  { shown: "/", word: "keys.search", acts: { "/": () => byId("search").focus() } },
  { shown: "?", word: "keys.help", acts: { "?": () => byId<HTMLDialogElement>("help").showModal() } },
];

const ACTS = new Map(SHORTCUTS.flatMap(({ acts }) => Object.entries(acts)));

const redraw = (): void => void (stage.active.draft?.marks[stage.active.selected] && drawBox(stage.active.selected));
const add = (): void => void (stage.active.draft && drawBox(null));

function nextLayout(): void {
  stage.arrange(LAYOUTS[(LAYOUTS.indexOf(stage.layout) + 1) % LAYOUTS.length]!);
}

export function startKeys(): void {
  const single = byId<HTMLInputElement>("single-keys");
  single.checked = localStorage.getItem(KEPT) !== "off";
  single.addEventListener("change", () => localStorage.setItem(KEPT, single.checked ? "on" : "off"));
  byId("help-open").addEventListener("click", () => byId<HTMLDialogElement>("help").showModal());
  document.addEventListener("keydown", onKey);
  onLanguage(list);
  list();
}

const list = (): void =>
  byId("help-list").replaceChildren(
    ...SHORTCUTS.map(({ shown, word: key }) =>
      element(
        "div",
        {},
        element("dt", {}, ...shown.split("  ").map((one) => element("kbd", {}, one))),
        element("dd", {}, word(key)),
      ),
    ),
  );

function onKey(event: KeyboardEvent): void {
  if (document.querySelector("dialog[open]")) return;
  const pane = stage.active;
  if (pane.gestures.drawing && event.key === "Escape") return pane.gestures.drawNext(null);
  const target = event.target as HTMLElement;
  const typing = target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=file])");
  const name = [event.ctrlKey || event.metaKey ? "Ctrl+" : "", event.altKey ? "Alt+" : ""].join("");
  if (!name && typing) return void (event.key === "Escape" && target.blur());
  if (!name && !byId<HTMLInputElement>("single-keys").checked) return;
  if (!name && pane.gestures.drawing && event.key === "Enter" && target === pane.element) {
    event.preventDefault();
    return pane.placeBox();
  }
  if (event.key.startsWith("Arrow") && !target.closest(".pane, body:not(:focus-within)") && target !== document.body) return;
  const chosen =
    ACTS.get(name + (event.shiftKey ? "Shift+" : "") + event.code) ??
    (event.shiftKey && /^Key/.test(event.code) ? undefined : (ACTS.get(name + event.key) ?? ACTS.get(name + event.code)));
  if (!chosen) return;
  event.preventDefault();
  chosen();
}
