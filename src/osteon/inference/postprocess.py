"""Model output -> boxes in image pixels and bone evidence. Training's evaluation and inference share this file."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.geometry import Boxes, Placement, iou, suppress
from osteon.inference.card import PictureScale
from osteon.preprocess import unletterbox

MOST_CANDIDATES = 1000
MOST_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Detections:
    """Scored boxes of one picture, best first.

    Attributes:
        boxes_xyxy_px: (n, 4) in image pixels.
        scores: (n,) in [0, 1].
        mass: sum of the scores of all points, also of those that are no boxes here; None: not known.
        scale: what the mass says of the picture; None: its best box speaks for it.
    """

    boxes_xyxy_px: Boxes
    scores: NDArray[np.float32]
    mass: float | None = None
    scale: PictureScale | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> float:
        """The picture's own score: by its mass, or else the highest of a box; 0 where there is no box."""
        if not len(self.scores):
            return 0.0
        by_mass = self.scale.score(self.mass) if self.scale and self.mass is not None else None
        return float(self.scores[0]) if by_mass is None else by_mass

    @property
    def top(self) -> float:
        """The highest score of a box; 0 where there is none."""
        return float(self.scores[0]) if len(self.scores) else 0.0

    def shown(self, cut: float) -> NDArray[np.bool_]:
        """(n,) the boxes that a cut shows: those that reach it, on a picture that does.

        A picture that reaches it by its mass shows its best box at least.
        """
        reach = self.scores >= cut
        if self.scale and self.mass is not None and len(self.scores):
            reach &= self.best >= cut
            reach[0] |= self.best >= cut
        return reach


def detections(
    boxes_xyxy: Boxes,
    scores: NDArray[np.float32],
    placement: Placement,
    *,
    min_score: float,
    iou_threshold: float,
    voting_iou: float | None = None,
) -> Detections:
    """Boxes of one picture after non-maximum suppression: `candidates`, then `suppressed`."""
    likely = candidates(boxes_xyxy, scores, placement, min_score=min_score)
    return suppressed(likely, iou_threshold=iou_threshold, voting_iou=voting_iou)


def candidates(boxes_xyxy: Boxes, scores: NDArray[np.float32], placement: Placement, *, min_score: float) -> Detections:
    """Boxes of one picture before any is suppressed, in image pixels: the best 1,000 of at least a pixel each way.

    Args:
        boxes_xyxy: (n, 4) in model pixels.
        scores: (n,) in [0, 1].
        placement: where the picture lies in the model's square.
        min_score: lower scores are dropped first.
    """
    likely = np.flatnonzero(scores >= min_score)
    likely = likely[np.argsort(-scores[likely], kind="stable")][:MOST_CANDIDATES]
    boxes = placement.to_image(boxes_xyxy[likely])
    wide = np.all(boxes[:, 2:] - boxes[:, :2] >= 1, axis=1)
    return Detections(boxes[wide], scores[likely][wide], float(scores.sum(dtype=np.float64)))


def suppressed(found: Detections, *, iou_threshold: float, voting_iou: float | None = None) -> Detections:
    """The best 100 boxes that non-maximum suppression leaves.

    Args:
        found: candidates of one picture, best first.
        iou_threshold: a box that overlaps a better one more than this is dropped.
        voting_iou: each box left becomes the mean, weighted by score, of all candidates that overlap it at least
            this much (box voting, Gidaris & Komodakis 2015); its score stays. None: boxes stay as they are.
    """
    kept = suppress(found.boxes_xyxy_px, found.scores, iou_threshold=iou_threshold)[:MOST_DETECTIONS]
    boxes = found.boxes_xyxy_px[kept]
    if voting_iou is not None and len(kept):
        near = iou(boxes, found.boxes_xyxy_px) >= np.float32(voting_iou)
        votes = (near * found.scores).astype(np.float64)
        votes[np.arange(len(kept)), kept] = found.scores[kept]  # its own vote, even where it has no area
        boxes = (votes @ found.boxes_xyxy_px / votes.sum(axis=1, keepdims=True)).astype(np.float32)
    return replace(found, boxes_xyxy_px=boxes, scores=found.scores[kept])


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
