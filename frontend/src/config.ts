// What the server wrote into the page: catalogue, limits, and which addresses it has.

export type Language = "en" | "ru";
export type Feature =
  | "uploads"
  | "pixels"
  | "thumbnail"
  | "answers"
  | "events"
  | "seen"
  | "report.html";

interface Config {
  catalogue: Record<Language, Record<string, string>>;
  previewSide: number;
  maxBytes: number;
  features: Feature[];
  csrf: string;
  caller: { name: string; scopes: string[]; local: boolean };
}

export const config = JSON.parse(document.getElementById("config")!.textContent!) as Config;

export const has = (feature: Feature): boolean => config.features.includes(feature);
