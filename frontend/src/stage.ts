// The panes side by side, and what is opened in them.

import { byId, pressed } from "./element";
import { follow } from "./follow";
import type { Tool } from "./gestures";
import { type Analysis, finished, type Summary } from "./interface";
import { Pane } from "./pane";
import { isAbort, Problem, readAnalysis } from "./server";
import { Signal } from "./signal";
import { skeleton } from "./skeleton";
import type { Submission } from "./submission";

export const LAYOUTS = [1, 2, 4] as const;
export type Layout = (typeof LAYOUTS)[number];

class Stage {
  readonly changed = new Signal(); // what the active pane shows
  readonly opened = new Signal<Analysis>();
  readonly panes: Pane[] = [];
  layout: Layout = 1;
  tool: Tool = "pan";
  private at = 0;
  private readonly works = new Map<Pane, AbortController>();
  private readonly host = byId("stage");

  start(): void {
    skeleton.changed.on((id) => void this.renew(id));
    while (this.panes.length < Math.max(...LAYOUTS)) this.addPane();
    this.arrange(1);
  }

  private addPane(): void {
    const pane = new Pane();
    const index = this.panes.push(pane) - 1;
    pane.element.id = `pane-${index + 1}`;
    this.host.append(pane.element);
    const activate = (): void => this.activate(index);
    pane.element.addEventListener("pointerdown", activate, { capture: true });
    pane.element.addEventListener("focusin", activate);
    pane.boxes.chosen.on((mark) => this.select(mark, { zoom: true }));
    pane.boxes.nudged.on(({ index: mark, box }) => {
      pane.draft?.redraw(mark, box);
      pane.draw();
      this.changed.tell();
    });
    pane.gestures.wield(this.tool);
  }

  get active(): Pane {
    return this.panes[this.at]!;
  }

  get visible(): Pane[] {
    return this.panes.slice(0, this.layout);
  }

  activate(index: number): void {
    if (index === this.at) return;
    this.at = index;
    this.mark();
    this.changed.tell();
  }

  private mark(): void {
    for (const [index, pane] of this.panes.entries()) {
      pane.element.hidden = index >= this.layout;
      pane.element.classList.toggle("active", this.layout > 1 && index === this.at);
    }
  }

  // One film, two or four side by side; what no longer fits is let go.
  arrange(layout: Layout): void {
    this.layout = layout;
    this.host.dataset.layout = String(layout);
    if (this.at >= layout) {
      const { analysis, page } = this.active;
      this.at = 0;
      if (analysis) this.active.show(analysis, page);
    }
    for (const pane of this.panes.slice(layout)) if (!pane.empty) pane.clear();
    for (const one of LAYOUTS) pressed(byId(`layout-${one}`), one === layout);
    this.mark();
    this.changed.tell();
  }

  wield(tool: Tool): void {
    this.tool = tool;
    for (const pane of this.panes) pane.gestures.wield(tool);
    for (const one of ["pan", "window", "lens"]) pressed(byId(`tool-${one}`), one === tool);
  }

  async open(id: string, index = this.at): Promise<void> {
    const pane = this.panes[index]!;
    const signal = this.begin(pane);
    try {
      let analysis = await readAnalysis(id);
      if (!finished(analysis.status)) {
        this.present(pane, analysis);
        analysis = await follow(analysis, () => undefined, signal);
      }
      if (!signal.aborted) this.present(pane, analysis);
    } catch (error) {
      if (isAbort(error)) return;
      pane.clear();
      pane.problem = error instanceof Problem ? error : new Problem({ detail: String(error) });
      this.changed.tell();
    }
  }

  // Whatever was being opened in a pane gives way.
  private begin(pane: Pane): AbortSignal {
    this.works.get(pane)?.abort();
    const work = new AbortController();
    this.works.set(pane, work);
    return work.signal;
  }

  // Several views of a study, in as many panes as there are.
  async openBeside(views: Summary[]): Promise<void> {
    this.arrange(views.length > 2 ? 4 : views.length > 1 ? 2 : 1);
    for (const pane of this.panes) if (pane.analysis) pane.clear();
    await Promise.all(views.slice(0, this.layout).map(({ id }, index) => this.open(id, index)));
  }

  submit(submission: Submission): void {
    const pane = this.active;
    this.begin(pane);
    pane.clear();
    const show = (): void => {
      if (pane.submission !== submission) return;
      const [first, ...others] = submission.analyses;
      if (submission.state === "done" && first) {
        if (others.length) void this.open(first.id, this.panes.indexOf(pane));
        else this.present(pane, first);
      } else {
        pane.showSubmission(submission);
        this.changed.tell();
      }
    };
    pane.showSubmission(submission);
    submission.changed.on(show);
    show();
  }

  private present(pane: Pane, analysis: Analysis): void {
    pane.show(analysis, 0);
    this.changed.tell();
    if (finished(analysis.status)) this.opened.tell(analysis);
  }

  // Once its bones are found, the findings of an analysis say on which bone each fracture lies.
  private async renew(id: string): Promise<void> {
    const shown = this.panes.filter(({ analysis }) => analysis?.id === id);
    const known = skeleton.of(shown[0]?.analysis ?? null)?.bones;
    if (!known || shown.every(({ findings }) => findings?.bones)) return;
    const analysis = await readAnalysis(id).catch(() => null);
    if (!analysis) return;
    for (const pane of shown) pane.renew(analysis);
    this.changed.tell();
  }

  turnTo(page: number): void {
    const { analysis } = this.active;
    if (!analysis || page < 0 || page >= analysis.pages.length) return;
    this.active.show(analysis, page);
    this.changed.tell();
  }

  select(mark: number, options: { zoom?: boolean } = {}): void {
    this.active.select(mark, options);
    this.changed.tell();
  }

  step(by: number): void {
    const count = this.active.draft?.marks.length ?? 0;
    if (count) this.select((this.active.selected + by + count) % count, { zoom: true });
  }

  // What was removed is not shown any longer.
  forget(id: string): void {
    for (const pane of this.panes) if (pane.analysis?.id === id) pane.clear();
    this.changed.tell();
  }

  redraw(): void {
    for (const pane of this.panes) pane.draw();
  }
}

export const stage = new Stage();
