// Requests to the server; a refusal becomes a Problem.

const API = "/api/v1";

export class Problem extends Error {
  constructor({ type = "", detail = "", hint = "" }) {
    super(detail);
    this.kind = type.split("#").pop();
    this.detail = detail;
    this.hint = hint;
  }
}

export const networkProblem = () => new Problem({ type: "#network" });

async function answer(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw networkProblem();
  }
  if (!response.ok) throw new Problem(await response.json().catch(() => ({})));
  return response;
}

function form(file, name) {
  const body = new FormData();
  body.append("file", file, name);
  return body;
}

export const readAnalysis = async (id) => (await answer(`${API}/analyses/${id}`)).json();
export const removeAnalysis = (id) => answer(`${API}/analyses/${id}`, { method: "DELETE" });
export const fetchSample = async (key) => (await answer(`/samples/${key}`)).blob();

export const sendPreview = async (blob, signal) =>
  (await answer(`${API}/previews`, { method: "POST", body: form(blob, "preview.jpg"), signal })).json();

export async function listAnalyses(cursor) {
  const query = new URLSearchParams({ limit: 8 });
  if (cursor) query.set("cursor", cursor);
  return (await answer(`${API}/analyses?${query}`)).json();
}

// fetch cannot tell how much has been sent, XMLHttpRequest can.
export function sendFile(file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${API}/analyses`);
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response.analyses[0]);
      else reject(new Problem(request.response ?? {}));
    });
    request.addEventListener("error", () => reject(networkProblem()));
    request.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form(file, file.name));
  });
}

// Server-sent events until the analysis is finished; by asking again and again where they do not come through.
export function follow(analysis, onChange, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(analysis.links.events);
    const end = () => {
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
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}

async function poll(id, onChange, signal) {
  while (!signal.aborted) {
    const analysis = await readAnalysis(id);
    if (["succeeded", "failed", "cancelled"].includes(analysis.status)) return analysis;
    onChange(analysis);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new DOMException("aborted", "AbortError");
}
