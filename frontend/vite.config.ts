// Builds the page into the Python package under fixed names, with a hash of what it was built from.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig, type Plugin } from "vite";

const ROOT = import.meta.dirname;
const SOURCES = ["package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src"];

function filesUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesUnder(join(path, name)));
}

// SHA-256 over "path NUL content NUL" of every source in the order of their paths; a Python test computes the same.
function sourcesHash(): string {
  const hash = createHash("sha256");
  const named = SOURCES.flatMap((name) => filesUnder(join(ROOT, name))).map(
    (path) => [relative(ROOT, path).split(sep).join("/"), path] as const,
  );
  for (const [name, path] of named.sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name}\0`).update(readFileSync(path)).update("\0");
  }
  return hash.digest("hex");
}

const whatItWasBuiltFrom: Plugin = {
  name: "sources",
  generateBundle() {
    const licence = readFileSync(join(ROOT, "node_modules/openseadragon/LICENSE.txt"), "utf-8");
    this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${sourcesHash()}\n` });
    this.emitFile({ type: "asset", fileName: "licences.txt", source: `page.js contains OpenSeadragon:\n\n${licence}` });
  },
};

export default defineConfig({
  root: ROOT,
  base: "/static/app/",
  plugins: [whatItWasBuiltFrom],
  build: {
    outDir: "../src/osteon/web/static/app",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    rollupOptions: {
      input: "src/main.ts",
      output: {
        entryFileNames: "page.js",
        assetFileNames: "page[extname]",
        codeSplitting: false,
      },
    },
  },
});
