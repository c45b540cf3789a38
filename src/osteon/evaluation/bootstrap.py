"""How sure a figure is: percentile bootstrap over pictures (Efron & Tibshirani 1993), Wilson's interval for shares.

Pictures are drawn with replacement, fractured and normal ones apart, so that every sample holds as many of each as the
data. What a detection hits does not depend on the other pictures, so boxes are matched once; a sample is then nothing
but a weight for each picture, and a figure of it a few cumulative sums.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.detection import FALSE_POSITIVE_RATES, Judged, best_iou, image_average_precision, match

COCO_IOUS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
AT_CUT = ("sensitivity", "specificity", "box_precision", "box_recall")
Weights = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """Where a figure would lie in most repetitions of the study; NaN where it has no value."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance of the ends."""
        return (self.high - self.low) / 2

    def rounded(self) -> "Interval":
        """To 4 places."""
        return Interval(round(self.low, 4), round(self.high, 4))


def wilson(successes: float, count: float, *, level: float = 0.95) -> Interval:
    """Wilson's score interval (1927) of a share; all of [0, 1] where nothing was counted.

    >>> wilson(9, 10).rounded()
    Interval(low=0.5958, high=0.9821)
    """
    if count == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = successes / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def intervals(
    judged: Sequence[Judged],
    *,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    cuts: Mapping[str, float] | None = None,
    brief: bool = False,
) -> dict[str, Interval]:
    """The interval of every figure of `detection.summary`, and of `at_cut` for each named cut.

    Sensitivity and specificity by picture are plain shares, so theirs is Wilson's, which is right near 0 and 1 too,
    where the bootstrap sees nothing to vary; all others are the bootstrap's.

    Args:
        judged: the pictures.
        samples: of the bootstrap.
        seed: the same seed, the same intervals.
        level: share of the samples inside.
        cuts: score by name, e.g. {"doubt": 0.12}; the figures at it are called "doubt.sensitivity" and so on.
        brief: only `map50` and `auroc`, in a tenth of the time.
    """
    table = MatchTable.of(judged, cuts or {}, ious=(0.5,) if brief else (0.3, *COCO_IOUS))
    figures = table.main_figures if brief else table.figures
    rng = np.random.default_rng(seed)
    names = list(figures(np.ones(len(judged), np.int64)))
    values = np.array([list(figures(drawn_weights(table.fractured, rng)).values()) for _ in range(samples)])
    found = {name: percentile(values[:, i], level) for i, name in enumerate(names)}
    for name, rows in table.at_cuts.items():
        called = rows[:, 0] > 0
        for figure, right in (("sensitivity", called[table.fractured]), ("specificity", ~called[~table.fractured])):
            if right.size:
                found[f"{name}.{figure}"] = wilson(int(right.sum()), right.size, level=level)
    return found


def drawn_weights(fractured: Flags, rng: np.random.Generator) -> Weights:
    """How often each picture is in a sample; those with and without a fracture are drawn apart."""
    weights = np.zeros(len(fractured), np.int64)
    for kind in (np.flatnonzero(fractured), np.flatnonzero(~fractured)):
        if kind.size:
            weights += np.bincount(kind[rng.integers(0, kind.size, kind.size)], minlength=len(fractured))
    return weights


def percentile(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """The ends between which this share of the known values lies; NaN where none is known."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections of some pictures, best first: (n,) picture of each, (n,) hits by IoU threshold; truths by picture."""

    picture: NDArray[np.intp]
    hits: Mapping[float, Flags]
    truths: NDArray[np.int64]

    @classmethod
    def of(cls, judged: Sequence[Judged], kept: Flags, thresholds: Sequence[float]) -> "Ranking":
        """The detections of the pictures that are `kept`."""
        chosen = [int(i) for i in np.flatnonzero(kept)]
        counts = [len(judged[i].found) for i in chosen]
        scores = np.concatenate([judged[i].found.scores for i in chosen] or [np.zeros(0, np.float32)])
        order = np.argsort(-scores, kind="mergesort")
        hits = {
            t: np.concatenate([match(judged[i], iou_threshold=t) for i in chosen] or [np.zeros(0, np.bool_)])[order]
            for t in thresholds
        }
        truths = np.array([len(p.truth_xyxy_px) if k else 0 for p, k in zip(judged, kept, strict=True)], np.int64)
        return cls(np.repeat(np.array(chosen, np.intp), counts)[order], hits, truths)

    def average_precisions(self, weights: Weights) -> dict[float, float]:
        """By IoU threshold. The precision is highest at hits, so nothing else needs to be looked at."""
        total = int(weights @ self.truths)
        boxes = weights[self.picture]
        seen = np.cumsum(boxes)
        values = {}
        for threshold, hits in self.hits.items():
            places = np.flatnonzero(hits)
            if total == 0 or places.size == 0:
                values[threshold] = 0.0
                continue
            true = np.cumsum(boxes[places])
            precision = true / np.maximum(seen[places], 1)
            envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
            where = np.searchsorted(true / total, np.linspace(0, 1, 101), side="left")
            values[threshold] = float(envelope[where].mean())
        return values

    def froc(self, weights: Weights, threshold: float) -> dict[float, float]:
        """Sensitivity by fracture at each rate of `FALSE_POSITIVE_RATES`."""
        boxes, hits = weights[self.picture], self.hits[threshold]
        true = np.append(0, np.cumsum(np.where(hits, boxes, 0))) / max(1, int(weights @ self.truths))
        false = np.cumsum(np.where(hits, 0, boxes)) / max(1, int(weights.sum()))
        return {rate: float(true[np.searchsorted(false, rate, "right")]) for rate in FALSE_POSITIVE_RATES}


@dataclass(frozen=True, eq=False)
class MatchTable:
    """What the figures of a set of pictures are made of, matched once, for any weights of the pictures.

    Attributes:
        fractured: (pictures,).
        ranking: detections of all pictures, hits at IoU 0.5.
        ranking_fractured: those of the fractured pictures, hits at 0.3 and COCO's thresholds.
        levels: (pictures,) rank of each picture's best score among all distinct ones, lowest first.
        overlaps: (fractured pictures,) IoU of the best box.
        within: (fractured pictures,) average precision within the picture.
        at_cuts: by name of a cut: (pictures, 3) called or not, boxes, and hits at IoU 0.5.
    """

    fractured: Flags
    ranking: Ranking
    ranking_fractured: Ranking
    levels: NDArray[np.intp]
    overlaps: NDArray[np.float32]
    within: NDArray[np.float32]
    at_cuts: Mapping[str, Weights]

    @classmethod
    def of(
        cls, judged: Sequence[Judged], cuts: Mapping[str, float], *, ious: Sequence[float] = (0.3, *COCO_IOUS)
    ) -> "MatchTable":
        """Match all boxes, those of fractured pictures at these IoU thresholds."""
        fractured = np.array([p.fractured for p in judged], np.bool_)
        best = np.array([p.found.best for p in judged], np.float32)
        hits = [match(p, iou_threshold=0.5) for p in judged]
        at_cuts = {}
        for name, cut in cuts.items():
            above = [p.found.shown(cut) for p in judged]
            rows = [(p.found.best >= cut, a.sum(), (h & a).sum()) for p, a, h in zip(judged, above, hits, strict=True)]
            at_cuts[name] = np.array(rows, np.int64).reshape(-1, 3)
        return cls(
            fractured,
            Ranking.of(judged, np.ones(len(judged), np.bool_), (0.5,)),
            Ranking.of(judged, fractured, ious),
            np.unique(best, return_inverse=True)[1],
            best_iou(judged, min_score=0.0),
            image_average_precision(judged),
            at_cuts,
        )

    def figures(self, weights: Weights) -> dict[str, float]:
        """Every figure where each picture counts as often as its weight says, not rounded."""
        precisions = self.ranking_fractured.average_precisions(weights)
        of_fractured = weights[self.fractured]
        drawn = self.overlaps[of_fractured > 0]
        figures = {
            "map50": precisions[0.5],
            "map50_all": self.ranking.average_precisions(weights)[0.5],
            "map50_95": float(np.mean([precisions[t] for t in COCO_IOUS])),
            "map30": precisions[0.3],
            "auroc": self._auroc(weights),
            "best_iou_mean": _share(of_fractured @ self.overlaps.astype(np.float64), of_fractured.sum(), empty=0.0),
            "best_iou_max": float(drawn.max(initial=0.0)),
            "image_map50": _share(of_fractured @ self.within.astype(np.float64), of_fractured.sum(), empty=0.0),
        }
        figures |= {f"sensitivity_at_{rate}": value for rate, value in self.ranking.froc(weights, 0.5).items()}
        for name, rows in self.at_cuts.items():
            figures |= {f"{name}.{figure}": value for figure, value in self._at_cut(weights, rows).items()}
        return figures

    def main_figures(self, weights: Weights) -> dict[str, float]:
        """mAP50 on fractured pictures and AUROC, for groups."""
        return {"map50": self.ranking_fractured.average_precisions(weights)[0.5], "auroc": self._auroc(weights)}

    def _auroc(self, weights: Weights) -> float:
        count = int(self.levels.max(initial=-1)) + 1
        positive = np.bincount(self.levels, np.where(self.fractured, weights, 0), count)
        negative = np.bincount(self.levels, np.where(self.fractured, 0, weights), count)
        below = np.cumsum(negative) - negative / 2
        return _share(positive @ below, positive.sum() * negative.sum(), empty=math.nan)

    def _at_cut(self, weights: Weights, rows: Weights) -> dict[str, float]:
        called, boxes, hits = rows.T
        sick, well = np.where(self.fractured, weights, 0), np.where(self.fractured, 0, weights)
        return {
            "sensitivity": _share(sick @ called, sick.sum(), empty=math.nan),
            "specificity": _share(well @ (1 - called), well.sum(), empty=math.nan),
            "box_precision": _share(weights @ hits, weights @ boxes, empty=0.0),
            "box_recall": float(weights @ hits / max(1, int(weights @ self.ranking.truths))),
        }


def _share(part: Any, whole: Any, *, empty: float) -> float:
    """A quotient of NumPy's numbers."""
    return float(part) / float(whole) if whole else empty
