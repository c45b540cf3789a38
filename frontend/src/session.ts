// Who is signed in, and signing out.

import { config, may } from "./config";
import { byId } from "./element";
import { endSession } from "./server";

export function startSession(): void {
  const { caller } = config;
  document.body.classList.toggle("looking-only", !may("analyse"));
  byId("session").hidden = caller.local;
  byId("session-name").textContent = caller.name;
  byId("sign-out").addEventListener("click", () => {
    void endSession()
      .catch(() => null)
      .then(() => location.assign("/sign-in"));
  });
}
