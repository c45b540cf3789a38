// What lies over the films, each with its own switch and opacity; the list is drawn from here.

import { config } from "./config";
import { byId, element, pressed } from "./element";
import type { Analysis } from "./interface";
import { Signal } from "./signal";
import { type Key, onLanguage, word } from "./words";

export interface Layer {
  key: string;
  word: Key;
  shown: boolean;
  opacity: number;
  fades: boolean; // whether its opacity can be set
  url: (analysis: Analysis, page: number) => string | null;
}

class Layers {
  readonly changed = new Signal<Layer>();
  readonly all: Layer[] = [
    { key: "boxes", word: "viewer.boxes", shown: true, opacity: 1, fades: false, url: () => null },
    {
      key: "bone",
      word: "viewer.bone",
      shown: true,
      opacity: 0.7,
      fades: true,
      url: ({ links, pages }, page) => (pages[page]?.bone.present ? `${links.bone}?page=${page + 1}` : null),
    },
    ...(config.bones ? [{ key: "bones", word: "viewer.bones", shown: false, opacity: 0.9, fades: true, url: () => null } as const] : []),
  ];

  of(key: string): Layer | undefined {
    return this.all.find((layer) => layer.key === key);
  }

  shown(key: string): boolean {
    return this.of(key)?.shown ?? false;
  }

  opacity(key: string): number {
    const layer = this.of(key);
    return layer?.shown ? layer.opacity : 0;
  }

  toggle(key: string): void {
    const layer = this.of(key);
    if (!layer) return;
    layer.shown = !layer.shown;
    pressed(byId(`toggle-${key}`), layer.shown);
    this.changed.tell(layer);
  }

  start(): void {
    const list = byId("layers");
    list.replaceChildren(...this.all.map((layer) => this.row(layer)));
    onLanguage(() => this.name());
    this.name();
  }

  private row(layer: Layer): HTMLElement {
    const button = element(
      "button",
      { type: "button", id: `toggle-${layer.key}`, className: "tool wide" },
      element("i", { className: `swatch ${layer.key}` }),
      element("span"),
    );
    pressed(button, layer.shown);
    button.addEventListener("click", () => this.toggle(layer.key));
    if (!layer.fades) return element("div", { className: "layer" }, button);
    const slider = element("input", { type: "range", id: `opacity-${layer.key}`, min: "0", max: "100", step: "5" });
    slider.value = String(layer.opacity * 100);
    slider.addEventListener("input", () => {
      layer.opacity = Number(slider.value) / 100;
      if (!layer.shown) this.toggle(layer.key);
      else this.changed.tell(layer);
    });
    return element("div", { className: "layer" }, button, slider);
  }

  private name(): void {
    for (const layer of this.all) {
      byId(`toggle-${layer.key}`).querySelector("span")!.textContent = word(layer.word);
      document.getElementById(`opacity-${layer.key}`)?.setAttribute("aria-label", `${word(layer.word)}: ${word("viewer.opacity")}`);
    }
  }
}

export const layers = new Layers();
