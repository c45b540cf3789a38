// What a screen reader says when something happened by itself.

import { byId } from "./element";

export function announce(text: string): void {
  const region = byId("announcement");
  if (region.textContent !== text) region.textContent = text;
}
