"""Cross-validation of single bones read as one: every picture judged by the model that did not see it.

A cut chosen on pictures looks a little too good on them, so each fold's bones are shown at the cut that is best on the
other folds; the best on all of them is what a card should say.
"""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from osteon.errors import InvalidDataset
from osteon.evaluation.bone_records import BoneRecords
from osteon.evaluation.folds import fold_names, refuse_twice
from osteon.evaluation.instance_figures import Table, best_cut, judge, report
from osteon.evaluation.instances import ANY, compared


def bone_folds(parts: Sequence[BoneRecords], *, samples: int = 1000) -> dict[str, Any]:
    """The figures of `instance_figures.report` over all folds, those of each fold, their mean and spread, and the cut.

    Raises:
        InvalidDataset: fewer than two folds, of different splits or labels, or a picture in two of them.
    """
    names = fold_names([(records.origin.part, records.origin.split_hash) for records in parts])
    if len(labels := {records.origin.labels for records in parts}) > 1:
        told = "; ".join(sorted(", ".join(each) for each in labels))
        raise InvalidDataset(f"the folds' models tell different classes apart: {told}", hint="give folds of one model")
    pictures = [picture for records in parts for picture in records.pictures]
    refuse_twice([picture.name for picture in pictures])
    bones = [[compared(picture)[ANY[0]] for picture in records.pictures] for records in parts]
    cuts = [best_cut([one for j, fold in enumerate(bones) if j != i for one in fold]) for i in range(len(parts))]
    shown_at = [cut for cut, records in zip(cuts, parts, strict=True) for _ in records.pictures]
    found = report(pictures, parts[0].origin.labels, shown_at, samples=samples)
    rows = [_fold(name, records, cut) for name, records, cut in zip(names, parts, cuts, strict=True)]
    figures = list(found["figures"].keys() & rows[0]["figures"].keys())
    columns = {name: [row["figures"][name] for row in rows if not np.isnan(row["figures"][name])] for name in figures}
    by_fold = {
        "folds": rows,
        "mean": {name: fmean(values) for name, values in columns.items() if values},
        "spread": {name: stdev(values) for name, values in columns.items() if len(values) > 1},
    }
    cut = best_cut([one for fold in bones for one in fold])
    return {"labels": list(parts[0].origin.labels), "cut": {"all": cut, "cross_fitted": cuts}} | found | by_fold


def _fold(name: str, records: BoneRecords, cut: float) -> dict[str, Any]:
    judged = [judge(picture, records.origin.labels, cut) for picture in records.pictures]
    figures = Table.of(judged).figures(np.ones(len(judged), np.int64))
    return {"fold": name, "pictures": len(judged), "cut": cut, "figures": figures}
