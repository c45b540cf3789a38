"""The curves of a report as points: precision-recall, FROC, ROC, and both kinds of error over the cut."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.detection import Judged, match, precision_recall

Points = NDArray[np.float64]
"""(n, 2) x and y."""
MOST_POINTS = 400


def precision_recall_curve(pictures: Sequence[Judged]) -> Points:
    """Recall and precision by box (IoU 0.5), on fractured pictures."""
    _, precision, recall = precision_recall([p for p in pictures if p.fractured])
    return thinned(np.stack([recall, precision], axis=1))


def froc_curve(pictures: Sequence[Judged], *, iou_threshold: float = 0.5) -> Points:
    """False positives a picture (normal ones too), and sensitivity by fracture."""
    scores = np.concatenate([p.found.scores for p in pictures] or [np.zeros(0, np.float32)])
    hits = np.concatenate([match(p, iou_threshold=iou_threshold) for p in pictures] or [np.zeros(0, np.bool_)])
    hits = hits[np.argsort(-scores, kind="mergesort")]
    truths = max(1, sum(len(p.truth_xyxy_px) for p in pictures))
    return thinned(np.stack([np.cumsum(~hits) / max(1, len(pictures)), np.cumsum(hits) / truths], axis=1))


def roc_curve(pictures: Sequence[Judged]) -> Points:
    """False positive rate and sensitivity by picture, from (0, 0) to (1, 1); equal scores are passed at once."""
    cuts = np.unique([p.found.best for p in pictures])[::-1]
    rates = [(1 - specificity, sensitivity) for sensitivity, specificity in shares_at(pictures, cuts)]
    return thinned(np.array([(0.0, 0.0), *rates, (1.0, 1.0)]))


def shares_at(pictures: Sequence[Judged], cuts: Sequence[float] | NDArray[np.floating]) -> Points:
    """(n, 2) sensitivity and specificity by picture at each cut; NaN where there is no picture of a kind."""
    best = np.array([p.found.best for p in pictures], np.float64)
    fractured = np.array([p.fractured for p in pictures], np.bool_)
    high, low = np.sort(best[fractured]), np.sort(best[~fractured])
    with np.errstate(invalid="ignore"):
        sensitivity = 1 - np.searchsorted(high, cuts, "left") / np.float64(high.size)
        specificity = np.searchsorted(low, cuts, "left") / np.float64(low.size)
    return np.stack([sensitivity, specificity], axis=1)


def thinned(points: Points, *, most: int = MOST_POINTS) -> Points:
    """No more than `most` points: evenly spaced along the curve, both ends kept."""
    if len(points) <= most:
        return points
    steps = np.abs(np.diff(points, axis=0)).sum(axis=1)
    way = np.append(0.0, np.cumsum(steps))
    chosen = np.searchsorted(way, np.linspace(0, way[-1], most))
    return np.asarray(points[np.unique(np.minimum(chosen, len(points) - 1))])
