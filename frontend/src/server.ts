// Requests to the server; a refusal becomes a Problem.

import { config } from "./config";
import { GreyPicture } from "./grey";
import type { Accepted, Analysis, Answer, Bones, KeptAnswer, Page, Preview, Summary } from "./interface";

export const API = "/api/v1";
const BONES_WAIT_S = 20;

export class Problem extends Error {
  readonly kind: string;
  readonly hint: string;

  constructor(
    { type = "", detail = "", hint = "" }: { type?: string; detail?: string; hint?: string },
    readonly status = 0,
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
    this.kind = type.split("#").at(-1) ?? "";
    this.hint = hint;
  }

  // Whether the same request may succeed a little later.
  get passing(): boolean {
    return this.kind === "network" || [429, 502, 503, 504].includes(this.status);
  }
}

const networkProblem = (): Problem => new Problem({ type: "#network" });
export const aborted = (): DOMException => new DOMException("aborted", "AbortError");
export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

function signInAgain(): void {
  location.assign("/sign-in");
}

export interface Sent {
  method: string;
  path: string;
  body?: XMLHttpRequestBodyInit | null;
  headers?: Record<string, string>;
  onProgress?: (share: number) => void;
  signal?: AbortSignal | undefined;
}

// fetch cannot tell how much has been sent, XMLHttpRequest can.
export function send<T>({ method, path, body = null, headers = {}, onProgress, signal }: Sent): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted());
    const request = new XMLHttpRequest();
    request.open(method, API + path);
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (method !== "GET" && config.csrf) request.setRequestHeader("X-CSRF-Token", config.csrf);
    if (onProgress) {
      request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    }
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve(request.response as T);
      if (request.status === 401) signInAgain();
      const retry = Number(request.getResponseHeader("Retry-After"));
      reject(new Problem(request.response ?? {}, request.status, retry > 0 ? retry : null));
    });
    request.addEventListener("error", () => reject(networkProblem()));
    request.addEventListener("abort", () => reject(aborted()));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

const json = (value: unknown): Pick<Sent, "body" | "headers"> => ({
  body: JSON.stringify(value),
  headers: { "Content-Type": "application/json" },
});

export function form(file: Blob, name: string, fields: Record<string, string> = {}): FormData {
  const body = new FormData();
  body.append("file", file, name);
  for (const [key, value] of Object.entries(fields)) body.append(key, value);
  return body;
}

export interface Wanted {
  status: string;
  decision: string;
  search: string;
  unseen: boolean;
  cursor: string | null;
  limit: number;
}

export function listAnalyses({ unseen, cursor, ...wanted }: Wanted): Promise<Page> {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(wanted)) if (value) query.set(key, String(value));
  if (unseen) query.set("unseen", "true");
  if (cursor) query.set("cursor", cursor);
  return send({ method: "GET", path: `/analyses?${query}` });
}

export const readStudy = (study: string): Promise<{ analyses: Summary[] }> =>
  send({ method: "GET", path: `/studies/${encodeURIComponent(study)}` });
export const readAnalysis = (id: string): Promise<Analysis> => send({ method: "GET", path: `/analyses/${id}` });
export const removeAnalysis = (id: string): Promise<null> => send({ method: "DELETE", path: `/analyses/${id}` });
export const markSeen = (id: string, seen: boolean): Promise<null> =>
  send({ method: "PATCH", path: `/analyses/${id}`, ...json({ seen }) });

export const sendPreview = (blob: Blob, signal: AbortSignal): Promise<Preview> =>
  send({ method: "POST", path: "/previews", body: form(blob, "preview.jpg"), signal });

export const sendFile = (
  file: File,
  { wait, study, onProgress, signal }: { wait: number; study: string; onProgress: (share: number) => void; signal: AbortSignal },
): Promise<Accepted> =>
  send({
    method: "POST",
    path: `/analyses?wait=${wait}`,
    body: form(file, file.name, study ? { study } : {}),
    onProgress,
    signal,
  });

export const readAnswers = (id: string): Promise<{ answers: KeptAnswer[] }> =>
  send({ method: "GET", path: `/analyses/${id}/answers` });
export const keepAnswer = (id: string, answer: Answer): Promise<KeptAnswer> =>
  send({ method: "POST", path: `/analyses/${id}/answers`, ...json(answer) });

// Has the bones of an analysis found; the answer is held for a while.
export const askBones = (id: string): Promise<Bones> => send({ method: "POST", path: `/analyses/${id}/bones?wait=${BONES_WAIT_S}` });
export const readBones = (id: string): Promise<Bones> => send({ method: "GET", path: `/analyses/${id}/bones` });

export const endSession = (): Promise<null> => send({ method: "DELETE", path: "/session" });

export const newUpload = (name: string, size_bytes: number, study: string, signal: AbortSignal): Promise<{ id: string }> =>
  send({ method: "POST", path: "/uploads", ...json(study ? { name, size_bytes, study } : { name, size_bytes }), signal });

async function fetched(path: string): Promise<Response> {
  const response = await fetch(path).catch(() => {
    throw networkProblem();
  });
  if (!response.ok) throw new Problem(await response.json().catch(() => ({})), response.status);
  return response;
}

export const fetchSample = async (key: string): Promise<Blob> => (await fetched(`/samples/${key}`)).blob();

// The grey values of a page at full bit depth.
export async function readPixels(analysis: Analysis, page: number): Promise<GreyPicture> {
  const response = await fetched(`${analysis.links.pixels}?page=${page + 1}`);
  const { height_px, width_px, bits, low, high } = JSON.parse(response.headers.get("X-Osteon-Pixels")!);
  const content = await response.arrayBuffer();
  const samples = bits > 8 ? new Uint16Array(content) : new Uint8Array(content);
  return new GreyPicture(samples, width_px, height_px, { low, high });
}
