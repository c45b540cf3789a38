// The page: its parts started, and files led from wherever they come to the worklist and the film.

import "./page.css";
import { startAnswer } from "./answer";
import { announce } from "./announce";
import { startBoneList } from "./bone-list";
import { may } from "./config";
import { byId } from "./element";
import { startFindings } from "./findings";
import { type Batch, startIntake } from "./intake";
import { startKeys } from "./keys";
import { startLive } from "./live";
import { fetchSample, Problem } from "./server";
import { startSession } from "./session";
import { stage } from "./stage";
import { startStudy } from "./study";
import { Submission } from "./submission";
import { startTheme } from "./theme";
import { startTools } from "./tools";
import { counted, onLanguage, startLanguage, word } from "./words";
import { refresh, startWorklist, watch } from "./worklist";

const AT_ONCE = 2;
const queue: Submission[] = [];
let running = 0;

function take(batches: Batch[]): void {
  const made = batches.flatMap(({ files, study }) => files.map((file) => new Submission(file, study)));
  if (!made.length || !may("analyse")) return;
  for (const submission of [...made].reverse()) watch(submission);
  if (made.length > 1) announce(counted("added", made.length));
  stage.submit(made[0]!);
  document.body.dataset.view = "film";
  queue.push(...made);
  next();
}

function next(): void {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    void queue
      .shift()!
      .run()
      .finally(() => {
        running -= 1;
        void refresh();
        next();
      });
  }
}

async function takeSample(key: string, fileName: string): Promise<void> {
  byId("sample-state").textContent = word("state.sample");
  try {
    take([{ files: [new File([await fetchSample(key)], fileName)], study: "" }]);
  } catch (error) {
    stage.active.problem = error instanceof Problem ? error : new Problem({ detail: String(error) });
    stage.changed.tell();
  } finally {
    byId("sample-state").textContent = "";
  }
}

// On a phone the worklist and the film take turns.
function startViews(): void {
  document.body.dataset.view = "list";
  stage.opened.on(() => (document.body.dataset.view = "film"));
  byId("to-list").addEventListener("click", () => {
    document.body.dataset.view = "list";
    byId("worklist-title").focus();
  });
}

stage.start();
startLanguage();
startTheme();
startTools();
startFindings();
startBoneList();
startAnswer();
startStudy();
startWorklist();
startIntake(take, (key, fileName) => void takeSample(key, fileName));
startKeys();
startSession();
startViews();
startLive();
onLanguage(() => stage.redraw());
