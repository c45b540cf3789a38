// Making elements; text is always set as text, never as markup.

type Child = Node | string | null;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<HTMLElementTagNameMap[Tag]> & { data?: Record<string, string>; label?: string; role?: string } = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const { data, label, role, ...rest } = properties as typeof properties & Record<string, unknown>;
  const made = Object.assign(document.createElement(tag), rest);
  if (data) Object.assign(made.dataset, data);
  if (label) made.setAttribute("aria-label", label as string);
  if (role) made.setAttribute("role", role as string);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function icon(name: string): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found as Kind;
}

export function pressed(button: HTMLElement, on?: boolean): boolean {
  if (on !== undefined) button.setAttribute("aria-pressed", String(on));
  return button.getAttribute("aria-pressed") === "true";
}
