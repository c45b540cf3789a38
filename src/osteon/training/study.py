"""A study: every row trained as far as it is not yet, measured alike, and told as one table; that of detectors.

A folder holds the study; `rows/NAME` holds a row: its checkpoints, its model with a card, its figures. Killed at any
moment and started again it goes on with the epoch, and the row, that it was at.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from osteon.datasets.case import Case, Manifest
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError
from osteon.evaluation.detector_study import THREADS, cuts_of, markdown, measure, plot
from osteon.evaluation.judge import Progress
from osteon.evaluation.records import read as read_records
from osteon.evaluation.timing import milliseconds
from osteon.inference.card import Card
from osteon.inference.pipeline import DETECTOR_FILE
from osteon.inference.session import read_card
from osteon.training import ranks
from osteon.training.architectures import DETECTORS, build
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import BUNDLED
from osteon.training.export import export, runner, write_card
from osteon.training.loop import device
from osteon.training.rows import Row, StudyRow
from osteon.training.runs import Run, train_detector

PART = "valid"
JUDGED_ONLY = "evaluate_every"
"""The setting that changes no weights."""
Say = Callable[[str], None]
Histories = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Kind:
    """What is studied: how a row is trained, measured and told.

    Attributes:
        train: train a row in a run.
        measure: a row's model, or its checkpoint, on the cases of `valid`: what `figures.json` says.
        markdown: the study as it stands and the histories of its rows by name -> its tables.
        plot: the study and the histories of its rows by name -> a picture.
        parameters: of a row and its architecture's name, how many it has; None: not one that is trained here.
        milliseconds: of a row's model on two threads; None where it has no model file.
        installed: the model that rows call "bundled".
    """

    train: Callable[["Study", Any, Run, Progress | None], Checkpoint]
    measure: Callable[["Study", Any, Progress | None], dict[str, Any]]
    markdown: Callable[[Mapping[str, Any], Histories], str]
    plot: Callable[[Mapping[str, Any], Histories, Path], None]
    parameters: Callable[[Any, str], int | None]
    milliseconds: Callable[["Study", Any], float | None]
    installed: Path


@dataclass(frozen=True)
class Study:
    """Where a study lies, what it is made on, and how.

    Attributes:
        folder: for everything it writes.
        manifest: the data set.
        split: its parts `train` and `valid`.
        weights: files by the names that rows call their starting weights by.
        train: False: only what is trained already is measured.
        samples: of the bootstrap.
        kind: what is studied.
    """

    folder: Path
    manifest: Manifest
    split: Split
    weights: Mapping[str, str] = field(default_factory=dict)
    train: bool = True
    samples: int = 1000
    kind: Kind = field(default_factory=lambda: DETECTORS_KIND)

    @property
    def cases(self) -> Sequence[Case]:
        """That every row is measured on."""
        return self.split.select(self.manifest, PART).cases

    def row_folder(self, row: Row) -> Path:
        """Of one row."""
        return self.folder / "rows" / row.name


def run_study(
    study: Study,
    rows: Sequence[Row],
    *,
    only: Sequence[str] = (),
    say: Say = lambda _: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and measure the rows (only those named, where any is); the whole study, written after each row.

    Writes study.json, study.md and study.png. A row that was not run says so in all of them.

    Raises:
        ConfigurationError: a row was trained with other settings than it has now.
    """
    for row in rows:
        if not only or row.name in only:
            say(row.label)
            if study.train and not row.model and (has_cuda() or not row.gpu or row.name in only):
                _train(study, row, _named(progress, row.name))
            if ranks.first():
                _measure(study, row, _named(progress, row.name))
                _write(study, rows)
            ranks.wait()
    with ranks.in_turn():
        return _write(study, rows)


def time_rows(study: Study, rows: Sequence[Row], *, only: Sequence[str] = (), say: Say = lambda _: None) -> None:
    """Time the measured rows anew (only those named, where any is), one after the other on this machine.

    Rows may have been measured on several machines, or beside other work; their times can be compared only after this.
    """
    for row in rows:
        file = study.row_folder(row) / "figures.json"
        figures = _figures(file)
        if figures is None or (only and row.name not in only):
            continue
        say(row.label)
        taken = study.kind.milliseconds(study, row)
        if taken is not None:
            _put(file, json.dumps(figures | {"ms": taken}, indent=1))
    _write(study, rows)


def _named(progress: Progress | None, name: str) -> Progress | None:
    return (lambda what, done, total: progress(f"{name}: {what}", done, total)) if progress else None


def _train(study: Study, row: Row, progress: Progress | None) -> None:
    folder = study.row_folder(row)
    done = _checkpoint(study, row)
    if done and done.epoch >= row.epochs:
        return
    weights = study.weights.get(row.weights, row.weights)
    study.kind.train(study, row, Run(folder, weights, until=row.epochs_sampled), progress)


def _checkpoint(study: Study, row: Row) -> Checkpoint | None:
    """How far a row is trained; its averaged weights of the last epoch, not of the one that was best on the judges.

    Raises:
        ConfigurationError: trained with other settings, or on another split.
    """
    path = study.row_folder(row) / "last.pt"
    if not path.is_file():
        return None
    saved = Checkpoint.read(path)
    for name, mine in ((row.word, asdict(row.settings)), ("loop", asdict(row.loop))):
        theirs = saved.settings[name]
        other = sorted(key for key in mine.keys() & theirs.keys() - {JUDGED_ONLY} if mine[key] != theirs[key])
        if other:
            raise ConfigurationError(
                f"{row.name} was trained with another {', '.join(other)}",
                hint=f"give the row a new name, or remove {path}",
            )
    if saved.split_hash != study.split.hash:
        raise ConfigurationError(f"{row.name} was trained on split {saved.split_hash}", hint="study it in a new folder")
    return saved


def _measure(study: Study, row: Row, progress: Progress | None) -> None:
    """Write figures.json of a row, where there is a model and they are not there already."""
    made_of = _made_of(study, row)
    file = study.row_folder(row) / "figures.json"
    if made_of is None or (_figures(file) or {}).get("made_of") == made_of:
        return
    _put(file, json.dumps({"made_of": made_of} | study.kind.measure(study, row, progress), indent=1))


def _made_of(study: Study, row: Row) -> dict[str, Any] | None:
    """What a row's figures depend on; None where there is nothing to measure, or it has seen other pictures."""
    if row.model:
        card, ref = read_card(existing(study, row))
        known = {"sha256": ref.sha256, "split": study.split.hash, "samples": study.samples}
        return known if card.split_hash == study.split.hash else None
    saved = _checkpoint(study, row)
    if saved is None:
        return None
    sha256 = hashlib.sha256((study.row_folder(row) / "last.pt").read_bytes()).hexdigest()
    return {"epoch": saved.epoch, "sha256": sha256, "split": study.split.hash, "samples": study.samples}


def existing(study: Study, row: Row) -> Path:
    """The model file of a row that is no training."""
    return study.kind.installed if row.model == BUNDLED else Path(row.model)


def study_card(study: Study, row: Row, saved: Checkpoint, **differing: Any) -> Card:
    """The card of a row's model that is exported for its figures."""
    return Card(
        name=row.name,
        task=cast(Any, saved.task),
        version="study",
        arch=saved.arch,
        side_px=row.settings.side_px,
        licence="not released",
        training_data=study.manifest.name,
        split_hash=saved.split_hash,
        metrics={},
        settings={**saved.settings, "epoch": saved.epoch},
        **differing,
    )


def _write(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """The study as it stands, as JSON, Markdown and PNG."""
    found = {"split": study.split.hash, "part": PART, "rows": [_told(study, row) for row in rows]}
    _put(study.folder / "study.json", json.dumps(found, ensure_ascii=False) + "\n")
    histories = {row.name: _history(study.row_folder(row)) for row in rows}
    _put(study.folder / "study.md", study.kind.markdown(found, histories))
    study.kind.plot(found, histories, study.folder / "study.png")
    return found


def _told(study: Study, row: Row) -> dict[str, Any]:
    """A row as the table has it; `measured` is None where it was not run."""
    measured = _figures(study.row_folder(row) / "figures.json")
    if measured and measured["made_of"]["split"] != study.split.hash:
        measured = None
    card = read_card(existing(study, row))[0] if row.model else None
    arch = card.arch if card else row.settings.arch
    history = _history(study.row_folder(row))
    done = history[-1]["epoch"] if history else 0
    if measured and not card:
        done = measured["made_of"]["epoch"]
    return {
        "name": row.name,
        "label": row.label,
        "note": row.note,
        "arch": arch,
        "side_px": card.side_px if card else row.settings.side_px,
        "epochs": "–" if card else f"{done} of {row.loop.epochs}",
        "learning_rate": row.loop.learning_rate,
        "parameters": study.kind.parameters(row, arch),
        "status": _status(row, done, measured is not None, seen=bool(card and card.split_hash != study.split.hash)),
        "settings": row.said(),
        "measured": measured,
    }


def has_cuda() -> bool:
    """Whether rows that want a GPU find one."""
    return device().type == "cuda"


def _status(row: Row, done: int, measured: bool, *, seen: bool) -> str:
    if seen:
        return "not run: trained on another split"
    if row.model:
        return "measured as released" if measured else "not run"
    if not done:
        return "not run: wants a GPU" if row.gpu else "not run"
    if done < row.epochs:
        return f"unfinished: epoch {done} of {row.epochs}"
    return "complete" if done >= row.loop.epochs else f"sampled: {done} epochs of a schedule of {row.loop.epochs}"


def _figures(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _history(folder: Path) -> list[dict[str, Any]]:
    file = folder / "history.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def _put(file: Path, text: str) -> None:
    """Write a text whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def _train_detector(study: Study, row: StudyRow, run: Run, progress: Progress | None) -> Checkpoint:
    return train_detector(study.manifest, study.split, run, settings=row.detector, loop=row.loop, progress=progress)


def _measure_detector(study: Study, row: StudyRow, progress: Progress | None) -> dict[str, Any]:
    """Figures of the row's model, which is exported where it is a training; its cuts and figures go into its card."""
    folder = study.row_folder(row)
    model = existing(study, row) if row.model else folder / "model.onnx"
    run = None
    if not row.model:
        saved = Checkpoint.read(folder / "last.pt")
        run = runner(saved) if has_cuda() else None
        export(saved, model, study_card(study, row, saved, labels=("fracture",), operating_points={}))
    measured = measure(
        model,
        study.cases,
        folder,
        split_hash=study.split.hash,
        part=PART,
        samples=study.samples,
        run=run,
        progress=progress,
    )
    if not row.model:
        points = cuts_of(read_records(folder / "records.jsonl.gz").judged())
        known = {name: value for name, value in measured["figures"].items() if value is not None}
        write_card(model, model, replace(read_card(model)[0], operating_points=points, metrics=known))
    return measured


def _milliseconds(study: Study, row: StudyRow) -> float:
    """Of the row's model file; where only its figures are here, of the same network with random weights."""
    model = existing(study, row) if row.model else study.row_folder(row) / "model.onnx"
    with tempfile.TemporaryDirectory() as folder:
        if not model.is_file():
            model, side_px = Path(folder) / "model.onnx", row.settings.side_px
            weights = build("detector", row.settings.arch, side_px=side_px).state_dict()
            drawn = Checkpoint("detector", row.settings.arch, weights, row.said(), study.split.hash, 0, {}, {})
            export(drawn, model, study_card(study, row, drawn, labels=("fracture",), operating_points={}))
        return milliseconds(model, task="detector", threads=THREADS)


@cache
def _parameters(arch: str, side_px: int) -> int | None:
    if arch not in DETECTORS:
        return None
    return sum(p.numel() for p in build("detector", arch, side_px=side_px).parameters())


DETECTORS_KIND: Kind = Kind(
    train=_train_detector,
    measure=_measure_detector,
    markdown=lambda found, _: markdown(found),
    plot=plot,
    parameters=lambda row, arch: _parameters(arch, row.detector.side_px),
    milliseconds=_milliseconds,
    installed=DETECTOR_FILE,
)
"""Fracture detectors."""
