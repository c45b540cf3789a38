"""Checkpoint -> released model: ONNX, figures and cuts from validation, all of it in the card."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from osteon.datasets.case import Case, Manifest
from osteon.datasets.split import Split
from osteon.errors import InvalidDataset, InvalidImage, ModelMismatch
from osteon.evaluation import detection, gate
from osteon.evaluation.judge import Progress, judge_gate, record_detector
from osteon.evaluation.operating_points import (
    box_outcomes,
    calibration_error,
    decision,
    detector_cuts,
    detector_points,
    fit_calibration,
    gate_points,
    picture_scale,
    scaled,
)
from osteon.files import read
from osteon.inference.card import Card
from osteon.inference.session import Session
from osteon.preprocess import letterbox
from osteon.training.bone_release import measured_bones
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import Parity, export, mirrored_strides, parity, write_card
from osteon.training.quantise import Square, quantise

PARITY_TOLERANCE = {"probabilities": 0.05, "boxes": 0.05, "scores": 1e-3}
"""Largest allowed difference of torch and ONNX Runtime: probabilities and scores, and pixels for boxes.

The other gates stay below 1e-5; SegNet's pooling places switch where two values nearly tie, which moved one pixel of
three pictures by 0.013.
"""
PARITY_PICTURES = 8
CALIBRATION_PICTURES = 64


@dataclass(frozen=True)
class Release:
    """What a person says of a model that its checkpoint does not know; whether it is to be made 8-bit, or mirrored."""

    name: str
    version: str
    licence: str
    training_data: str
    eight_bit: bool = False
    mirrored: bool = False


def release(
    checkpoint: Checkpoint,
    path: Path,
    about: Release,
    *,
    manifest: Manifest,
    split: Split,
    more: Sequence[Case] = (),
    progress: Progress | None = None,
) -> tuple[Card, Parity]:
    """Export, measure on the `valid` part with ONNX Runtime, choose cuts, and write the file with its card.

    Args:
        checkpoint: of a gate, a detector, or single bones (which stay in float).
        path: file to write.
        about: name, version, licence, data.
        manifest: the data set that it was trained on.
        split: the split of the training; its hash must be the checkpoint's.
        more: further pictures on which the gate's decision is measured, none of them trained on.
        progress: reporter.

    Raises:
        ConfigurationError: to be mirrored, and no detector that can be; see `export.mirrored_strides`.
        ModelMismatch: another split than the training's, or torch and ONNX disagree.
        InvalidDataset: the validation part cannot set cuts.
    """
    if checkpoint.task == "bone-judge":
        raise ModelMismatch("a bone judge is exported by its own training", hint="take bone-judge.onnx beside it")
    if split.hash != checkpoint.split_hash:
        raise ModelMismatch(
            f"the checkpoint was trained on split {checkpoint.split_hash}, not {split.hash}",
            hint="give the split file that lies beside the checkpoint",
        )
    if about.mirrored:
        mirrored_strides(checkpoint)
    cases = split.select(manifest, "valid").cases
    calibration = _calibration(split.select(manifest, "train").cases) if about.eight_bit else ()
    draft = path.with_suffix(".draft.onnx")  # until the figures stand, a model at `path` stays as it is
    try:
        card = _draft(checkpoint, about)
        if card.task == "bones":
            squares = _squares(cases, card.side_px)
            return measured_bones(checkpoint, draft, path, card, cases, squares, progress)
        difference = _exported(checkpoint, draft, card, cases, mirrored=about.mirrored)
        if calibration:
            quantise(draft, draft, _readable(calibration, card.side_px))
        measure = _gate_card if card.task == "gate" else _detector_card
        card = measure(card, Session(draft, task=card.task), cases, more, progress)
        write_card(draft, path, card)
    finally:
        draft.unlink(missing_ok=True)
    return card, difference


def _exported(checkpoint: Checkpoint, draft: Path, card: Card, cases: Sequence[Case], *, mirrored: bool) -> Parity:
    """Export to `draft`, and the proof that it says what torch says."""
    export(checkpoint, draft, card, mirrored=mirrored)
    difference = parity(checkpoint, draft, _squares(cases, card.side_px), mirrored=mirrored)
    for name, largest in difference.largest.items():
        if largest > PARITY_TOLERANCE[name]:
            raise ModelMismatch(
                f"torch and ONNX differ by {largest:.2g} in {name}", hint="report this with the versions of both"
            )
    return difference


def _calibration(cases: Sequence[Case]) -> list[Case]:
    """Training pictures that show an 8-bit model its range: a draw that holds fractured and other pictures alike."""
    rng = np.random.default_rng(0)
    kinds = [[c for c in cases if c.fractured], [c for c in cases if not c.fractured]]
    return [kind[i] for kind in kinds for i in rng.permutation(len(kind))[: CALIBRATION_PICTURES // 2]]


def _draft(checkpoint: Checkpoint, about: Release) -> Card:
    side_px = checkpoint.settings[checkpoint.task]["side_px"]
    return Card(
        name=about.name,
        task=cast(Any, checkpoint.task),
        version=about.version,
        arch=checkpoint.arch,
        side_px=side_px,
        labels=("bone",) if checkpoint.task == "gate" else ("fracture",),
        operating_points={},
        licence=about.licence,
        training_data=about.training_data,
        split_hash=checkpoint.split_hash,
        metrics={},
        settings={
            **checkpoint.settings,
            "epoch": checkpoint.epoch,
            "eight_bit": about.eight_bit,
            **({"mirrored": True} if about.mirrored else {}),
        },
    )


def _gate_card(card: Card, session: Session, cases: Sequence[Case], more: Sequence[Case], progress: Any) -> Card:
    readings = judge_gate(session, cases, progress=progress)
    figures = gate.summary(readings)
    points = gate_points(readings)
    metrics = {
        "bone_dice": figures["dice"]["mean"],
        "bone_dice_median": figures["dice"]["median"],
        "bone_iou": figures["iou"]["mean"],
        **points["area_fraction"].measured,
    }
    if more:
        cuts = {name: point.threshold for name, point in points.items()}
        elsewhere = decision(judge_gate(session, more, progress=progress), **cuts)
        metrics |= {f"further_{name}": value for name, value in elsewhere.items()}
    return replace(card, operating_points=points, metrics=metrics)


def _detector_card(card: Card, session: Session, cases: Sequence[Case], _more: Sequence[Case], progress: Any) -> Card:
    judged = record_detector(session, cases, progress=progress).judged()
    scores, hits = box_outcomes(judged)
    calibration = fit_calibration(scores, hits)
    probabilities = np.array([calibration.probability(float(score)) for score in scores])
    scale = picture_scale(judged, detector_cuts(judged))
    judged = scaled(judged, scale)
    metrics = detection.summary(judged)
    metrics |= {
        "fractured_pictures": sum(p.fractured for p in judged),
        "normal_pictures": sum(not p.fractured for p in judged),
        "calibration_error": calibration_error(probabilities, hits),
    }
    points = detector_points(judged)
    return replace(card, operating_points=points, calibration=calibration, picture=scale, metrics=metrics)


def _squares(cases: Sequence[Case], side_px: int) -> list[Square]:
    """Some pictures of several sizes, letterboxed: the first of each size, then the first of all."""
    sizes: dict[tuple[int | None, int | None], Case] = {}
    for case in cases:
        sizes.setdefault((case.height_px, case.width_px), case)
    chosen = list({id(case): case for case in (*sizes.values(), *cases)}.values())[:PARITY_PICTURES]
    if not chosen:
        raise InvalidDataset("the validation part is empty", hint="give a split with pictures in `valid`")
    return _readable(chosen, side_px)


def _readable(cases: Sequence[Case], side_px: int) -> list[Square]:
    """Letterboxed pictures; broken files are passed over."""
    squares = []
    for case in cases:
        with suppress(InvalidImage):
            squares.append(letterbox(read(case.path)[0].pixels, side_px=side_px).pixels)
    return squares
