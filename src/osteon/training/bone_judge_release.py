"""Checkpoint of a bone judge -> ONNX with its card: compared with torch, measured on validation bones."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from osteon.datasets.crop_store import Crops
from osteon.datasets.split import Split
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.evaluation.bone_judge import bone_figures, damaged_point
from osteon.evaluation.judge import Progress
from osteon.inference.bone_judge import damage
from osteon.inference.card import Card
from osteon.inference.session import Session
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import export, parity, write_card
from osteon.training.release import Release

TOLERANCE = 1e-3
"""Largest allowed difference of torch and ONNX Runtime in the probability."""
PARITY_CROPS = 8


def release_bone_judge(
    checkpoint: Checkpoint,
    path: Path,
    about: Release,
    *,
    crops: Crops,
    split: Split,
    progress: Progress | None = None,
) -> Card:
    """Export, compare, measure on the `valid` part, and write the file with its card.

    Raises:
        ModelMismatch: another split than the training's, or torch and ONNX disagree.
        InvalidDataset: the validation part has no bones.
    """
    if split.hash != checkpoint.split_hash:
        raise ModelMismatch(
            f"the checkpoint was trained on split {checkpoint.split_hash}, not {split.hash}",
            hint="give the split of the training",
        )
    valid = crops.of(split.parts["valid"])
    if not valid:
        raise InvalidDataset("the validation part has no bones", hint="give its films' bones, too")
    draft = path.with_suffix(".draft.onnx")  # until the figures stand, a model at `path` stays as it is
    try:
        card = _draft(checkpoint, about)
        export(checkpoint, draft, card)
        shown = [crops.crop(i).astype(np.float32) / np.float32(255) for i in valid[:PARITY_CROPS]]
        largest = max(parity(checkpoint, draft, shown).largest.values())
        if largest > TOLERANCE:
            raise ModelMismatch(
                f"torch and ONNX differ by {largest:.2g} in damage", hint="report this with the versions of both"
            )
        session = Session(draft, task="bone-judge", threads=1)
        known = [i for i in valid if crops.rows[i].damage in ("damaged", "intact")]
        scores = []
        for done, index in enumerate(known, start=1):
            scores.append(damage(session, crops.crop(index)))
            if progress:
                progress("measuring the judge", done, len(known))
        rows = [crops.rows[i] for i in known]
        card = replace(card, operating_points=damaged_point(rows, scores), metrics=bone_figures(rows, scores))
        write_card(draft, path, card)
    finally:
        draft.unlink(missing_ok=True)
    return card


def _draft(checkpoint: Checkpoint, about: Release) -> Card:
    return Card(
        name=about.name,
        task="bone-judge",
        version=about.version,
        arch=checkpoint.arch,
        side_px=checkpoint.settings[checkpoint.task]["side_px"],
        labels=("damaged",),
        operating_points={},
        licence=about.licence,
        training_data=about.training_data,
        split_hash=checkpoint.split_hash,
        metrics={},
        settings={**checkpoint.settings, "epoch": checkpoint.epoch},
    )
