"""Cross-validation read as one: every picture judged by the model that did not see it.

Folds pool into one set of out-of-fold pictures, on which cuts and calibration are chosen. What is chosen on pictures
looks a little too good on them, so each choice is also made on the other folds and measured on the one left out
(`cross_fitted`): those are the honest figures. Scores of different folds come from different models; pooling takes them
to mean the same, which the spread of the folds' own cuts shows or refutes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

import numpy as np

from osteon.errors import InvalidDataset
from osteon.evaluation import gallery, groups
from osteon.evaluation.bootstrap import Interval, intervals, wilson
from osteon.evaluation.calibration import FITS, LEAST_SHOWN, bins_to_json, cross_fitted, goodness, reliability
from osteon.evaluation.detection import Judged, image_auroc, summary
from osteon.evaluation.operating_points import (
    at_cut,
    box_outcomes,
    detector_cuts,
    detector_points,
    fit_calibration,
    picture_scale,
    scaled,
)
from osteon.evaluation.records import Records
from osteon.inference.card_text import ends_text, group_table

Folds = Mapping[str, Sequence[Judged]]
WORST = 30
"""Misses, and false alarms, that a report names."""


def named(parts: Sequence[Records]) -> dict[str, list[Judged]]:
    """The judged pictures of each file by the name of its part; by number where parts have none.

    Raises:
        InvalidDataset: fewer than two, or two of one name.
    """
    names = fold_names([(records.origin.part, records.origin.split_hash) for records in parts])
    return {name: records.judged() for name, records in zip(names, parts, strict=True)}


def fold_names(origins: Sequence[tuple[str, str]]) -> list[str]:
    """The names of folds by the part and split that each is of; numbers where they have none.

    Raises:
        InvalidDataset: fewer than two, two of one name, or of different splits.
    """
    names = [part or f"fold{number}" for number, (part, _) in enumerate(origins, start=1)]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidDataset(
            f"{len(names)} folds named {', '.join(names) or 'nothing'}; expected two or more, each of its own",
            hint="give one file of records for each fold",
        )
    splits = {split for _, split in origins}
    if len(splits) > 1:
        raise InvalidDataset(
            f"the folds are of {len(splits)} splits: {', '.join(sorted(splits))}",
            hint="folds of different splits share pictures; give those of one cross-validation",
        )
    return names


def refuse_twice(names: Sequence[str]) -> None:
    """Raises InvalidDataset where a picture is in two folds, so one model has seen what it is judged on."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidDataset(
            f"{len(twice)} pictures are in more than one fold, e.g. {twice[0]}",
            hint="give the validation parts of one cross-validation",
        )


def pooled(folds: Folds) -> list[Judged]:
    """All out-of-fold pictures.

    Raises:
        InvalidDataset: a picture is in two folds, so one model has seen what it is judged on.
    """
    together = [picture for fold in folds.values() for picture in fold]
    refuse_twice([picture.name for picture in together])
    return together


def by_fold(folds: Folds) -> dict[str, Any]:
    """The figures of each fold, their mean and their spread (standard deviation over folds)."""
    rows: list[dict[str, Any]] = [
        {"fold": name, "pictures": len(fold), "fractured": sum(p.fractured for p in fold)} | summary(fold)
        for name, fold in folds.items()
    ]
    figures = list(rows[0])[3:]
    columns = {figure: [float(row[figure]) for row in rows] for figure in figures}
    return {
        "folds": rows,
        "mean": {figure: round(fmean(values), 4) for figure, values in columns.items()},
        "spread": {figure: round(stdev(values), 4) for figure, values in columns.items()},
    }


def operating_points(folds: Folds, *, samples: int = 1000) -> dict[str, Any]:
    """The cuts of `detector_points` on all folds, what they give with intervals, and what cross-fitted cuts give.

    Pictures are called by the scale that they have on all folds, and by that of the others where cuts are cross-fitted.
    """
    together = pooled(folds)
    points = detector_points(together)
    sure = intervals(together, samples=samples, cuts={name: point.threshold for name, point in points.items()})
    chosen = _chosen_on_others(folds)
    found = {}
    for name, point in points.items():
        found[name] = {
            "threshold": point.threshold,
            "measured": dict(point.measured),
            "intervals": {figure: pair(sure[f"{name}.{figure}"]) for figure in point.measured},
            "cross_fitted": _cross_fitted(chosen, name),
        }
    return found


def _chosen_on_others(folds: Folds) -> list[tuple[dict[str, float], list[Judged]]]:
    """For each fold the cuts that the other folds choose, and its pictures on the other folds' scale."""
    chosen = []
    for left_out, pictures in folds.items():
        rest = [p for fold, others in folds.items() if fold != left_out for p in others]
        cuts = detector_cuts(rest)
        chosen.append((cuts, scaled(pictures, picture_scale(rest, cuts))))
    return chosen


def _cross_fitted(chosen: Sequence[tuple[dict[str, float], list[Judged]]], name: str) -> dict[str, Any]:
    """A cut chosen on the other folds, measured on each fold: counts summed over all."""
    called = {True: [0, 0], False: [0, 0]}
    for cuts, pictures in chosen:
        for picture in pictures:
            called[picture.fractured][0] += int((picture.found.best >= cuts[name]) == picture.fractured)
            called[picture.fractured][1] += 1
    figures: dict[str, Any] = {"cuts": [cuts[name] for cuts, _ in chosen]}
    for figure, (agreed, count) in (("sensitivity", called[True]), ("specificity", called[False])):
        figures[figure] = round(agreed / count, 4)
        figures[f"{figure}_interval"] = pair(wilson(agreed, count))
    return figures


def calibration(folds: Folds) -> dict[str, Any]:
    """Platt's curve for the card, fitted on all folds, and both curves judged on boxes that did not shape them."""
    chosen = fit_calibration(*box_outcomes(pooled(folds)))
    found: dict[str, Any] = {"platt": {"slope": chosen.slope, "intercept": chosen.intercept}, "cross_fitted": {}}
    for name in FITS:
        probabilities, hits = cross_fitted(list(folds.values()), name)
        found["cross_fitted"][name] = {
            "all": goodness(probabilities, hits),
            "shown": goodness(probabilities, hits, least=LEAST_SHOWN),
            "bins": bins_to_json(reliability(probabilities, hits)),
        }
    return found


def _picture_calibration(folds: Folds) -> dict[str, float] | None:
    """How well the pictures' probabilities hold, each by the scale and curve of the other folds; None: one has none."""
    pictures = [p for _, fold in _chosen_on_others(folds) for p in fold]
    curves = [p.found.scale.calibration if p.found.scale else None for p in pictures]
    told = [curve.probability(p.found.best) for p, curve in zip(pictures, curves, strict=True) if curve]
    if len(told) < len(pictures):
        return None
    held = goodness(np.array(told), np.array([p.fractured for p in pictures], np.bool_))
    return {name: held[name] for name in ("ece", "brier", "log_loss")}


def _by_best_box(pictures: Sequence[Judged], points: Mapping[str, Any]) -> dict[str, Any]:
    """AUROC, and sensitivity and specificity at the cuts, where each picture has the score of its best box."""
    at_cuts = {name: at_cut(pictures, point["threshold"]) for name, point in points.items()}
    kept = {
        name: {figure: value[figure] for figure in ("sensitivity", "specificity")} for name, value in at_cuts.items()
    }
    return {"auroc": round(image_auroc(pictures), 4), **kept}


def _calibration_if_any(folds: Folds) -> dict[str, Any] | None:
    try:
        return calibration(folds)
    except InvalidDataset:  # boxes that all hit, or all miss, cannot shape a curve; the other figures stand
        return None


def report(parts: Sequence[Records], *, samples: int = 1000) -> dict[str, Any]:
    """All of this as JSON: by fold, pooled with intervals, cuts, calibration (None: it cannot be fitted), figures by
    group, and the worst misses and false alarms, both at the pooled cut `doubt`.

    Args:
        parts: records of each fold's own model on its fold.
        samples: of the bootstrap; groups take at most 300.
    """
    plain = named(parts)
    by_boxes = pooled(plain)
    scale = picture_scale(by_boxes, detector_cuts(by_boxes))
    made = {name: scaled(fold, scale) for name, fold in plain.items()}
    together = pooled(made)
    sure, figures = intervals(together, samples=samples), summary(together)
    points = operating_points(made, samples=samples)
    return {
        "split": parts[0].origin.split_hash,
        "models": [asdict(records.origin) for records in parts],
        "pictures": len(together),
        "fractured": sum(p.fractured for p in together),
        "by_fold": by_fold(made),
        "pooled": figures,
        "intervals": {name: pair(sure[name]) for name in figures},
        "operating_points": points,
        "picture": asdict(scale) if scale else None,
        "picture_calibration": _picture_calibration(plain) if scale else None,
        "by_best_box": _by_best_box(by_boxes, points),
        "calibration": _calibration_if_any(made),
        **_looked_at(parts, together, points["doubt"]["threshold"], samples=min(samples, groups.GROUP_SAMPLES)),
    }


def _looked_at(parts: Sequence[Records], together: Sequence[Judged], cut: float, *, samples: int) -> dict[str, Any]:
    """Figures by group, and the worst pictures."""
    pictures = [picture for records in parts for picture in records.pictures]
    pairs = zip(together, pictures, strict=True)
    seen = [gallery.seen(judged, picture.facts, cut=cut) for judged, picture in pairs]
    return {
        "groups": [
            groups.figures(group, {"doubt": cut}, samples=samples) for group in groups.groups(pictures, together)
        ],
        "misses": [gallery.listed(picture) for picture in gallery.worst_misses(seen)[:WORST]],
        "false_alarms": [gallery.listed(picture) for picture in gallery.worst_alarms(seen)[:WORST]],
    }


def pair(interval: Interval) -> list[float | None]:
    """An interval as JSON; None where it has no value."""
    return [None if np.isnan(end) else round(end, 4) for end in (interval.low, interval.high)]


def variants(
    parts: Sequence[Records],
    *,
    iou_thresholds: Sequence[float] = (0.2, 0.3, 0.4, 0.5, 0.6),
    voting_ious: Sequence[float | None] = (None, 0.5, 0.65),
    min_scores: Sequence[float] = (0.0,),
) -> list[dict[str, Any]]:
    """The pooled figures for every way of suppressing boxes, one row each, from records and without a model."""
    return [
        {"iou_threshold": threshold, "voting_iou": voting, "min_score": least}
        | summary(
            [
                picture
                for records in parts
                for picture in records.judged(iou_threshold=threshold, voting_iou=voting, min_score=least)
            ]
        )
        for threshold in iou_thresholds
        for voting in voting_ious
        for least in min_scores
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """A report's tables as Markdown: figures by fold, cuts, calibration."""
    names = ("map50", "map50_95", "map30", "auroc", "best_iou_mean", "image_map50", "sensitivity_at_0.25")
    folds, head = found["by_fold"], " | ".join(names)
    lines = [f"| fold | pictures | fractured | {head} |", "|---" * (3 + len(names)) + "|"]
    for row in folds["folds"]:
        cells = [f"{row[name]:.3f}" for name in names]
        lines.append(f"| {row['fold']} | {row['pictures']} | {row['fractured']} | " + " | ".join(cells) + " |")
    spread = [f"{folds['mean'][name]:.3f} ± {folds['spread'][name]:.3f}" for name in names]
    together = [f"{found['pooled'][name]:.3f} {ends_text(found['intervals'][name])}" for name in names]
    lines += [
        "| mean ± sd | | | " + " | ".join(spread) + " |",
        f"| pooled (95%) | {found['pictures']} | {found['fractured']} | " + " | ".join(together) + " |",
        "",
        "| cut | at | sensitivity | specificity | cross-fitted: sensitivity | specificity |",
        "|---" * 6 + "|",
    ]
    for name, point in found["operating_points"].items():
        honest = point["cross_fitted"]
        cells = [
            f"{point['measured'][f]:.3f} {ends_text(point['intervals'][f])}" for f in ("sensitivity", "specificity")
        ]
        cells += [f"{honest[f]:.3f} {ends_text(honest[f'{f}_interval'])}" for f in ("sensitivity", "specificity")]
        lines.append(f"| {name} | {point['threshold']:g} | " + " | ".join(cells) + " |")
    if found["calibration"]:
        lines += _calibration_table(found["calibration"])
    return "\n".join([*lines, "", *group_table(found["groups"])]) + "\n"


def _calibration_table(fitted: Mapping[str, Any]) -> list[str]:
    lines = ["", "| calibration, cross-fitted | ECE | ECE of boxes shown | Brier | log loss |", "|---" * 5 + "|"]
    for name, fit in fitted["cross_fitted"].items():
        whole, shown = fit["all"], fit["shown"]
        lines.append(
            f"| {name} | {whole['ece']:.4f} | {shown['ece']:.4f} | {whole['brier']:.4f} | {whole['log_loss']:.4f} |"
        )
    return lines
