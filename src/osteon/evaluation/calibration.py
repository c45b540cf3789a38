"""From score to probability: two curves, how well they hold, and on pictures that did not shape them.

The released curve is Platt's (two numbers that stand in the card). Isotonic regression bends as it likes; it is here to
see what Platt's curve gives away.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.bootstrap import Interval, wilson
from osteon.evaluation.detection import Judged
from osteon.evaluation.operating_points import Values, box_outcomes, calibration_error, fit_calibration

Flags = NDArray[np.bool_]
Curve = Callable[[Values], Values]
"""Scores -> probabilities."""
FITS = ("platt", "isotonic")
LEAST_SHOWN = 0.05
"""Probability from which on calibration is also told apart from the many boxes that nobody is shown."""


@dataclass(frozen=True)
class Bin:
    """Boxes of similar probability: how many, their mean probability, and the share that points at a fracture."""

    low: float
    high: float
    count: int
    probability: float
    share: float
    interval: Interval


def platt(scores: Values, hits: Flags) -> Curve:
    """Platt's logistic curve over the score's logit; see `fit_calibration`."""
    fitted = fit_calibration(scores, hits)

    def curve(values: Values) -> Values:
        inside = np.clip(values, 1e-6, 1 - 1e-6)
        return np.asarray(1 / (1 + np.exp(-(fitted.slope * np.log(inside / (1 - inside)) + fitted.intercept))))

    return curve


def isotonic(scores: Values, hits: Flags) -> Curve:
    """The rising step function nearest to the hits (pool adjacent violators, Zadrozny & Elkan 2002), joined by lines.

    >>> isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]))(np.array([0.1, 0.25, 0.9]))
    array([0. , 0.5, 1. ])
    """
    places, where = np.unique(scores, return_inverse=True)
    counts = np.bincount(where).astype(np.float64)
    blocks: list[tuple[float, float, int]] = []  # hits, boxes, distinct scores
    for hit, count in zip(np.bincount(where, hits), counts, strict=True):
        block = (float(hit), float(count), 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    steps = np.concatenate([np.full(size, hit / count) for hit, count, size in blocks])
    return lambda values: np.asarray(np.interp(values, places, steps), np.float64)


def fitted(name: str, scores: Values, hits: Flags) -> Curve:
    """A curve of `FITS`."""
    return {"platt": platt, "isotonic": isotonic}[name](scores, hits)


def cross_fitted(folds: Sequence[Sequence[Judged]], name: str) -> tuple[Values, Flags]:
    """The probability of every box by a curve fitted on the other folds, and whether it hits; folds in their order."""
    outcomes = [box_outcomes(fold) for fold in folds]
    probabilities = []
    for i, (scores, _) in enumerate(outcomes):
        rest = [outcome for j, outcome in enumerate(outcomes) if j != i]
        curve = fitted(name, np.concatenate([s for s, _ in rest]), np.concatenate([h for _, h in rest]))
        probabilities.append(curve(scores))
    return np.concatenate(probabilities), np.concatenate([hits for _, hits in outcomes])


def reliability(probabilities: Values, hits: Flags, *, bins: int = 10) -> tuple[Bin, ...]:
    """The reliability diagram: bins of equal width that hold boxes, with Wilson's interval of their share of hits."""
    where = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    made = []
    for b in np.unique(where):
        inside = where == b
        count, true = int(inside.sum()), int(hits[inside].sum())
        mean = float(probabilities[inside].mean())
        made.append(Bin(float(b / bins), float((b + 1) / bins), count, mean, true / count, wilson(true, count)))
    return tuple(made)


def goodness(probabilities: Values, hits: Flags, *, least: float = 0.0) -> dict[str, float]:
    """Expected calibration error, Brier score and log loss of the boxes whose probability is at least `least`.

    Nearly all boxes are unlikely ones and rightly said to be, which makes any figure over all of them look good; so
    look at those that a person is shown, too.
    """
    kept = probabilities >= least
    shown, truth = probabilities[kept], hits[kept]
    if not shown.size:
        return {"boxes": 0, "ece": math.nan, "brier": math.nan, "log_loss": math.nan}
    inside = np.clip(shown, 1e-6, 1 - 1e-6)
    return {
        "boxes": int(shown.size),
        "ece": calibration_error(shown, truth),
        "brier": round(float(((shown - truth) ** 2).mean()), 4),
        "log_loss": round(float(-np.log(np.where(truth, inside, 1 - inside)).mean()), 4),
    }


def bins_to_json(bins: Sequence[Bin]) -> list[dict[str, Any]]:
    """The diagram as JSON, to 4 places."""
    return [
        {
            "range": [round(b.low, 4), round(b.high, 4)],
            "boxes": b.count,
            "probability": round(b.probability, 4),
            "share": round(b.share, 4),
            "interval": [round(b.interval.low, 4), round(b.interval.high, 4)],
        }
        for b in bins
    ]
