// Light, dark, or as the system has it.

const KEPT = "osteon.theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const buttons = (): NodeListOf<HTMLElement> => document.querySelectorAll<HTMLElement>("[data-theme-choice]");

function wear(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const button of buttons()) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
}

export function startTheme(): void {
  const kept = localStorage.getItem(KEPT) as Theme | null;
  wear(kept && THEMES.includes(kept) ? kept : "system");
  for (const button of buttons()) {
    button.addEventListener("click", () => {
      const chosen = button.dataset.themeChoice as Theme;
      localStorage.setItem(KEPT, chosen);
      wear(chosen);
    });
  }
}
