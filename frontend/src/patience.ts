// Trying again after passing faults: longer and longer pauses, cut short when the connection is back.

import { aborted, Problem } from "./server";

const PAUSES_S = [0.5, 1, 2, 4, 8, 15, 30, 30, 30, 30];

export async function patiently<T>(
  attempt: () => Promise<T>,
  { onWait, signal }: { onWait: (problem: Problem) => void; signal: AbortSignal },
): Promise<T> {
  for (const pause of PAUSES_S) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Problem) || !error.passing) throw error;
      onWait(error);
      await rest(error.retryAfter ?? pause, signal);
    }
  }
  return attempt();
}

function rest(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => end(resolve), seconds * 1000);
    const end = (then: () => void): void => {
      clearTimeout(timer);
      window.removeEventListener("online", online);
      signal.removeEventListener("abort", stop);
      then();
    };
    const online = (): void => end(resolve);
    const stop = (): void => end(() => reject(aborted()));
    window.addEventListener("online", online);
    signal.addEventListener("abort", stop);
  });
}
