// The catalogue in the page's language. Elements carry their key, so that switching needs no reload.

import type catalogue from "../../src/osteon/service/catalogue.json";
import { config, type Language } from "./config";
import { Signal } from "./signal";

export type Key = keyof (typeof catalogue)["en"];
type Values = Record<string, string | number>;

const KEPT = "osteon.language";
const spoken = new Signal();
let language = document.documentElement.lang as Language;

export const currentLanguage = (): Language => language;
export const onLanguage = (listener: () => void): void => spoken.on(listener);

export function word(key: Key, values: Values = {}): string {
  const text = config.catalogue[language][key];
  if (text === undefined) throw new Error(`no word ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
}

export const wordIfAny = (key: string): string | null => config.catalogue[language][key] ?? null;

const FORMS = {
  views: { one: "study.views.one", few: "study.views.few", many: "study.views.many" },
  bones: { one: "bones.found.one", few: "bones.found.few", many: "bones.found.many" },
  added: { one: "intake.count.one", few: "intake.count.few", many: "intake.count.many" },
} as const;

// In the form that the number asks for: English has one and other, Russian also few and many.
export function counted(what: keyof typeof FORMS, count: number): string {
  const category = new Intl.PluralRules(language).select(count);
  return word(FORMS[what][category === "one" || category === "few" ? category : "many"], { count });
}

export const percent = (share: number): string =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: share < 0.095 ? 1 : 0 }).format(share);

export const decimal = (value: number, digits = 2): string =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

// The time for today's, the date for older ones.
export function moment(text: string): string {
  const when = new Date(text);
  const today = when.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(language, today ? { timeStyle: "short" } : { dateStyle: "medium" }).format(when);
}

function fill(root: ParentNode = document): void {
  const megabytes = config.maxBytes / 1048576;
  const values = { limit: Math.floor(megabytes) || decimal(megabytes) };
  for (const one of root.querySelectorAll<HTMLElement>("[data-word]")) {
    one.textContent = word(one.dataset.word as Key, values);
  }
  for (const one of root.querySelectorAll<HTMLElement>("[data-word-label]")) {
    const text = word(one.dataset.wordLabel as Key);
    one.setAttribute("aria-label", text);
    if (one.matches("button, label")) one.title = one.dataset.key ? `${text} (${one.dataset.key})` : text;
  }
  for (const one of root.querySelectorAll<HTMLInputElement>("[data-word-placeholder]")) {
    one.placeholder = word(one.dataset.wordPlaceholder as Key);
  }
}

function speak(chosen: Language): void {
  language = chosen;
  document.documentElement.lang = chosen;
  document.title = word("title");
  for (const button of document.querySelectorAll<HTMLElement>("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  }
  fill();
  spoken.tell();
}

export function startLanguage(): void {
  for (const button of document.querySelectorAll<HTMLElement>("[data-language]")) {
    button.addEventListener("click", () => {
      const chosen = button.dataset.language as Language;
      localStorage.setItem(KEPT, chosen);
      speak(chosen);
    });
  }
  const known = (code: string | null): code is Language => code !== null && code in config.catalogue;
  const asked = new URLSearchParams(location.search).get("language");
  const kept = localStorage.getItem(KEPT);
  speak(known(asked) ? asked : known(kept) ? kept : language);
}
