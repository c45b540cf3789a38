// One chosen file on its way: preview, gate, upload, analysis. What it is at stands in its fields.

import { config } from "./config";
import { follow } from "./follow";
import type { GreyPicture } from "./grey";
import type { Accepted, Analysis, Fault, Preview } from "./interface";
import { patiently } from "./patience";
import { openHere, openUrl } from "./preview";
import { ResumableUpload, type Road } from "./resumable";
import { aborted, isAbort, Problem, sendFile, sendPreview } from "./server";
import { Signal } from "./signal";

export const STEPS = ["preview", "gate", "upload", "detect"] as const;
export type Step = (typeof STEPS)[number];
export type State = "waiting" | "preview" | "gate" | "upload" | "broken" | "crowded" | "queued" | "running" | "refused" | "failed" | "done";

const IN_ONE_GO_BYTES = 2 ** 20;
const HOLD_S = 2;

export class Submission {
  readonly changed = new Signal();
  state: State = "waiting";
  step: Step = "preview";
  sent = 0;
  picture: GreyPicture | null = null;
  preview: Preview | null = null;
  problem: Problem | null = null;
  analyses: Analysis[] = [];
  leftOut: Accepted["errors"] = [];
  seconds = 0;
  private work = new AbortController();
  private upload: ResumableUpload | null = null;

  constructor(
    readonly file: File,
    readonly study = "",
  ) {}

  get name(): string {
    return this.file.name;
  }

  get over(): boolean {
    return ["refused", "failed", "done"].includes(this.state);
  }

  async run(): Promise<void> {
    await this.guarded(async () => {
      if (this.file.size > config.maxBytes) throw new Problem({ type: "#ImageTooLarge" });
      if (await this.passesGate()) await this.sendWhole();
    });
  }

  // After the gate's refusal, or after a fault.
  async runAgain(): Promise<void> {
    this.work = new AbortController();
    this.problem = null;
    this.analyses = [];
    await this.guarded(() => this.sendWhole());
  }

  stop(): void {
    this.work.abort();
    this.upload?.forget();
    this.upload = null;
  }

  private async guarded(work: () => Promise<void>): Promise<void> {
    const started = performance.now();
    try {
      await work();
    } catch (error) {
      if (isAbort(error)) return;
      this.problem = error instanceof Problem ? error : new Problem({ detail: String(error) });
      this.to("failed");
    } finally {
      this.seconds = (performance.now() - started) / 1000;
    }
  }

  private to(state: State, step: Step = this.step): void {
    if (this.work.signal.aborted) throw aborted();
    Object.assign(this, { state, step });
    this.changed.tell();
  }

  private get road(): Road {
    return {
      signal: this.work.signal,
      onProgress: (share) => {
        this.sent = share;
        this.to("upload", "upload");
      },
      onWait: ({ status }) => this.to(status === 429 ? "crowded" : "broken"),
    };
  }

  private async passesGate(): Promise<boolean> {
    this.to("preview", "preview");
    const opened = await openHere(this.file);
    if (!opened) return this.passesGateOnServer();
    this.to("gate", "gate");
    const { signal } = this.work;
    const answer = patiently(() => sendPreview(opened.small, signal), this.road);
    answer.catch(() => null); // told below
    this.picture = opened.pixels();
    this.to("gate", "gate");
    return this.judged(await answer);
  }

  // The browser cannot show it (DICOM, TIFF): the file goes up in pieces and the server makes the preview.
  private async passesGateOnServer(): Promise<boolean> {
    this.upload = new ResumableUpload(this.file, this.study);
    await this.upload.send(this.road);
    if (/\.zip$/i.test(this.name)) return true;
    this.to("gate", "gate");
    const answer = await this.upload.preview(this.road);
    if (answer.image) this.picture = await openUrl(answer.image).catch(() => null);
    return this.judged(answer);
  }

  private judged(answer: Preview): boolean {
    this.preview = answer;
    this.to(answer.wanted ? "gate" : "refused");
    return answer.wanted;
  }

  private async sendWhole(): Promise<void> {
    this.sent = 0;
    this.to("upload", "upload");
    const accepted = await this.accepted();
    this.leftOut = accepted.errors;
    this.analyses = accepted.analyses;
    this.to("queued", "detect");
    if (this.analyses.length === 1) {
      const [first] = this.analyses as [Analysis];
      const last = await ended(first, (status) => this.to(status, "detect"), this.work.signal);
      this.analyses = [last];
      if (last.status !== "succeeded") throw problemOf(last.error);
    }
    this.to("done", "detect");
  }

  private async accepted(): Promise<Accepted> {
    const { road } = this;
    if (!this.upload && this.file.size <= IN_ONE_GO_BYTES) {
      const { study } = this;
      return patiently(() => sendFile(this.file, { ...road, wait: HOLD_S, study }), road);
    }
    this.upload ??= new ResumableUpload(this.file, this.study);
    await this.upload.send(road);
    const accepted = await this.upload.analyse(HOLD_S, road);
    this.upload = null; // it is the server's now
    return accepted;
  }
}

async function ended(
  analysis: Analysis,
  onChange: (status: "queued" | "running") => void,
  signal: AbortSignal,
): Promise<Analysis> {
  if (analysis.status !== "queued" && analysis.status !== "running") return analysis;
  return follow(analysis, ({ status }) => onChange(status === "running" ? "running" : "queued"), signal);
}

export function problemOf(error: Fault | null): Problem {
  const { type = "", message = "", hint = "" } = error ?? {};
  return new Problem({ type: `#${type}`, detail: message, hint });
}
