// What the reader makes of a page: each box accepted, rejected or redrawn, boxes that were missed, verdict, comment.

import type { Analysis, Answer, Box, BoxStatus, Fracture, KeptAnswer, Verdict } from "./interface";

export interface Mark {
  box: Box;
  status: BoxStatus | null; // null: not yet judged
  of: number | null; // which of Osteon's boxes; null for one that the reader added
}

export class Draft {
  verdict: Verdict | null = null;
  comment = "";
  kept: KeptAnswer | null = null;
  dirty = false;
  marks: Mark[];

  constructor(private readonly fractures: Fracture[]) {
    this.marks = this.unjudged();
  }

  private unjudged(): Mark[] {
    return this.fractures.map(({ box_xyxy_px }, of) => ({ box: box_xyxy_px, status: null, of }));
  }

  // As it was last saved.
  restore(kept: KeptAnswer): void {
    this.kept = kept;
    this.dirty = false;
    this.verdict = kept.verdict;
    this.comment = kept.comment;
    this.marks = this.unjudged();
    for (const { box_xyxy_px: box, status, of } of kept.boxes) {
      if (of !== null && this.marks[of]) this.marks[of] = { box, status, of };
      else this.marks.push({ box, status: "added", of: null });
    }
  }

  // The same judgement again takes it back.
  judge(index: number, status: "accepted" | "rejected"): void {
    const mark = this.marks[index];
    if (!mark) return;
    this.dirty = true;
    if (mark.of === null) {
      if (status === "rejected") this.marks.splice(index, 1);
      return;
    }
    const same = mark.status === status;
    this.marks[index] = { of: mark.of, box: this.fractures[mark.of]!.box_xyxy_px, status: same ? null : status };
  }

  redraw(index: number, box: Box): void {
    const mark = this.marks[index];
    if (!mark) return;
    this.dirty = true;
    this.marks[index] = { ...mark, box, status: mark.of === null ? "added" : "redrawn" };
  }

  add(box: Box): number {
    this.dirty = true;
    return this.marks.push({ box, status: "added", of: null }) - 1;
  }

  answer(page: number): Answer | null {
    if (!this.verdict) return null;
    const boxes = this.marks.flatMap(({ box, status, of }) => (status ? [{ box_xyxy_px: box, status, of }] : []));
    return { page: page + 1, verdict: this.verdict, comment: this.comment.trim(), boxes };
  }
}

const drafts = new Map<string, Draft>();

export function draftOf(analysis: Analysis, page: number): Draft {
  const key = `${analysis.id}/${page}`;
  const known = drafts.get(key);
  if (known) return known;
  const made = new Draft(analysis.pages[page]!.fractures);
  drafts.set(key, made);
  return made;
}
