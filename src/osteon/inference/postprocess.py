"""Model output -> boxes in image pixels and bone evidence. Training's evaluation and inference share this file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.geometry import Boxes, Placement, suppress
from osteon.preprocess import unletterbox

MOST_CANDIDATES = 1000
MOST_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Detections:
    """Scored boxes of one picture, best first: (n, 4) in image pixels and (n,) in [0, 1]."""

    boxes_xyxy_px: Boxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> float:
        """The highest score, the picture's own; 0 where there is no box."""
        return float(self.scores[0]) if len(self.scores) else 0.0


def detections(
    boxes_xyxy: Boxes, scores: NDArray[np.float32], placement: Placement, *, min_score: float, iou_threshold: float
) -> Detections:
    """Boxes of one picture after non-maximum suppression.

    Args:
        boxes_xyxy: (n, 4) in model pixels.
        scores: (n,) in [0, 1].
        placement: where the picture lies in the model's square.
        min_score: lower scores are dropped first.
        iou_threshold: a box that overlaps a better one more than this is dropped.
    """
    likely = np.flatnonzero(scores >= min_score)
    likely = likely[np.argsort(-scores[likely], kind="stable")][:MOST_CANDIDATES]
    boxes = placement.to_image(boxes_xyxy[likely])
    wide = np.all(boxes[:, 2:] - boxes[:, :2] >= 1, axis=1)
    boxes, likely = boxes[wide], likely[wide]
    kept = suppress(boxes, scores[likely], iou_threshold=iou_threshold)[:MOST_DETECTIONS]
    return Detections(boxes[kept], scores[likely][kept])


def bone_measures(probabilities: NDArray[np.float32], placement: Placement) -> tuple[NDArray[np.float32], float, float]:
    """The gate's output over the picture, the share of it that is bone, and how sure the model is of that.

    Args:
        probabilities: (side, side) bone probability over the model's square.

    Returns:
        (h, w) the part over the picture; area fraction in [0, 1]; mean probability where it exceeds one half, else 0.
    """
    over_picture = np.ascontiguousarray(unletterbox(probabilities, placement))
    bone = over_picture > 0.5
    area_fraction = float(bone.mean())
    confidence = float(over_picture[bone].mean()) if bone.any() else 0.0
    return over_picture, area_fraction, confidence
