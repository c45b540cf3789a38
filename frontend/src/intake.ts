// Files from wherever people have them: chooser, folder, camera, drop, clipboard, samples.

import { byId } from "./element";

const STUDY_FILES = 16; // a folder of more is an archive rather than a patient's study

export interface Batch {
  files: File[];
  study: string; // the same for views that belong together, else empty
}

type Take = (batches: Batch[]) => void;

export function startIntake(take: Take, takeSample: (key: string, fileName: string) => void): void {
  for (const id of ["file", "camera"]) {
    byId<HTMLInputElement>(id).addEventListener("change", (event) => {
      const input = event.target as HTMLInputElement;
      const files = [...(input.files ?? [])];
      input.value = "";
      take([loose(files)]);
    });
  }
  byId<HTMLInputElement>("folder").addEventListener("change", (event) => {
    const input = event.target as HTMLInputElement;
    const files = [...(input.files ?? [])];
    input.value = "";
    take(byFolder(files.map((file) => [file.webkitRelativePath.split("/").slice(0, -1).join("/"), file])));
  });
  startDrop(take);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take([loose(files)]);
  });
  for (const chip of document.querySelectorAll<HTMLElement>("[data-sample]")) {
    chip.addEventListener("click", () => takeSample(chip.dataset.sample!, chip.dataset.fileName!));
  }
}

function startDrop(take: Take): void {
  const over = (on: boolean): void => void document.body.classList.toggle("dropping", on);
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      over(true);
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) over(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    void dropped((event as DragEvent).dataTransfer!).then(take);
  });
}

const together = byId<HTMLInputElement>("together");

function loose(files: File[]): Batch {
  return { files, study: together.checked && files.length > 1 ? newStudy() : "" };
}

const newStudy = (): string => crypto.randomUUID?.().replaceAll("-", "") ?? String(Math.random()).slice(2);

// Files of one folder belong together, unless there are very many.
function byFolder(found: (readonly [string, File])[]): Batch[] {
  const folders = new Map<string, File[]>();
  for (const [folder, file] of found) {
    if (file.name.startsWith(".") || file.name === "DICOMDIR") continue;
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  return [...folders.values()].map((files) => ({
    files,
    study: files.length > 1 && files.length <= STUDY_FILES ? newStudy() : "",
  }));
}

async function dropped(transfer: DataTransfer): Promise<Batch[]> {
  const plain = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return [loose(plain)];
  const found = (await Promise.all(entries.map((entry) => (entry ? inside(entry) : [])))).flat();
  return byFolder(found);
}

async function inside(entry: FileSystemEntry): Promise<(readonly [string, File])[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [[entry.fullPath.split("/").slice(0, -1).join("/"), file]];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: (readonly [string, File])[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const one of some) found.push(...(await inside(one)));
  }
}
