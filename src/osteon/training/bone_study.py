"""The study of single bones: rows trained, measured alike and told by the same engine as those of detectors."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from osteon.evaluation import bone_records
from osteon.evaluation.bone_recording import MIN_SCORE, Evidence, record_bones
from osteon.evaluation.bone_records import BoneOrigin, BoneRecords
from osteon.evaluation.bone_study import markdown, measure, plot
from osteon.evaluation.judge import Progress
from osteon.evaluation.timing import milliseconds
from osteon.inference.bones import Cuts
from osteon.inference.card import OperatingPoint
from osteon.inference.pipeline import WEIGHTS
from osteon.inference.session import Session, read_card
from osteon.training.architectures import BONES, build
from osteon.training.bone_export import export_bones
from osteon.training.bone_release import EXPORTED, exported_bones, operating_points
from osteon.training.bone_views import class_names
from osteon.training.bones import find_bones, outlined
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import write_card
from osteon.training.pictures import load
from osteon.training.rows import BonesRow
from osteon.training.runs import Run, train_bones
from osteon.training.study import PART, Kind, Study, existing, study_card

INSTALLED = WEIGHTS / "bones.onnx"
THREADS = 2
TIMED = 12
"""Pictures that a model is timed on."""


def bones_kind(*, gate: Evidence | None = None, gate_saw: frozenset[str] | None = None) -> Kind:
    """What a study of single bones is.

    Args:
        gate: stage 1, whose mask is measured beside each row's.
        gate_saw: names of the cases that stage 1 was trained on; None: nobody said.
    """

    def measured(study: Study, row: BonesRow, progress: Progress | None) -> dict[str, Any]:
        return _measure(study, row, progress, gate=gate, gate_saw=gate_saw)

    return Kind(
        train=_train,
        measure=measured,
        markdown=markdown,
        plot=plot,
        parameters=lambda row, arch: _parameters(arch, row.bones.side_px, row.bones.classes),
        milliseconds=_timed,
        installed=INSTALLED,
    )


def _train(study: Study, row: BonesRow, run: Run, progress: Progress | None) -> Checkpoint:
    return train_bones(study.manifest, study.split, run, settings=row.bones, loop=row.loop, progress=progress)


def _measure(
    study: Study,
    row: BonesRow,
    progress: Progress | None,
    *,
    gate: Evidence | None,
    gate_saw: frozenset[str] | None,
) -> dict[str, Any]:
    """Figures of the row's model; of a reference, which is not exported, those of its checkpoint."""
    folder = study.row_folder(row)
    model = existing(study, row) if row.model else _exported(study, row)
    costs: dict[str, Any] = {}
    if model:
        session = Session(model, task="bones")
        kept = record_bones(
            session,
            study.cases,
            split_hash=study.split.hash,
            part=PART,
            gate=gate,
            gate_saw=gate_saw,
            progress=progress,
        )
        costs = {
            "model": session.ref.to_json(),
            "megabytes": round(model.stat().st_size / 1e6, 1),
            "ms": _milliseconds(model, study),
        }
    else:
        kept = _records_of_checkpoint(study, row, progress)
    bone_records.write(kept, folder / "records.jsonl.gz")
    found = measure(kept, samples=study.samples)
    if model and not row.model:
        known = {name: value for name, value in found["figures"].items() if value is not None}
        points = operating_points(Cuts(**found["cuts"]), known, kept.origin.labels)
        card = replace(read_card(model)[0], operating_points=points, metrics=known)
        write_card(model, model, card)
    return costs | found


def _exported(study: Study, row: BonesRow) -> Path | None:
    """The row's checkpoint as a model file; None for an architecture that is a reference only."""
    saved = Checkpoint.read(study.row_folder(row) / "last.pt")
    if saved.arch != EXPORTED:
        return None
    path = study.row_folder(row) / "model.onnx"
    names = class_names(row.bones.classes)
    card = study_card(study, row, saved, labels=names, operating_points={"bone": OperatingPoint(0.5)})
    export_bones(exported_bones(saved), path, card)
    return path


def _records_of_checkpoint(study: Study, row: BonesRow, progress: Progress | None) -> BoneRecords:
    saved = Checkpoint.read(study.row_folder(row) / "last.pt")
    names = class_names(row.bones.classes)
    model = build("bones", saved.arch, side_px=row.bones.side_px, classes=len(names))
    model.load_state_dict(saved.weights)
    pictures = load([case for case in study.cases if case.instances], side_px=row.bones.side_px, progress=progress)[0]
    found = find_bones(model, pictures, names, min_score=MIN_SCORE)
    origin = BoneOrigin(row.name, "study", "", names, Cuts(0.5, 0.5), MIN_SCORE, study.split.hash, PART)
    return BoneRecords(origin, tuple(outlined(picture, bones) for picture, bones in zip(pictures, found, strict=True)))


def _timed(study: Study, row: BonesRow) -> float | None:
    """Of the row's model file, whose time depends on how many bones it finds; None where it is not here."""
    model = existing(study, row) if row.model else study.row_folder(row) / "model.onnx"
    return _milliseconds(model, study) if model.is_file() else None


def _milliseconds(model: Path, study: Study) -> float:
    side_px = read_card(model)[0].side_px
    squares = [picture.square() for picture in load(list(study.cases)[:TIMED], side_px=side_px)[0]]
    return milliseconds(model, task="bones", threads=THREADS, squares=squares)


@cache
def _parameters(arch: str, side_px: int, classes: str) -> int | None:
    if arch not in BONES:
        return None
    return sum(p.numel() for p in build("bones", arch, side_px=side_px, classes=len(class_names(classes))).parameters())
