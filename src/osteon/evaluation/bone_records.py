"""Outlined bones of a model on a data set, kept in a file with the truth, so that folds need no second run.

JSON lines, gzipped where the name ends in `.gz`. The first line is the origin: model, its labels and cuts, split. Each
further line is a picture: its name, what is known of it, every object that was found, best first (`found`), those
drawn (`truth`), the regions left out, and stage 1's mask. Masks are COCO's compressed run lengths; an object's covers
the crop whose upper left pixel is `corner`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteon.datasets.rle import coco_mask, coco_runs, compress, decompress
from osteon.errors import InvalidDataset
from osteon.evaluation.instances import Mask, Outlined
from osteon.evaluation.record_files import DAMAGED, read_lines, write_lines
from osteon.evaluation.records import Facts
from osteon.findings import Bone
from osteon.inference.bones import Cuts

KIND = "osteon_bones"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class BoneOrigin:
    """Whose bones they are.

    Attributes:
        name: the model's.
        version: likewise.
        sha256: of the model file, or "".
        labels: that the model tells apart.
        cuts: least scores shown, as the model's card has them.
        min_score: what scores less was dropped.
        split_hash: of the split that the pictures are from, or "".
        part: of that split, e.g. "fold1".
    """

    name: str
    version: str
    sha256: str
    labels: tuple[str, ...]
    cuts: Cuts
    min_score: float
    split_hash: str = ""
    part: str = ""


@dataclass(frozen=True, eq=False)
class BoneRecords:
    """All pictures of one model on one part of a data set."""

    origin: BoneOrigin
    pictures: tuple[Outlined, ...]


def write(records: BoneRecords, file: Path) -> None:
    """The records as a file, one that was there before replaced only when all is written."""
    write_lines(file, KIND, SCHEMA_VERSION, asdict(records.origin), map(_to_json, records.pictures))


def read(file: Path) -> BoneRecords:
    """The records of a file.

    Raises:
        InvalidDataset: unreadable, or no records of this version.
    """
    try:
        head, lines = read_lines(file, KIND, SCHEMA_VERSION)
        origin = BoneOrigin(**head | {"labels": tuple(head["labels"]), "cuts": Cuts(*head["cuts"])})
        return BoneRecords(origin, tuple(_from_json(line) for line in lines))
    except DAMAGED as error:
        raise InvalidDataset(
            f"{file.name} holds no records of bones", hint="write them with `osteon evaluate bones --records`"
        ) from error


def _to_json(picture: Outlined) -> dict[str, Any]:
    return {
        "name": picture.name,
        "facts": asdict(picture.facts),
        "found": [_object(bone) for bone in picture.found],
        "truth": [_object(bone) for bone in picture.truth],
        "ignored": _coded(picture.ignored),
        "gate": None if picture.gate is None else _coded(picture.gate),
        "gate_saw": picture.gate_saw,
    }


def _object(bone: Bone) -> dict[str, Any]:
    """Score and box are written so that they read back as they were."""
    return {
        "label": bone.label,
        "score": bone.score,
        "box": list(bone.box_xyxy_px),
        "corner": list(bone.corner_xy_px),
        "mask": _coded(bone.mask),
    }


def _coded(mask: Mask) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": compress(coco_runs(mask))}


def _mask(value: Mapping[str, Any]) -> Mask:
    height, width = value["size"]
    return np.ascontiguousarray(coco_mask(decompress(value["counts"]), height, width))


def _bone(value: Mapping[str, Any]) -> Bone:
    x0, y0, x1, y1 = value["box"]
    x, y = value["corner"]
    return Bone(str(value["label"]), float(value["score"]), (x0, y0, x1, y1), (int(x), int(y)), _mask(value["mask"]))


def _from_json(value: Mapping[str, Any]) -> Outlined:
    known = value["facts"]
    return Outlined(
        value["name"],
        Facts(**known | {"views": tuple(known["views"])}),
        tuple(_bone(each) for each in value["found"]),
        tuple(_bone(each) for each in value["truth"]),
        _mask(value["ignored"]),
        None if value["gate"] is None else _mask(value["gate"]),
        value["gate_saw"],
    )
