// News of the worklist while the page is open: server-sent events, gathered so that a burst asks once.

import { API } from "./server";
import { refreshStudy } from "./study";
import { refresh } from "./worklist";

const GATHER_MS = 200;
const LEAST_MS = 800;

export function startLive(): void {
  let waiting = 0;
  let last = 0;
  const news = (): void => {
    if (waiting) return;
    const pause = Math.max(GATHER_MS, last + LEAST_MS - performance.now());
    waiting = window.setTimeout(() => {
      waiting = 0;
      last = performance.now();
      void refresh();
      void refreshStudy();
    }, pause);
  };
  const source = new EventSource(`${API}/events`);
  for (const kind of ["changed", "removed"]) source.addEventListener(kind, news);
  window.addEventListener("pagehide", () => source.close());
}
