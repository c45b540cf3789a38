"""One model for every data set: a `Case` is a picture with what is known of it, a `Manifest` a list of them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.findings import BoxXyxy

Polygon = NDArray[np.float64]
"""(n, 2) points x, y in image pixels."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One labelled object on a picture, in image pixels (EXIF orientation applied).

    Attributes:
        label: as the source names it: "fracture", "radius", "lesion", ...
        box_xyxy_px: the object's box.
        polygons: its outline, one polygon for each part; empty where only a box is known.
        mask: (height, width) bool, where the source gives pixels instead of an outline.
        ignore: the region is neither the object nor background: leave it out of loss and score.
        score: how sure the model was that drew it, 0 to 1; None where a person did.
    """

    label: str
    box_xyxy_px: BoxXyxy
    polygons: tuple[Polygon, ...] = ()
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    ignore: bool = False
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One picture of a data set.

    Attributes:
        name: unique in its data set; for most sources the file name.
        path: where the picture lies.
        radiograph: False for pictures that are certainly none (photographs, dermoscopy, ...).
        fractured: True or False where somebody said so, None where nobody did (a missing label is no negative).
        instances: labelled objects; None where nobody drew any, () where somebody looked and found none.
        height_px: of the picture as a person sees it, where the source tells.
        width_px: likewise.
        body_part: hand, leg, hip, shoulder, ... or "".
        views: frontal, lateral, oblique.
        hardware: metal is visible; None where nobody said.
        multiscan: the picture holds more than one exposure; None where nobody said.
        patient: pseudonym that groups pictures of one person, or "".
        split: the part that the source itself assigns (train, valid, test), or "".
        mask_path: a file with the mask of `mask_label`, where the source has one.
    """

    name: str
    path: Path
    radiograph: bool = True
    fractured: bool | None = None
    instances: tuple[Instance, ...] | None = None
    height_px: int | None = None
    width_px: int | None = None
    body_part: str = ""
    views: tuple[str, ...] = ()
    hardware: bool | None = None
    multiscan: bool | None = None
    patient: str = ""
    split: str = ""
    mask_path: Path | None = None
    mask_label: str = ""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The cases of a data set, in a fixed order, and what the importer had to say about it."""

    name: str
    cases: tuple[Case, ...]
    remarks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def only(self, names: set[str] | frozenset[str]) -> "Manifest":
        """The cases with these names, in the same order."""
        return replace(self, cases=tuple(case for case in self.cases if case.name in names))


def digest(value: Any) -> str:
    """A short sha256 of a JSON value, to tell whether two splits or settings are the same.

    >>> digest({"a": 1}) == digest({"a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
