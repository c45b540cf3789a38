"""Figures of a fracture detector: average precision, FROC, image-level ROC. NumPy only.

Matching follows COCO (Lin et al. 2014): detections of a picture in order of score, each takes the free truth box it
overlaps most if that is at least the IoU threshold. Average precision is the mean of 101 interpolated precisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.geometry import Boxes, iou
from osteon.inference.postprocess import Detections

Flags = NDArray[np.bool_]
Scores = NDArray[np.float32]
FALSE_POSITIVE_RATES = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Judged:
    """One picture's detections beside its truth: (k, 4) boxes in image pixels, none for a normal picture."""

    name: str
    found: Detections
    truth_xyxy_px: Boxes

    @property
    def fractured(self) -> bool:
        """The truth holds a fracture."""
        return len(self.truth_xyxy_px) > 0


def match(judged: Judged, *, iou_threshold: float) -> Flags:
    """(n,) whether each detection, best first, hits a truth box that none before it has taken."""
    overlaps = iou(judged.found.boxes_xyxy_px, judged.truth_xyxy_px)
    hits = np.zeros(len(judged.found), np.bool_)
    free = np.ones(len(judged.truth_xyxy_px), np.bool_)
    for i, row in enumerate(overlaps):
        choices = np.where(free, row, -1)
        if choices.size and choices.max() >= np.float32(iou_threshold):
            hits[i] = True
            free[int(choices.argmax())] = False
    return hits


def _pooled(pictures: Sequence[Judged], iou_threshold: float) -> tuple[Scores, Flags, int]:
    scores = [p.found.scores for p in pictures]
    hits = [match(p, iou_threshold=iou_threshold) for p in pictures]
    truths = sum(len(p.truth_xyxy_px) for p in pictures)
    if not scores:
        return np.zeros(0, np.float32), np.zeros(0, np.bool_), truths
    pooled = np.concatenate(scores)
    order = np.argsort(-pooled, kind="mergesort")
    return pooled[order], np.concatenate(hits)[order], truths


def average_precision(pictures: Sequence[Judged], *, iou_threshold: float = 0.5) -> float:
    """COCO average precision of one class; 0 where there is no truth."""
    _, hits, truths = _pooled(pictures, iou_threshold)
    if truths == 0 or hits.size == 0:
        return 0.0
    true = np.cumsum(hits)
    recall = true / truths
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    where = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    padded = np.append(envelope, 0.0)
    return float(padded[np.minimum(where, len(envelope))].mean())


def mean_average_precision(pictures: Sequence[Judged]) -> float:
    """COCO mAP: the mean over IoU thresholds 0.50, 0.55, ... 0.95."""
    return float(np.mean([average_precision(pictures, iou_threshold=t) for t in np.linspace(0.5, 0.95, 10)]))


def precision_recall(pictures: Sequence[Judged], *, iou_threshold: float = 0.5) -> tuple[Scores, Scores, Scores]:
    """(scores, precision, recall) at every cut, highest score first."""
    scores, hits, truths = _pooled(pictures, iou_threshold)
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    return scores, precision.astype(np.float32), (true / max(1, truths)).astype(np.float32)


def froc(
    pictures: Sequence[Judged], *, rates: Sequence[float] = FALSE_POSITIVE_RATES, iou_threshold: float = 0.5
) -> dict[float, float]:
    """Sensitivity by fracture at each mean number of false positives a picture (all pictures, normal ones too)."""
    _, hits, truths = _pooled(pictures, iou_threshold)
    false = np.cumsum(~hits) / max(1, len(pictures))
    true = np.cumsum(hits) / max(1, truths)
    return {rate: float(true[false <= rate].max(initial=0.0)) for rate in rates}


def auroc(scores: NDArray[np.floating], positive: Flags) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative (ties count half)."""
    high, low = scores[positive], scores[~positive]
    if high.size == 0 or low.size == 0:
        return float("nan")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / low.size)


def image_auroc(pictures: Sequence[Judged]) -> float:
    """AUROC of "has a fracture" by each picture's best score."""
    scores = np.array([p.found.best for p in pictures], np.float32)
    return auroc(scores, np.array([p.fractured for p in pictures], np.bool_))


def best_iou(pictures: Sequence[Judged], *, min_score: float) -> NDArray[np.float32]:
    """(fractured pictures,) IoU of the best box: the highest overlap of a truth with the picture's top detection.

    The measure of the work Osteon builds on; 0 where nothing reaches `min_score`.
    """
    values = []
    for picture in pictures:
        if picture.fractured:
            top = picture.found.boxes_xyxy_px[:1][picture.found.scores[:1] >= min_score]
            values.append(float(iou(top, picture.truth_xyxy_px).max(initial=0.0)))
    return np.array(values, np.float32)


def image_average_precision(pictures: Sequence[Judged], *, iou_threshold: float = 0.5) -> NDArray[np.float32]:
    """(fractured pictures,) average precision within each picture alone; its mean is a measure of that work too."""
    values = [average_precision([p], iou_threshold=iou_threshold) for p in pictures if p.fractured]
    return np.array(values, np.float32)


def summary(pictures: Sequence[Judged]) -> dict[str, float]:
    """The figures of a table row: AP and IoU of the best box on fractured pictures, FROC and AUROC on all."""
    fractured = [p for p in pictures if p.fractured]
    overlaps = best_iou(fractured, min_score=0.0)
    figures = {
        "map50": average_precision(fractured),
        "map50_all": average_precision(pictures),
        "map50_95": mean_average_precision(fractured),
        "map30": average_precision(fractured, iou_threshold=0.3),
        "auroc": image_auroc(pictures),
        "best_iou_mean": _mean(overlaps),
        "best_iou_max": float(overlaps.max(initial=0.0)),
        "image_map50": _mean(image_average_precision(fractured)),
    }
    figures |= {f"sensitivity_at_{rate}": value for rate, value in froc(pictures).items()}
    return {name: round(value, 4) for name, value in figures.items()}


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
