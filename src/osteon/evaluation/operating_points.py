"""Cuts and calibration, chosen on validation pictures only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.errors import InvalidDataset
from osteon.evaluation.detection import Judged, match
from osteon.inference.card import Calibration, OperatingPoint, PictureScale

DOUBT_SENSITIVITY = 0.90
FRACTURE_SPECIFICITY = 0.95
GATE_SPECIFICITY = 0.98
LEAST_DOUBT = 0.01
LEAST_MASS = 1e-9
LEAST_RISE = 1.05
"""From `doubt` to `fracture`, of a picture's mass."""
_ROUNDING = 1e-4
"""Of a mass: so much is left for the scale's rounded numbers."""
HIT_IOU = 0.3
"""Overlap at which a box counts as pointing at a fracture, for calibration."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """How much bone the gate saw on a picture, and whether the picture is a radiograph."""

    radiograph: bool
    area_fraction: float
    confidence: float


def gate_points(pictures: Sequence[Shown]) -> dict[str, OperatingPoint]:
    """Cuts on area and confidence that turn away no radiograph of these, and at least 0.98 of the other pictures.

    Each cut stands at a share of the way up to the lowest radiograph (from 0 for the area, from one half for the
    confidence). The confidence's share is the smallest from 0.5 on, and then the area's the smallest, that reach the
    specificity, or the highest there is. For on hard films (a chest, a cast) confidence falls and area does not; one
    radiograph turned away is lost, while a photograph let through costs milliseconds.

    Raises:
        InvalidDataset: no radiographs, or no other pictures.
    """
    radiographs = [p for p in pictures if p.radiograph]
    if not radiographs or len(radiographs) == len(pictures):
        raise InvalidDataset("cuts need radiographs and other pictures", hint="add a folder of --negatives")
    area = min(p.area_fraction for p in radiographs)
    confidence = min(p.confidence for p in radiographs)
    others = np.array([(p.area_fraction, p.confidence) for p in pictures if not p.radiograph])

    def turned_away(cuts: dict[str, float]) -> float:
        return float((others < (cuts["area_fraction"], cuts["confidence"])).any(axis=1).mean())

    wanted = min(GATE_SPECIFICITY, turned_away(_cuts(area, confidence, 1, 1)))
    shares = ((of_area / 100, of_confidence / 100) for of_confidence in range(50, 101) for of_area in range(1, 101))
    ladder = (_cuts(area, confidence, *pair) for pair in shares)
    cuts = next(cuts for cuts in ladder if turned_away(cuts) >= wanted)
    measured = decision(pictures, **cuts)
    return {name: OperatingPoint(cut, measured) for name, cut in cuts.items()}


def _cuts(area: float, confidence: float, of_area: float, of_confidence: float) -> dict[str, float]:
    """Cuts at shares of the way up to an area and a confidence, never above them."""
    towards = min(confidence, 0.5 + (confidence - 0.5) * of_confidence)
    return {"area_fraction": _down(area * of_area, places=4), "confidence": _down(towards, places=4)}


def decision(pictures: Sequence[Shown], *, area_fraction: float, confidence: float) -> dict[str, float]:
    """Recall on radiographs and specificity on other pictures of "shows bone" at two cuts; counts of both kinds."""
    passes = np.array([p.area_fraction >= area_fraction and p.confidence >= confidence for p in pictures], np.bool_)
    radiograph = np.array([p.radiograph for p in pictures], np.bool_)
    figures = {"radiographs": float(radiograph.sum()), "others": float((~radiograph).sum())}
    if radiograph.any():
        figures["recall"] = round(float(passes[radiograph].mean()), 4)
    if (~radiograph).any():
        figures["specificity"] = round(float((~passes[~radiograph]).mean()), 4)
    return figures


def detector_points(pictures: Sequence[Judged]) -> dict[str, OperatingPoint]:
    """`doubt`: the highest cut whose sensitivity by picture is 0.90; `fracture`: the lowest with specificity 0.95.

    Pictures are called by their best box here; what a cut gives is measured as the pictures are scored.

    Where the two would cross, `fracture` is never below `doubt`; `doubt` is never below `LEAST_DOUBT`, even at the
    price of its sensitivity.

    Raises:
        InvalidDataset: no fractured, or no normal picture.
    """
    return {name: OperatingPoint(cut, at_cut(pictures, cut)) for name, cut in detector_cuts(pictures).items()}


def detector_cuts(pictures: Sequence[Judged]) -> dict[str, float]:
    """The thresholds of `detector_points`, not measured."""
    best = np.array([p.found.top for p in pictures], np.float64)
    fractured = np.array([p.fractured for p in pictures], np.bool_)
    if not fractured.any() or fractured.all():
        raise InvalidDataset(
            "operating points need fractured and normal pictures", hint="add normal films to the validation part"
        )
    doubt, highest = _quantiles(best, fractured)
    low = max(_down(doubt), LEAST_DOUBT)
    return {"fracture": max(_above(highest), low), "doubt": low}


def picture_scale(pictures: Sequence[Judged], cuts: Mapping[str, float]) -> PictureScale | None:
    """The scale by which pictures reach `doubt` with the sensitivity, and `fracture` with the specificity, wanted.

    Args:
        pictures: of both kinds, with the mass of their scores.
        cuts: of boxes, see `detector_cuts`.

    Returns:
        None where a picture's mass is not known, where the cuts are one, or where fractured pictures have no mass.
    """
    masses = [p.found.mass for p in pictures]
    if any(mass is None for mass in masses) or not 0 < cuts["doubt"] < cuts["fracture"] < 1:
        return None
    mass = np.maximum(np.array(masses, np.float64), LEAST_MASS)
    fractured = np.array([p.fractured for p in pictures], np.bool_)
    low, high = _quantiles(mass, fractured)
    if low <= LEAST_MASS:
        return None
    ends = np.log([low * (1 - _ROUNDING), max(high * (1 + _ROUNDING), low * LEAST_RISE)])
    logits = [math.log(cuts[name] / (1 - cuts[name])) for name in ("doubt", "fracture")]
    slope = (logits[1] - logits[0]) / float(ends[1] - ends[0])
    scale = PictureScale(round(slope, 6), round(logits[0] - slope * float(ends[0]), 6))
    scores = np.array([scale.score(float(each)) for each in mass])
    return replace(scale, calibration=fit_calibration(scores, fractured))


def scaled(pictures: Sequence[Judged], scale: PictureScale | None) -> list[Judged]:
    """The pictures, scored as a whole by a scale, or by their best box."""
    return [replace(p, found=replace(p.found, scale=scale)) for p in pictures]


def _quantiles(values: Values, fractured: NDArray[np.bool_]) -> tuple[float, float]:
    """What fractured pictures must reach for the sensitivity, and normal ones not exceed for the specificity."""
    highs, normals = np.sort(values[fractured]), np.sort(values[~fractured])
    low = highs[int(np.floor((1 - DOUBT_SENSITIVITY) * len(highs)))]
    return float(low), float(normals[int(np.ceil(FRACTURE_SPECIFICITY * len(normals))) - 1])


def _down(cut: float, *, places: int = 6) -> float:
    """Rounded down, so that the picture which set the cut still reaches it."""
    steps = 10**places
    rounded = float(np.floor(cut * steps) / steps)
    return rounded if rounded <= cut else float((np.floor(cut * steps) - 1) / steps)


def _above(score: float) -> float:
    """The next higher value with 6 places, which the picture of this score does not reach."""
    return float((np.floor(score * 1e6) + 1) / 1e6)


def at_cut(pictures: Sequence[Judged], threshold: float) -> dict[str, float]:
    """Sensitivity and specificity by picture, and precision and recall by box (IoU 0.5), at a cut."""
    called = np.array([p.found.best >= threshold for p in pictures], np.bool_)
    fractured = np.array([p.fractured for p in pictures], np.bool_)
    hits = [match(p, iou_threshold=0.5)[p.found.shown(threshold)] for p in pictures]
    boxes, true = sum(len(h) for h in hits), int(sum(h.sum() for h in hits))
    figures = {
        "sensitivity": called[fractured].mean() if fractured.any() else np.nan,
        "specificity": (~called[~fractured]).mean() if (~fractured).any() else np.nan,
        "box_precision": true / boxes if boxes else 0.0,
        "box_recall": true / max(1, sum(len(p.truth_xyxy_px) for p in pictures)),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def box_outcomes(pictures: Sequence[Judged]) -> tuple[Values, NDArray[np.bool_]]:
    """(n,) score of every box and whether it points at a fracture (IoU 0.3)."""
    scores = [p.found.scores.astype(np.float64) for p in pictures]
    hits = [match(p, iou_threshold=HIT_IOU) for p in pictures]
    return np.concatenate(scores), np.concatenate(hits)


def fit_calibration(scores: Values, hits: NDArray[np.bool_], *, steps: int = 50) -> Calibration:
    """The logistic curve over the score's logit with the highest likelihood (Platt 1999, with his smoothed targets).

    Raises:
        InvalidDataset: only hits, or none.
    """
    if not hits.any() or hits.all():
        raise InvalidDataset(
            "calibration needs boxes that hit and boxes that miss", hint="use a larger validation part"
        )
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    rows = np.stack([np.log(inside / (1 - inside)), np.ones_like(inside)], 1)
    positive, negative = int(hits.sum()), int((~hits).sum())
    wanted = np.where(hits, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(line: Values) -> float:
        return float((np.logaddexp(0, rows @ line) - wanted * (rows @ line)).sum())

    line = np.array([1.0, 0.0])
    for _ in range(steps):  # Newton's method, each step halved until it gains
        probability = 1 / (1 + np.exp(-np.clip(rows @ line, -500, 500)))
        gradient = rows.T @ (probability - wanted)
        curvature = (rows * (probability * (1 - probability))[:, None]).T @ rows + 1e-6 * np.eye(2)
        change = np.linalg.solve(curvature, gradient)
        while loss(line - change) > loss(line) and np.abs(change).max() > 1e-9:
            change = change / 2
        line = line - change
        if np.abs(change).max() < 1e-8:
            break
    return Calibration(round(float(line[0]), 6), round(float(line[1]), 6))


def calibration_error(probabilities: Values, hits: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and share of hits over equal-width bins."""
    where = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    gaps = [
        abs(float(probabilities[where == b].mean() - hits[where == b].mean())) * int((where == b).sum())
        for b in range(bins)
        if (where == b).any()
    ]
    return round(sum(gaps) / len(probabilities), 4)
