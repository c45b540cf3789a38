// The catalogue in the page's language. Elements carry their key, so that switching needs no reload.

const config = JSON.parse(document.getElementById("config").textContent);
const KEPT = "osteon.language";

let language = document.documentElement.lang;
const listeners = [];

export { config };
export const currentLanguage = () => language;

export function word(key, values = {}) {
  const text = config.catalogue[language][key];
  if (text === undefined) throw new Error(`no word ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const hasWord = (key) => key in config.catalogue[language];

export const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: share < 0.095 ? 1 : 0 }).format(share);

export const decimal = (value, digits = 2) =>
  new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export function fill(root = document) {
  const values = { limit: Math.floor(config.maxBytes / 1048576) || decimal(config.maxBytes / 1048576) };
  for (const element of root.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word, values);
  }
  for (const element of root.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", word(element.dataset.wordLabel));
    if (element.tagName === "BUTTON") element.title = word(element.dataset.wordLabel);
  }
}

export const onLanguage = (listener) => listeners.push(listener);

export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
  document.title = word("title");
  localStorage.setItem(KEPT, chosen);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  }
  fill();
  for (const listener of listeners) listener();
}

export function startLanguage() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => speak(button.dataset.language));
  }
  const asked = new URLSearchParams(location.search).get("language");
  const kept = localStorage.getItem(KEPT);
  speak(asked in config.catalogue ? asked : kept in config.catalogue ? kept : language);
}
