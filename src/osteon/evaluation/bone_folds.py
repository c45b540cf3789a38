"""Cross-validation of single bones read as one: every picture judged by the model that did not see it.

Cuts chosen on pictures look a little too good on them, so each fold's bones and metal are shown at the cuts that are
best on the other folds; the best on all of them are what a card should say.
"""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from osteon.errors import InvalidDataset
from osteon.evaluation.bone_records import BoneRecords
from osteon.evaluation.folds import fold_names, refuse_twice
from osteon.evaluation.instance_figures import Table, best_cuts, judge, report
from osteon.inference.bones import Cuts


def bone_folds(parts: Sequence[BoneRecords], *, samples: int = 1000) -> dict[str, Any]:
    """The figures of `instance_figures.report` over all folds, those of each fold, their mean and spread, and the cuts.

    Raises:
        InvalidDataset: fewer than two folds, of different splits or labels, or a picture in two of them.
    """
    names = fold_names([(records.origin.part, records.origin.split_hash) for records in parts])
    if len(labels := {records.origin.labels for records in parts}) > 1:
        told = "; ".join(sorted(", ".join(each) for each in labels))
        raise InvalidDataset(f"the folds' models tell different classes apart: {told}", hint="give folds of one model")
    pictures = [picture for records in parts for picture in records.pictures]
    refuse_twice([picture.name for picture in pictures])
    told_apart = parts[0].origin.labels
    cuts = [
        best_cuts([picture for other in parts if other is not records for picture in other.pictures], told_apart)
        for records in parts
    ]
    shown_at = [cut for cut, records in zip(cuts, parts, strict=True) for _ in records.pictures]
    found = report(pictures, told_apart, shown_at, samples=samples)
    rows = [_fold(name, records, cut) for name, records, cut in zip(names, parts, cuts, strict=True)]
    figures = list(found["figures"].keys() & rows[0]["figures"].keys())
    columns = {name: [row["figures"][name] for row in rows if not np.isnan(row["figures"][name])] for name in figures}
    by_fold = {
        "folds": rows,
        "mean": {name: fmean(values) for name, values in columns.items() if values},
        "spread": {name: stdev(values) for name, values in columns.items() if len(values) > 1},
    }
    chosen = {
        "all": best_cuts(pictures, told_apart)._asdict(),
        "cross_fitted": [each._asdict() for each in cuts],
    }
    return {"labels": list(told_apart), "cuts": chosen} | found | by_fold


def _fold(name: str, records: BoneRecords, cuts: Cuts) -> dict[str, Any]:
    judged = [judge(picture, records.origin.labels, cuts) for picture in records.pictures]
    figures = Table.of(judged).figures(np.ones(len(judged), np.int64))
    return {"fold": name, "pictures": len(judged), "cuts": cuts._asdict(), "figures": figures}
