// Waiting for an analysis: server-sent events, or asking again and again where they do not come through.

import { type Analysis, finished, type Status, type Summary } from "./interface";
import { aborted, readAnalysis } from "./server";

const LOOK_MS = 500;

export interface Step {
  status: Status;
  progress: number;
}

export function follow(analysis: Summary, onChange: (step: Step) => void, signal: AbortSignal): Promise<Analysis> {
  return new Promise((resolve, reject) => {
    const source = new EventSource(analysis.links.events);
    const end = (): void => {
      source.close();
      readAnalysis(analysis.id).then(resolve, reject);
    };
    source.addEventListener("progress", (event) => onChange(JSON.parse(event.data)));
    source.addEventListener("finished", end);
    source.addEventListener("error", () => {
      source.close();
      poll(analysis.id, onChange, signal).then(resolve, reject);
    });
    signal.addEventListener("abort", () => {
      source.close();
      reject(aborted());
    });
  });
}

async function poll(id: string, onChange: (step: Step) => void, signal: AbortSignal): Promise<Analysis> {
  while (!signal.aborted) {
    const analysis = await readAnalysis(id);
    if (finished(analysis.status)) return analysis;
    onChange(analysis);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw aborted();
}
