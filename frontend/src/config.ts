// What the server wrote into the page: catalogue, limits, who asks and what they may.

export type Language = "en" | "ru";
export type Scope = "analyse" | "read" | "answer" | "admin";

interface Config {
  catalogue: Record<Language, Record<string, string>>;
  previewSide: number;
  maxBytes: number;
  bones: boolean; // whether single bones can be found here
  csrf: string;
  caller: { name: string; scopes: Scope[]; local: boolean };
}

export const config = JSON.parse(document.getElementById("config")!.textContent!) as Config;

export const may = (scope: Scope): boolean => config.caller.scopes.includes(scope);
