// Single bones of analyses: asked of the server when somebody wants to see them, kept while the page is open.

import { may } from "./config";
import type { Analysis, Bones } from "./interface";
import { askBones, Problem, readBones } from "./server";
import { Signal } from "./signal";

const KEPT = 24;

export interface Search {
  bones: Bones | null; // null: on their way, or a problem
  problem: Problem | null;
}

class Skeleton {
  readonly changed = new Signal<string>(); // the id of an analysis
  private readonly known = new Map<string, Search>();

  of(analysis: Analysis | null): Search | null {
    return (analysis && this.known.get(analysis.id)) ?? null;
  }

  // Nothing happens where they are known or on their way; after a problem, `again` asks once more.
  async want({ id }: Analysis, { again = false } = {}): Promise<void> {
    const known = this.known.get(id);
    if (known && !(again && known.problem)) return;
    this.note(id, { bones: null, problem: null });
    try {
      let bones = may("analyse") ? await askBones(id) : await readBones(id);
      while (bones.status === "queued" || bones.status === "running") bones = await (may("analyse") ? askBones(id) : later(id));
      const { error } = bones;
      this.note(id, error ? { bones: null, problem: new Problem({ type: error.type, detail: error.message, hint: error.hint }) } : { bones, problem: null });
    } catch (error) {
      this.note(id, { bones: null, problem: error instanceof Problem ? error : new Problem({ detail: String(error) }) });
    }
  }

  private note(id: string, search: Search): void {
    this.known.delete(id);
    this.known.set(id, search);
    if (this.known.size > KEPT) this.known.delete(this.known.keys().next().value!);
    this.changed.tell(id);
  }
}

const later = (id: string): Promise<Bones> => new Promise((resolve) => setTimeout(resolve, 1000)).then(() => readBones(id));

export const skeleton = new Skeleton();
