"""Checkpoint of single bones -> released model: ONNX, compared with torch, measured on validation, with its cut."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from osteon.anatomy import IMPLANT
from osteon.datasets.case import Case
from osteon.errors import ModelMismatch
from osteon.evaluation.bone_recording import record_bones
from osteon.evaluation.instance_figures import best_cuts, report
from osteon.evaluation.judge import Progress
from osteon.geometry import iou
from osteon.inference.bones import Cuts
from osteon.inference.card import Card, OperatingPoint
from osteon.inference.session import Session
from osteon.models.bones_csp import BonesCsp
from osteon.training.architectures import build
from osteon.training.bone_export import export_bones
from osteon.training.bone_views import class_names
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import Parity, Square, write_card

EXPORTED = "bones-csp"
TOLERANCE = {"boxes": 0.05, "scores": 1e-3, "masks": 5e-3, "odds": 5e-3, "metal": 5e-3, "bone": 5e-3}
"""Largest allowed difference of torch and ONNX Runtime: model pixels, and probabilities."""
LEAST_SCORE = 0.06
"""Objects next to the model's own least score may be there for one and not for the other."""


def exported_bones(checkpoint: Checkpoint) -> BonesCsp:
    """The checkpoint's model in evaluation mode.

    Raises:
        ModelMismatch: of an architecture that is trained for comparison only.
    """
    if checkpoint.arch != EXPORTED:
        raise ModelMismatch(
            f"{checkpoint.arch} is a reference and has no export", hint=f"train with --arch {EXPORTED} to release"
        )
    names = class_names(checkpoint.settings["bones"]["classes"])
    side_px = checkpoint.settings["bones"]["side_px"]
    model = build("bones", checkpoint.arch, side_px=side_px, classes=len(names))
    model.load_state_dict(checkpoint.weights)
    return cast(BonesCsp, model.eval())


def measured_bones(
    checkpoint: Checkpoint,
    draft: Path,
    path: Path,
    card: Card,
    cases: Sequence[Case],
    squares: Sequence[Square],
    progress: Progress | None,
) -> tuple[Card, Parity]:
    """Export, compare, measure, choose the cut, and write the file with its card.

    Args:
        checkpoint: of single bones.
        draft: file that is there until the figures stand.
        path: file to write.
        card: without labels, figures and cut.
        cases: of the validation part.
        squares: some of their pictures, letterboxed.
        progress: reporter.

    Raises:
        ModelMismatch: torch and ONNX disagree.
        InvalidDataset: nobody drew bones on any case.
    """
    model = exported_bones(checkpoint)
    labels = class_names(checkpoint.settings["bones"]["classes"])
    card = replace(card, labels=labels, operating_points={"bone": OperatingPoint(0.5)})
    export_bones(model, draft, card)
    difference = bones_parity(model, draft, squares)
    for name, largest in difference.largest.items():
        if largest > TOLERANCE[name]:
            raise ModelMismatch(
                f"torch and ONNX differ by {largest:.2g} in {name}", hint="report this with the versions of both"
            )
    records = record_bones(Session(draft, task="bones"), cases, progress=progress)
    cuts = best_cuts(records.pictures, labels)
    told = report(records.pictures, labels, [cuts] * len(records.pictures), samples=200)
    figures = {name: round(value, 4) for name, value in told["figures"].items() if math.isfinite(value)}
    card = replace(
        card,
        operating_points=operating_points(cuts, figures, labels),
        metrics={"pictures": told["pictures"], "bones": told["bones"], **figures},
    )
    write_card(draft, path, card)
    return card, difference


def operating_points(cuts: Cuts, figures: Mapping[str, float], labels: Sequence[str]) -> dict[str, OperatingPoint]:
    """What a card says of the cuts and what is shown at them; of metal where it is a class."""
    measured = {"bone": ("precision", "recall", "matched_iou_mean"), "metal": ("implant_iou",)}
    points = {
        kind: OperatingPoint(cut, {name: figures[name] for name in measured[kind] if name in figures})
        for kind, cut in cuts._asdict().items()
    }
    return points if IMPLANT in labels else {"bone": points["bone"]}


@torch.inference_mode()
def bones_parity(model: BonesCsp, path: Path, squares: Sequence[Square]) -> Parity:
    """Run both on (side, side) float32 pictures and compare box by box; an object that only one finds differs by 1.

    Objects are paired by their boxes, as nearly equal scores may change places.
    """
    session = Session(path, task="bones")
    largest = dict.fromkeys(TOLERANCE, 0.0)
    for square in squares:
        said = model.instances(torch.from_numpy(square)[None, None])[0]
        mine = [value.numpy() for value in said if value is not None]
        named = session.named(square)
        theirs = list(named.values())
        for name, ours in (("metal", said.metal), ("bone", said.bone)):
            if ours is not None:
                largest[name] = max(largest[name], float(np.abs(ours.numpy() - named[name]).max()))
        sure = [np.flatnonzero(each[1] > LEAST_SCORE) for each in (mine, theirs)]
        if len(sure[0]) != len(sure[1]):
            largest["scores"] = max(largest["scores"], 1.0)
            continue
        if not len(sure[0]):
            continue
        pairs = iou(np.asarray(mine[0][sure[0]], np.float32), np.asarray(theirs[0][sure[1]], np.float32))
        other = sure[1][pairs.argmax(axis=1)]
        for name, index in (("boxes", 0), ("scores", 1), ("masks", 3), ("odds", 4)):
            distance = np.abs(mine[index][sure[0]] - theirs[index][other])
            largest[name] = max(largest[name], float(distance.max()))
    return Parity(len(squares), largest)
