// A file on its way in pieces; after a broken connection it goes on where the server stopped hearing.

import type { Accepted, Preview } from "./interface";
import { patiently } from "./patience";
import { newUpload, Problem, send } from "./server";

const PIECE_BYTES = 4 * 2 ** 20;

export interface Road {
  onProgress: (share: number) => void;
  onWait: (problem: Problem) => void;
  signal: AbortSignal;
}

interface Received {
  received_bytes: number;
}

export class ResumableUpload {
  private id: string | null = null;

  constructor(
    private readonly file: File,
    private readonly study: string,
  ) {}

  async send(road: Road): Promise<void> {
    const { onProgress, signal } = road;
    let broken = this.id !== null; // begun before: ask how far it came
    this.id ??= (await patiently(() => newUpload(this.file.name, this.file.size, this.study, signal), road)).id;
    let offset = 0;
    while (offset < this.file.size) {
      offset = await patiently(async () => {
        if (broken) offset = await this.heard(signal);
        if (offset >= this.file.size) return offset;
        broken = true;
        const next = await this.piece(offset, road);
        broken = false;
        return next;
      }, road);
      onProgress(offset / this.file.size);
    }
  }

  private async heard(signal: AbortSignal): Promise<number> {
    return (await send<Received>({ method: "GET", path: `/uploads/${this.id}`, signal })).received_bytes;
  }

  private async piece(offset: number, { onProgress, signal }: Road): Promise<number> {
    const body = this.file.slice(offset, offset + PIECE_BYTES);
    const answer = await send<Received>({
      method: "PATCH",
      path: `/uploads/${this.id}`,
      body,
      headers: { "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) },
      onProgress: (share) => onProgress((offset + share * body.size) / this.file.size),
      signal,
    }).catch((error: unknown) => {
      if (error instanceof Problem && error.status === 409) return send<Received>({ method: "GET", path: `/uploads/${this.id}` });
      throw error;
    });
    return answer.received_bytes;
  }

  preview(road: Road): Promise<Preview> {
    const path = `/uploads/${this.id}/preview`;
    return patiently(() => send<Preview>({ method: "POST", path, signal: road.signal }), road);
  }

  analyse(wait: number, road: Road): Promise<Accepted> {
    const path = `/uploads/${this.id}/analysis?wait=${wait}`;
    return patiently(() => send<Accepted>({ method: "POST", path, signal: road.signal }), road);
  }

  forget(): void {
    if (this.id) void send({ method: "DELETE", path: `/uploads/${this.id}` }).catch(() => null);
    this.id = null;
  }
}
