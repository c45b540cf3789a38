"""Figures of a bones model: average precision of masks, IoU of matched bones, metal, Dice of the union, by body part.

All bones are one class (anatomy-blind) but in the figures by class. "Matched" bones are those shown (at or over the
cut of bone; metal has its own) that hit a drawn one at IoU 0.5; `all_iou_mean` counts every drawn bone, with 0 for one
that nothing hit. Intervals are percentiles of a bootstrap over pictures: bones are matched once, a sample is a weight
for each picture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import IMPLANT
from osteon.evaluation.bootstrap import COCO_IOUS, Interval, Ranking, Weights, drawn_weights, percentile
from osteon.evaluation.instances import ANY, MISS, NEUTRAL, Compared, Outlined, compared, unknown_of
from osteon.evaluation.segmentation import dice_and_iou
from osteon.inference.bones import Cuts

GROUP_SAMPLES = 300
"""Of the bootstrap, for groups and classes."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one picture gives to the figures.

    Attributes:
        compared: its bones, anatomy-blind.
        matches: by IoU threshold, as `Compared.match` gives them.
        cut: least score of its class shown.
        values: Dice and IoU of the whole picture by name; NaN where it has none.
    """

    compared: Compared
    matches: Mapping[float, NDArray[np.intp]]
    cut: float
    values: Mapping[str, float]

    @property
    def matched_iou(self) -> Numbers:
        """Of the shown bones that hit a drawn one."""
        taken = np.where(self.compared.scores >= self.cut, self.matches[0.5], MISS)
        hits = np.flatnonzero(taken >= 0)
        return np.asarray(self.compared.iou[hits, taken[hits]], np.float64)

    @property
    def shown(self) -> int:
        """How many bones are shown, those that do not count left out."""
        return int(((self.compared.scores >= self.cut) & (self.matches[0.5] != NEUTRAL)).sum())


def judge(picture: Outlined, labels: Sequence[str], cuts: Cuts) -> Judgement:
    """Match a picture's bones, and measure its unions at the cuts."""
    bones = compared(picture)[ANY[0]]
    matches = {threshold: bones.match(iou_threshold=threshold) for threshold in COCO_IOUS}
    return Judgement(bones, matches, cuts.bone, _unions(picture, labels, cuts))


def _unions(picture: Outlined, labels: Sequence[str], cuts: Cuts) -> dict[str, float]:
    """Dice of the union of bones and of stage 1 against the drawn union, and IoU of metal where metal was drawn."""
    shown = [bone for bone in picture.found if cuts.show(bone)]
    (found, metal), (truth, drawn_metal) = (
        (
            picture.painted([b for b in side if b.label != IMPLANT]),
            picture.painted([b for b in side if b.label == IMPLANT]),
        )
        for side in (shown, picture.truth)
    )
    counted = ~unknown_of(picture, ANY)
    values = dict.fromkeys(
        ("union_dice", "gate_dice", "union_dice_unseen", "gate_dice_unseen", "implant_iou"), math.nan
    )
    values["union_dice"] = dice_and_iou(found, truth, counted)[0]
    if picture.gate is not None:
        values["gate_dice"] = dice_and_iou(picture.gate, truth, counted)[0]
        if picture.gate_saw is False:
            values |= {f"{name}_unseen": values[name] for name in ("union_dice", "gate_dice")}
    if IMPLANT in labels and drawn_metal.any():
        values["implant_iou"] = dice_and_iou(metal, drawn_metal, ~(picture.ignored & ~drawn_metal))[1]
    return values


@dataclass(frozen=True, eq=False)
class Table:
    """Judgements of some pictures, arranged so that figures of any weights of the pictures are quick."""

    rankings: Mapping[float, Ranking]
    matched_iou: Numbers
    matched_in: NDArray[np.intp]
    truths: Weights
    shown: Weights
    values: Mapping[str, Numbers]

    @classmethod
    def of(cls, judged: Sequence[Judgement]) -> "Table":
        """Arrange judgements."""
        overlaps = [each.matched_iou for each in judged]
        pooled = np.concatenate([*overlaps, np.zeros(0)])
        order = np.argsort(pooled, kind="stable")
        places = np.repeat(np.arange(len(judged)), [len(part) for part in overlaps])
        bones = [each.compared for each in judged]
        return cls(
            {t: ranking(bones, [each.matches[t] for each in judged], t) for t in COCO_IOUS},
            pooled[order],
            np.asarray(places[order], np.intp),
            np.array([each.compared.truths for each in judged], np.int64),
            np.array([each.shown for each in judged], np.int64),
            {name: np.array([each.values[name] for each in judged], np.float64) for name in judged[0].values},
        )

    def figures(self, weights: Weights) -> dict[str, float]:
        """Every figure where each picture counts as often as its weight says; NaN where there is nothing to measure."""
        precisions = [self.rankings[t].average_precisions(weights)[t] for t in COCO_IOUS]
        truths, shown = int(weights @ self.truths), int(weights @ self.shown)
        counts = weights[self.matched_in]
        hits, total = int(counts.sum()), float(counts @ self.matched_iou)
        drawn = self.matched_iou[counts > 0]
        figures = {
            "ap50": precisions[0] if truths else math.nan,
            "ap50_95": float(np.mean(precisions)) if truths else math.nan,
            "recall": _quotient(hits, truths),
            "precision": _quotient(hits, shown),
            "matched_iou_mean": _quotient(total, hits),
            "matched_iou_median": median(self.matched_iou, counts),
            "matched_iou_best": float(drawn.max()) if drawn.size else math.nan,
            "all_iou_mean": _quotient(total, truths),
        }
        return figures | {name: _mean(values, weights) for name, values in self.values.items()}


def ranking(bones: Sequence[Compared], matches: Sequence[NDArray[np.intp]], threshold: float) -> Ranking:
    """All detections that count, best first, and which of them hit at an IoU threshold."""
    counted = [taken != NEUTRAL for taken in matches]
    scores = np.concatenate([*(each.scores[c] for each, c in zip(bones, counted, strict=True)), np.zeros(0)])
    hits = np.concatenate([*(taken[c] >= 0 for taken, c in zip(matches, counted, strict=True)), np.zeros(0, np.bool_)])
    places = np.repeat(np.arange(len(bones), dtype=np.intp), [int(c.sum()) for c in counted])
    order = np.argsort(-scores, kind="stable")
    truths = np.array([each.truths for each in bones], np.int64)
    return Ranking(places[order], {threshold: hits[order]}, truths)


def median(values: Numbers, counts: Weights) -> float:
    """The median of rising values that stand so many times each; NaN of none.

    >>> median(np.array([0.5, 0.7, 0.9]), np.array([1, 0, 1]))
    0.7
    """
    reached, total = np.cumsum(counts), int(counts.sum())
    if not total:
        return math.nan
    low, high = np.searchsorted(reached, [(total + 1) // 2, total // 2 + 1])
    return float((values[low] + values[high]) / 2)


def best_cuts(pictures: Sequence[Outlined], labels: Sequence[str]) -> Cuts:
    """The best cut of all bones, whatever their names, and that of metal; one for both where metal is no class."""
    bone = best_cut([compared(picture)[ANY[0]] for picture in pictures])
    if IMPLANT not in labels:
        return Cuts(bone, bone)
    return Cuts(bone, best_metal_cut(pictures))


def best_metal_cut(pictures: Sequence[Outlined]) -> float:
    """The cut at which films' metal is shown best: highest mean of its IoU, 1 on films with none drawn and none shown.

    Halfway between the last score shown and the next: few films show metal, and hits at IoU 0.5 would rank cuts by
    one or two objects. 0.5 where no film shows any.
    """
    curves = [_metal_curve(picture) for picture in pictures]
    scores = np.unique([score for found, _ in curves for score in found])[::-1]
    if not len(scores) or not any(bone.label == IMPLANT for picture in pictures for bone in picture.truth):
        return 0.5
    shown = [np.searchsorted(-np.array(found), -np.append(np.inf, scores), side="right") for found, _ in curves]
    mean = np.mean([np.array(iou)[count] for (_, iou), count in zip(curves, shown, strict=True)], axis=0)
    edges = np.concatenate([[1.0], scores, [0.0]])
    best = int(mean.argmax())
    return float((edges[best] + edges[best + 1]) / 2)


def _metal_curve(picture: Outlined) -> tuple[list[float], list[float]]:
    """The scores of a film's metal, best first, and the IoU of none of it, the best, the best two ..., all."""
    metal = [bone for bone in picture.found if bone.label == IMPLANT]
    drawn = picture.painted([bone for bone in picture.truth if bone.label == IMPLANT])
    counted = ~(picture.ignored & ~drawn)
    curve = [dice_and_iou(picture.painted(metal[:count]), drawn, counted)[1] for count in range(len(metal) + 1)]
    return [bone.score for bone in metal], curve


def best_cut(bones: Sequence[Compared]) -> float:
    """The score at and over which precision and recall (IoU 0.5) are best balanced: highest F1; 0.5 if nothing hits."""
    matches = [each.match(iou_threshold=0.5) for each in bones]
    ranked = ranking(bones, matches, 0.5)
    hits = ranked.hits[0.5]
    if not hits.any():
        return 0.5
    scores = np.concatenate([each.scores[taken != NEUTRAL] for each, taken in zip(bones, matches, strict=True)])
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + int(ranked.truths.sum()))
    return math.floor(float(-np.sort(-scores)[int(f1.argmax())]) * 1e6) / 1e6


def report(
    pictures: Sequence[Outlined], labels: Sequence[str], cuts: Sequence[Cuts], *, samples: int = 1000
) -> dict[str, Any]:
    """All figures with 95% intervals, by body part and, where the model tells classes apart, by class, as JSON.

    Args:
        pictures: found and drawn, at least one.
        labels: that the model tells apart.
        cuts: least scores shown, for each picture.
        samples: of the bootstrap; groups take at most 300.
    """
    judged = [judge(picture, labels, shown_at) for picture, shown_at in zip(pictures, cuts, strict=True)]
    found = _told(pictures, judged, samples)
    fewer = min(samples, GROUP_SAMPLES)
    parts = sorted({picture.facts.body_part for picture in pictures})
    found["by_body_part"] = {}
    for part in parts if len(parts) > 1 else []:
        chosen = [i for i, picture in enumerate(pictures) if picture.facts.body_part == part]
        found["by_body_part"][part or "not told"] = _told(
            [pictures[i] for i in chosen], [judged[i] for i in chosen], fewer
        )
    if len(labels) > 1:
        found["by_class"], sure = by_class(pictures, labels, cuts, samples=fewer)
        found["intervals"]["class_ap50"] = [sure.low, sure.high]
        drawn = [row for row in found["by_class"].values() if row["drawn"]]
        for name in ("ap50", "ap50_95"):
            found["figures"][f"class_{name}"] = float(np.mean([row[name] for row in drawn])) if drawn else math.nan
    return found


def _told(pictures: Sequence[Outlined], judged: Sequence[Judgement], samples: int) -> dict[str, Any]:
    table = Table.of(judged)
    sure = intervals(table, len(judged), samples=samples)
    return {
        "pictures": len(judged),
        "bones": int(table.truths.sum()),
        "with_metal": sum(any(bone.label == IMPLANT for bone in picture.truth) for picture in pictures),
        "figures": table.figures(np.ones(len(judged), np.int64)),
        "intervals": {name: [interval.low, interval.high] for name, interval in sure.items()},
    }


def intervals(table: Table, count: int, *, samples: int, seed: int = 0) -> dict[str, Interval]:
    """Of every figure; the same seed, the same intervals."""
    rng, alike = np.random.default_rng(seed), np.ones(count, np.bool_)
    drawn = [table.figures(drawn_weights(alike, rng)) for _ in range(samples)]
    return {name: percentile(np.array([each[name] for each in drawn])) for name in drawn[0]}


def by_class(
    pictures: Sequence[Outlined], labels: Sequence[str], cuts: Sequence[Cuts], *, samples: int
) -> tuple[dict[str, dict[str, Any]], Interval]:
    """Average precision of each class, its matched IoU at the cut, and how many were drawn; NaN where none was.

    The mean IoU counts the matches with the same label only. Beside the rows: the interval of AP50's mean over classes.
    """
    classes = [compared(picture, labels) for picture in pictures]
    alike, once, rows = np.ones(len(pictures), np.bool_), np.ones(len(pictures), np.int64), {}
    together = []
    for label in labels:
        bones = [each[label] for each in classes]
        matches = {t: [each.match(iou_threshold=t) for each in bones] for t in COCO_IOUS}
        rankings = {t: ranking(bones, taken, t) for t, taken in matches.items()}
        drawn = int(rankings[0.5].truths.sum())
        precisions = [rankings[t].average_precisions(once)[t] for t in COCO_IOUS] if drawn else [math.nan]
        least = [shown_at.least(label) for shown_at in cuts]
        judged = [Judgement(b, {0.5: m}, cut, {}) for b, m, cut in zip(bones, matches[0.5], least, strict=True)]
        overlaps = np.concatenate([each.matched_iou for each in judged])
        rng = np.random.default_rng(0)
        sampled = np.array([_sampled(rankings[0.5], drawn_weights(alike, rng)) for _ in range(samples)])
        together.append(sampled)
        sure = percentile(sampled)
        rows[label] = {
            "drawn": drawn,
            "ap50": precisions[0],
            "ap50_interval": [sure.low, sure.high],
            "ap50_95": float(np.mean(precisions)),
            "recall": _quotient(overlaps.size, drawn),
            "matched_iou_mean": _quotient(float(overlaps.sum()), overlaps.size),
        }
    known = np.array([_mean(sample, np.ones(len(labels), np.int64)) for sample in np.stack(together, axis=1)])
    return rows, percentile(known)


def _sampled(ranked: Ranking, weights: Weights) -> float:
    return ranked.average_precisions(weights)[0.5] if weights @ ranked.truths else math.nan


def _mean(values: Numbers, weights: Weights) -> float:
    known = ~np.isnan(values)
    return _quotient(float(weights[known] @ values[known]), int(weights[known].sum()))


def _quotient(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
