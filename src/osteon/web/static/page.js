// From a chosen file to its findings: preview in the browser, gate, full-size upload, fractures.

import { showFindings, showNothing, showProblem, showTurnedAway } from "./findings.js";
import { refresh, startRecent } from "./recent.js";
import * as server from "./server.js";
import * as viewer from "./viewer.js";
import { config, decimal, onLanguage, startLanguage, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const drop = $("drop");
const shown = { analysis: null, page: 0 };
let work = new AbortController();
let tell = () => "";

async function preview(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null; // DICOM, TIFF: the browser cannot decode it
  }
  const { width, height } = bitmap;
  const scale = Math.min(1, config.previewSide / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return { blob, width, height };
}

function step(current, state = "now") {
  const steps = [...$("steps").children];
  const index = steps.findIndex((item) => item.dataset.step === current);
  $("steps").hidden = false;
  for (const [number, item] of steps.entries()) {
    item.className = number < index ? "done" : number === index ? state : "";
    if (number === index && state === "now") item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  $("upload").hidden = !(current === "upload" && state === "now");
}

function say(key, values = () => ({})) {
  tell = () => (key ? word(key, values()) : "");
  $("state").textContent = tell();
}

function begin() {
  work.abort();
  work = new AbortController();
  shown.analysis = null;
  viewer.clear();
  $("pager").hidden = true;
  drop.classList.add("small");
  showNothing();
  say(null);
  return work.signal;
}

async function analyse(file) {
  const signal = begin();
  const started = performance.now();
  try {
    if (file.size > config.maxBytes) throw new server.Problem({ type: "#ImageTooLarge" });
    if (!(await passesGate(file, signal))) return;
    await sendAndFollow(file, signal);
    const seconds = (performance.now() - started) / 1000;
    say("state.done", () => ({ seconds: decimal(seconds, 1) }));
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    refresh();
  }
}

async function passesGate(file, signal) {
  step("preview");
  say("state.preview");
  const small = await preview(file);
  signal.throwIfAborted();
  if (!small) {
    viewer.hide();
    step("upload");
    return true;
  }
  const url = URL.createObjectURL(small.blob);
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  viewer.show(url, small.width, small.height);
  step("gate");
  say("state.gate");
  const gate = await server.sendPreview(small.blob, signal);
  if (gate.wanted) {
    viewer.showMask(gate.mask);
    return true;
  }
  step("gate", "refused");
  say(null);
  showTurnedAway(gate);
  return false;
}

async function sendAndFollow(file, signal) {
  step("upload");
  const progress = (share) => {
    $("upload").value = share * 100;
    say("state.upload", () => ({ percent: Math.floor(share * 100) }));
  };
  progress(0);
  const accepted = await server.sendFile(file, progress, signal);
  step("detect");
  say("state.queued");
  const onChange = ({ status }) => say(`state.${status === "running" ? "running" : "queued"}`);
  present(await server.follow(accepted, onChange, signal));
}

function present(analysis) {
  if (analysis.status !== "succeeded") {
    const { type = "", message = "", hint = "" } = analysis.error ?? {};
    throw new server.Problem({ type: `#${type}`, detail: message, hint });
  }
  shown.analysis = analysis;
  step("detect", analysis.decision === "not_a_radiograph" ? "refused" : "done");
  turnTo(0);
}

function turnTo(page) {
  const { analysis } = shown;
  shown.page = page;
  const findings = analysis.pages[page];
  const query = `?page=${page + 1}`;
  viewer.show(analysis.links.image + query, findings.width_px, findings.height_px);
  viewer.showMask(findings.bone.present ? analysis.links.bone + query : null);
  viewer.showFractures(findings.fractures);
  showFindings(analysis, page);
  drawPager();
}

function drawPager() {
  const pages = shown.analysis?.pages.length ?? 0;
  $("pager").hidden = pages < 2;
  $("page-number").textContent = pages ? word("viewer.page", { page: shown.page + 1, pages }) : "";
  $("page-previous").disabled = shown.page === 0;
  $("page-next").disabled = shown.page >= pages - 1;
}

function fail(error) {
  const problem = error instanceof server.Problem ? error : new server.Problem({ detail: String(error.message) });
  $("upload").hidden = true;
  for (const item of $("steps").children) if (item.className === "now") item.className = "refused";
  say(null);
  showProblem(problem);
}

async function open(id) {
  const signal = begin();
  $("steps").hidden = true;
  try {
    const analysis = await server.readAnalysis(id);
    present(["queued", "running"].includes(analysis.status) ? await server.follow(analysis, () => {}, signal) : analysis);
    $("steps").hidden = true;
    $("viewer").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error.name === "AbortError") return;
    viewer.hide();
    fail(error);
  }
}

async function analyseAll(files) {
  for (const file of files) await analyse(file);
}

async function analyseSample({ sample, fileName }) {
  begin();
  say("state.sample");
  try {
    await analyse(new File([await server.fetchSample(sample)], fileName));
  } catch (error) {
    fail(error);
  }
}

function removed(id) {
  if (shown.analysis?.id !== id) return;
  begin();
  viewer.hide();
  $("steps").hidden = true;
  say("removed");
}

function startDrop() {
  $("file").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    analyseAll(files);
  });
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) analyseAll([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) analyseAll([...event.clipboardData.files]);
  });
  for (const chip of document.querySelectorAll("[data-sample]")) {
    chip.addEventListener("click", () => analyseSample(chip.dataset));
  }
}

startLanguage();
viewer.startViewer();
viewer.onChoose((index) => viewer.select(index, { zoom: true }));
startRecent({ open, onRemoved: removed });
startDrop();
$("page-previous").addEventListener("click", () => turnTo(shown.page - 1));
$("page-next").addEventListener("click", () => turnTo(shown.page + 1));
onLanguage(() => {
  $("state").textContent = tell();
  if (shown.analysis) drawPager();
});
refresh();
