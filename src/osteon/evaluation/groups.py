"""Figures by group (body part, view, metal, size of picture and fracture ...), and whether a set is large enough.

Groups are small, so each figure stands with its interval, and a group with few fractured pictures is marked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from osteon.evaluation.bootstrap import Interval, intervals, wilson
from osteon.evaluation.detection import Judged, average_precision, image_auroc
from osteon.evaluation.records import Record
from osteon.inference.card_text import LEAST_IN_GROUP

LEAST_FRACTURED = 50
LEAST_NORMAL = 100
WIDEST = {"auroc": 0.05, "sensitivity": 0.10, "specificity": 0.10, "map50": 0.10}
"""Half-width of a 95% interval over which a figure is not known well enough to judge a model by."""
GROUP_SAMPLES = 300
UNTOLD = "not told"
SMALL, MEDIUM, LARGE = "under 5% of the long side", "5 to 10%", "over 10%"

Names = Callable[[Record], Sequence[str]]


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that share something; `kind` says what, `name` which.

    Attributes:
        kind: e.g. "body part".
        name: e.g. "hand".
        pictures: fractured ones of the group, and normal ones to compare with.
        own_normals: the normal pictures are of the group too; False where the group is of fractures only, so that the
            normal ones are all there are and say nothing of the group.
    """

    kind: str
    name: str
    pictures: tuple[Judged, ...]
    own_normals: bool = True


def _view(record: Record) -> Sequence[str]:
    return record.facts.views or (UNTOLD,)


def _told(value: bool | None, yes: str, no: str) -> tuple[str]:
    return (UNTOLD if value is None else (yes if value else no),)


def _picture_size(record: Record) -> tuple[str]:
    longer = max(record.facts.height_px, record.facts.width_px)
    return ("under 700 px" if longer < 700 else ("700 to 1,500 px" if longer <= 1500 else "over 1,500 px"),)


_KINDS: Mapping[str, Names] = {
    "body part": lambda record: (record.facts.body_part or UNTOLD,),
    "view": _view,
    "metal": lambda record: _told(record.facts.hardware, "visible", "none"),
    "exposures": lambda record: _told(record.facts.multiscan, "several on one picture", "one"),
    "long side of the picture": _picture_size,
}


def fracture_size(record: Record) -> str:
    """How large the picture's largest fracture is: the root of its box's area beside the picture's long side."""
    boxes = record.judged.truth_xyxy_px.astype(np.float64)
    largest = math.sqrt(float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).max()))
    share = largest / max(record.facts.height_px, record.facts.width_px)
    return SMALL if share < 0.05 else (MEDIUM if share <= 0.10 else LARGE)


def groups(pictures: Sequence[Record], judged: Sequence[Judged]) -> list[Group]:
    """All groups that part the pictures; a kind of which nothing is told, or which holds all in one, is left out.

    Args:
        pictures: for their facts.
        judged: the same pictures with the boxes to be judged by.
    """
    pairs = list(zip(pictures, judged, strict=True))
    found: list[Group] = []
    for kind, names_of in _KINDS.items():
        by_name: dict[str, list[Judged]] = {}
        for record, picture in pairs:
            for name in names_of(record):
                by_name.setdefault(name, []).append(picture)
        if len(by_name) > 1:
            ordered = sorted(by_name, key=lambda name: (name == UNTOLD, -len(by_name[name]), name))
            found += [Group(kind, name, tuple(by_name[name])) for name in ordered]
    return found + _by_fractures(pairs)


def _by_fractures(pairs: Sequence[tuple[Record, Judged]]) -> list[Group]:
    normal = tuple(picture for _, picture in pairs if not picture.fractured)
    made: dict[tuple[str, str], list[Judged]] = {}
    for record, picture in pairs:
        if picture.fractured:
            made.setdefault(("largest fracture", fracture_size(record)), []).append(picture)
            how_many = "one" if len(picture.truth_xyxy_px) == 1 else "several"
            made.setdefault(("fractures", how_many), []).append(picture)
    order = {name: place for place, name in enumerate((SMALL, MEDIUM, LARGE, "one", "several"))}
    ordered = sorted(made, key=lambda key: (key[0] != "largest fracture", order[key[1]]))
    return [Group(*key, (*made[key], *normal), own_normals=False) for key in ordered]


def figures(group: Group, cuts: Mapping[str, float], *, samples: int = GROUP_SAMPLES) -> dict[str, Any]:
    """A row of the by-group table: counts, figures at the `doubt` cut, AUROC and mAP50, each with its interval."""
    fractured = [p for p in group.pictures if p.fractured]
    normal = [p for p in group.pictures if not p.fractured]
    called = sum(p.found.best >= cuts["doubt"] for p in fractured)
    spared = sum(p.found.best < cuts["doubt"] for p in normal)
    sure = intervals(group.pictures, samples=samples, brief=True)
    values: dict[str, tuple[float, Interval]] = {
        "sensitivity": _counted(called, len(fractured)),
        "specificity": _counted(spared, len(normal) if group.own_normals else 0),
        "auroc": (image_auroc(group.pictures), sure["auroc"]),
        "map50": (average_precision(fractured) if fractured else math.nan, sure["map50"]),
    }
    row: dict[str, Any] = {
        "kind": group.kind,
        "name": group.name,
        "fractured": len(fractured),
        "normal": len(normal) if group.own_normals else None,
        "few": len(fractured) < LEAST_IN_GROUP,
    }
    for name, (value, interval) in values.items():
        row[name] = value
        row[f"{name}_interval"] = [math.nan, math.nan] if math.isnan(value) else [interval.low, interval.high]
    return row


def _counted(right: int, count: int) -> tuple[float, Interval]:
    return (right / count if count else math.nan), wilson(right, count)


def too_small(fractured: int, normal: int, sure: Mapping[str, Interval], values: Mapping[str, float]) -> list[str]:
    """In words, why a set is too small to judge a model by; nothing where it is large enough.

    Args:
        fractured: pictures.
        normal: pictures.
        sure: intervals by a name of `WIDEST`.
        values: the figures themselves.
    """
    said = []
    for what, count, least in (("fractured", fractured, LEAST_FRACTURED), ("normal", normal, LEAST_NORMAL)):
        if count < least:
            said.append(f"{count} {what} pictures; fewer than {least} tell little")
    for name, widest in WIDEST.items():
        interval = sure[name]
        if math.isnan(interval.half_width):
            said.append(f"{_WORDS[name]} cannot be told from these pictures")
        elif interval.half_width > widest:
            reach = f"{_WORDS[name]} {values[name]:.2f} is uncertain by ±{interval.half_width:.3f}"
            counted = {"sensitivity": fractured, "specificity": normal}.get(name, fractured)
            needed = math.ceil(counted * (interval.half_width / widest) ** 2 / 10) * 10
            kind = "normal" if name == "specificity" else "fractured"
            said.append(f"{reach} (limit ±{widest:g}); about {needed} {kind} pictures would do")
    return said


_WORDS = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity at the cut 'doubt'",
    "specificity": "Specificity at the cut 'fracture'",
    "map50": "mAP50",
}
