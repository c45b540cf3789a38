"""The study of detectors: every row trained as far as it is not yet, measured alike, and told as one table.

A folder holds the study; `rows/NAME` holds a row: its checkpoints, its model with a card, its figures. Killed at any
moment and started again it goes on with the epoch, and the row, that it was at.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from osteon.datasets.case import Manifest
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError
from osteon.evaluation.detector_study import cuts_of, markdown, measure, plot
from osteon.evaluation.judge import Progress
from osteon.evaluation.records import read as read_records
from osteon.inference.card import Card
from osteon.inference.pipeline import DETECTOR_FILE
from osteon.inference.session import read_card
from osteon.training import ranks
from osteon.training.architectures import DETECTORS, build
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import export, write_card
from osteon.training.loop import device
from osteon.training.rows import BUNDLED, StudyRow
from osteon.training.runs import Run, train_detector

PART = "valid"
JUDGED_ONLY = "evaluate_every"
"""The setting that changes no weights."""
Say = Callable[[str], None]


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
    """

    folder: Path
    manifest: Manifest
    split: Split
    weights: Mapping[str, str] = field(default_factory=dict)
    train: bool = True
    samples: int = 1000

    def row_folder(self, row: StudyRow) -> Path:
        """Of one row."""
        return self.folder / "rows" / row.name


def run_study(
    study: Study,
    rows: Sequence[StudyRow],
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


def _named(progress: Progress | None, name: str) -> Progress | None:
    return (lambda what, done, total: progress(f"{name}: {what}", done, total)) if progress else None


def _train(study: Study, row: StudyRow, progress: Progress | None) -> None:
    folder = study.row_folder(row)
    done = _checkpoint(study, row)
    if done and done.epoch >= row.epochs:
        return
    weights = study.weights.get(row.weights, row.weights)
    run = Run(folder, weights, until=row.epochs_sampled)
    train_detector(study.manifest, study.split, run, settings=row.detector, loop=row.loop, progress=progress)


def _checkpoint(study: Study, row: StudyRow) -> Checkpoint | None:
    """How far a row is trained; its averaged weights of the last epoch, not of the one that was best on the judges.

    Raises:
        ConfigurationError: trained with other settings, or on another split.
    """
    path = study.row_folder(row) / "last.pt"
    if not path.is_file():
        return None
    saved = Checkpoint.read(path)
    for name, mine in (("detector", asdict(row.detector)), ("loop", asdict(row.loop))):
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


def _measure(study: Study, row: StudyRow, progress: Progress | None) -> None:
    """Write figures.json of a row, where there is a model and they are not there already."""
    made_of = _made_of(study, row)
    file = study.row_folder(row) / "figures.json"
    if made_of is None or (_figures(file) or {}).get("made_of") == made_of:
        return
    model = _model(study, row)
    cases = study.split.select(study.manifest, PART).cases
    measured = measure(
        model,
        cases,
        file.parent,
        split_hash=study.split.hash,
        part=PART,
        samples=study.samples,
        progress=progress,
    )
    if not row.model:
        points = cuts_of(read_records(file.parent / "records.jsonl.gz").judged())
        known = {name: value for name, value in measured["figures"].items() if value is not None}
        write_card(model, model, replace(read_card(model)[0], operating_points=points, metrics=known))
    _put(file, json.dumps({"made_of": made_of} | measured, indent=1))


def _made_of(study: Study, row: StudyRow) -> dict[str, Any] | None:
    """What a row's figures depend on; None where there is nothing to measure, or it has seen other pictures."""
    if row.model:
        card, ref = read_card(_existing(row))
        known = {"sha256": ref.sha256, "split": study.split.hash, "samples": study.samples}
        return known if card.split_hash == study.split.hash else None
    saved = _checkpoint(study, row)
    if saved is None:
        return None
    sha256 = hashlib.sha256((study.row_folder(row) / "last.pt").read_bytes()).hexdigest()
    return {"epoch": saved.epoch, "sha256": sha256, "split": study.split.hash, "samples": study.samples}


def _existing(row: StudyRow) -> Path:
    return DETECTOR_FILE if row.model == BUNDLED else Path(row.model)


def _model(study: Study, row: StudyRow) -> Path:
    """The row's model file, exported from its checkpoint where it is a training."""
    if row.model:
        return _existing(row)
    saved = Checkpoint.read(study.row_folder(row) / "last.pt")
    path = study.row_folder(row) / "model.onnx"
    card = Card(
        name=row.name,
        task="detector",
        version="study",
        arch=saved.arch,
        side_px=row.detector.side_px,
        labels=("fracture",),
        operating_points={},
        licence="not released",
        training_data=study.manifest.name,
        split_hash=saved.split_hash,
        metrics={},
        settings={**saved.settings, "epoch": saved.epoch},
    )
    export(saved, path, card)
    return path


def _write(study: Study, rows: Sequence[StudyRow]) -> dict[str, Any]:
    """The study as it stands, as JSON, Markdown and PNG."""
    found = {"split": study.split.hash, "part": PART, "rows": [_told(study, row) for row in rows]}
    _put(study.folder / "study.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    _put(study.folder / "study.md", markdown(found))
    plot(found, {row.name: _history(study.row_folder(row)) for row in rows}, study.folder / "study.png")
    return found


def _told(study: Study, row: StudyRow) -> dict[str, Any]:
    """A row as the table has it; `measured` is None where it was not run."""
    measured = _figures(study.row_folder(row) / "figures.json")
    if measured and measured["made_of"]["split"] != study.split.hash:
        measured = None
    card = read_card(_existing(row))[0] if row.model else None
    arch = card.arch if card else row.detector.arch
    history = _history(study.row_folder(row))
    done = history[-1]["epoch"] if history else 0
    if measured and not card:
        done = measured["made_of"]["epoch"]
    return {
        "name": row.name,
        "label": row.label,
        "note": row.note,
        "arch": arch,
        "side_px": card.side_px if card else row.detector.side_px,
        "epochs": "–" if card else f"{done} of {row.loop.epochs}",
        "learning_rate": row.loop.learning_rate,
        "parameters": _parameters(arch, row.detector.side_px),
        "status": _status(row, done, measured is not None, seen=bool(card and card.split_hash != study.split.hash)),
        "settings": row.said(),
        "measured": measured,
    }


def has_cuda() -> bool:
    """Whether rows that want a GPU find one."""
    return device().type == "cuda"


def _status(row: StudyRow, done: int, measured: bool, *, seen: bool) -> str:
    if seen:
        return "not run: trained on another split"
    if row.model:
        return "measured as released" if measured else "not run"
    if not done:
        return "not run: wants a GPU" if row.gpu else "not run"
    if done < row.epochs:
        return f"unfinished: epoch {done} of {row.epochs}"
    return "complete" if done >= row.loop.epochs else f"sampled: {done} epochs of a schedule of {row.loop.epochs}"


@cache
def _parameters(arch: str, side_px: int) -> int | None:
    if arch not in DETECTORS:
        return None
    return sum(p.numel() for p in build("detector", arch, side_px=side_px).parameters())


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
