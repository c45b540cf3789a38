"""Figures of the gate: how well it outlines bone, and whether its decision separates radiographs from the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case
from osteon.datasets.masks import has_mask, painted
from osteon.evaluation.operating_points import Shown
from osteon.evaluation.segmentation import dice_and_iou, spread
from osteon.geometry import Placement
from osteon.inference.postprocess import bone_measures


@dataclass(frozen=True)
class GateReading(Shown):
    """The gate's answer on one picture beside the truth; `dice` and `iou` are None where nobody drew a mask."""

    name: str
    body_part: str
    dice: float | None
    iou: float | None


def reading(case: Case, square: NDArray[np.float32], placement: Placement) -> GateReading:
    """The measures of one (side, side) probability map against the case's truth, at the picture's own size."""
    probabilities, area_fraction, confidence = bone_measures(square, placement)
    dice = iou = None
    if has_mask(case):
        shape = (placement.height_px, placement.width_px)
        found = cv2.resize(probabilities, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
        truth = painted(case, ignore=False, shape=shape) > 0
        unknown = (painted(case, ignore=True, shape=shape) > 0) & ~truth
        dice, iou = dice_and_iou(found, truth, ~unknown)
    return GateReading(case.radiograph, area_fraction, confidence, case.name, case.body_part, dice, iou)


def summary(readings: Sequence[GateReading]) -> dict[str, Any]:
    """Dice and IoU over the pictures with a drawn mask, by body part too."""
    drawn = [r for r in readings if r.dice is not None and r.iou is not None]
    parts = sorted({r.body_part for r in drawn})
    return {
        "dice": spread([r.dice for r in drawn if r.dice is not None]),
        "iou": spread([r.iou for r in drawn if r.iou is not None]),
        "dice_by_body_part": {
            part: spread([r.dice for r in drawn if r.dice is not None and r.body_part == part]) for part in parts
        },
    }


def separation(readings: Sequence[Shown]) -> float:
    """Share of the other pictures that show less bone (area times confidence) than every radiograph."""
    shown = np.array([r.area_fraction * r.confidence for r in readings])
    radiograph = np.array([r.radiograph for r in readings], np.bool_)
    if not radiograph.any() or radiograph.all():
        return 1.0
    return float((shown[~radiograph] < shown[radiograph].min()).mean())
