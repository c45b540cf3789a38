"""Figures of single bones as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
COLUMNS = {
    "ap50": "mask AP50",
    "ap50_95": "AP50-95",
    "recall": "recall",
    "precision": "precision",
    "matched_iou_mean": "IoU of matched: mean",
    "matched_iou_median": "median",
    "matched_iou_best": "best",
    "all_iou_mean": "IoU of all, 0 if missed",
    "implant_iou": "IoU of metal",
    "union_dice": "Dice of the union",
    "gate_dice": "Dice of stage 1",
}
UNSEEN = {"union_dice_unseen": "Dice of the union", "gate_dice_unseen": "Dice of stage 1"}
LEGEND = (
    "All bones count as one class; metal counts in its own column only. Matched: shown bones that hit a drawn one at "
    "mask IoU 0.5. In brackets 95% bootstrap intervals over pictures."
)


def markdown(found: Figures) -> str:
    """The tables of `instance_figures.report`, or of `bone_folds`, one below the other."""
    lines = _head("", ["pictures", "bones", *COLUMNS.values()])
    lines += [_row("all", found)] + [_row(part, group) for part, group in found["by_body_part"].items()]
    lines += ["", LEGEND]
    if is_known(found["figures"].get("gate_dice_unseen")):
        told = ", ".join(f"{title} {cell(found, name)}" for name, title in UNSEEN.items())
        lines += ["", f"On the pictures that stage 1 was not trained on: {told}."]
    if "by_class" in found:
        lines += ["", *by_class(found["by_class"])]
    if "folds" in found:
        lines += ["", *_folds(found)]
    return "\n".join(lines) + "\n"


def by_class(rows: Figures) -> list[str]:
    """A table line a class."""
    lines = _head("class", ["drawn", "AP50", "AP50-95", "recall", "IoU of matched: mean"])
    for label, row in rows.items():
        ap50 = interval(row["ap50"], row["ap50_interval"])
        cells = [label, str(row["drawn"]), ap50, *map(number, (row["ap50_95"], row["recall"], row["matched_iou_mean"]))]
        lines.append(_line(cells))
    return lines


def _folds(found: Figures) -> list[str]:
    names = [name for name in COLUMNS if name in found["mean"]]
    lines = _head("fold", ["pictures", "cut", "cut of metal", *(COLUMNS[name] for name in names)])
    for row in found["folds"]:
        cells = [row["fold"], str(row["pictures"]), *(f"{cut:.2f}" for cut in row["cuts"].values())]
        lines.append(_line(cells + [number(row["figures"][name]) for name in names]))
    spread = found["spread"]
    told = [f"{found['mean'][name]:.3f} ± {spread[name]:.3f}" if name in spread else "–" for name in names]
    best = found["cuts"]["all"]
    cut = (
        f"Each fold is cut where the other folds are best; all of them are at {best['bone']:.3f}, "
        f"metal at {best['metal']:.3f}."
    )
    return [*lines, _line(["mean ± sd", "", "", "", *told]), "", cut]


def _row(name: str, group: Figures) -> str:
    return _line([name, str(group["pictures"]), str(group["bones"]), *(cell(group, figure) for figure in COLUMNS)])


def cell(group: Figures, name: str) -> str:
    """A figure with its interval."""
    return interval(group["figures"].get(name), group["intervals"].get(name, (None, None)))


def interval(value: float | None, ends: Sequence[float | None]) -> str:
    """A figure with its interval, as far as they are known.

    >>> interval(0.812, (0.78, 0.843)), interval(None, (None, None))
    ('0.812 (0.78–0.84)', '–')
    """
    low, high = ends
    if not is_known(value) or not is_known(low):
        return number(value)
    return f"{value:.3f} ({low:.2f}–{high:.2f})"


def number(value: float | None) -> str:
    """Three places, or a dash for no value."""
    return f"{value:.3f}" if is_known(value) else "–"


def is_known(value: float | None) -> bool:
    """Neither null, as JSON has it, nor NaN."""
    return value is not None and not math.isnan(value)


def _head(first: str, rest: Sequence[str]) -> list[str]:
    return [_line([first, *rest]), "|" + "---|" * (1 + len(rest))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
