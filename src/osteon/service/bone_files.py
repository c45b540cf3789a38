"""Bones that were found, kept as outlines beside the pictures of their analysis; as COCO, as a picture to lay over."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import BONES, bone_name
from osteon.errors import BonesNotFound
from osteon.findings import Bone, Damage
from osteon.service.encodings import png
from osteon.service.files import AnalysisFiles

_TOLERANCE_PX = 0.75
"""How far an outline may run beside the mask's edge."""
_SHIFT = 4
_LINE_SHARE = 1 / 400
"""Thickness of an outline as a share of the picture's shorter side."""


def save(files: AnalysisFiles, analysis_id: str, page: int, bones: Iterable[Bone]) -> None:
    """Keep the bones of a page (from 0)."""
    files.put(analysis_id, _name(page), json.dumps([_record(bone) for bone in bones]).encode())


def records(files: AnalysisFiles, analysis_id: str, page: int) -> list[dict[str, Any]]:
    """What was kept of each bone of a page: as in the findings, with `segmentation` and `inside_xy_px`.

    Raises:
        BonesNotFound: nothing was.
    """
    try:
        kept: list[dict[str, Any]] = json.loads(files.read(analysis_id, _name(page)))
    except FileNotFoundError as error:
        raise BonesNotFound(
            f"the bones of page {page + 1} are not found (yet)",
            hint="ask for them with POST .../bones, and wait until that succeeded",
        ) from error
    return kept


def bones(files: AnalysisFiles, analysis_id: str, page: int) -> tuple[Bone, ...]:
    """The bones of a page, their masks filled from the outlines; raises BonesNotFound."""
    return tuple(_bone(record) for record in records(files, analysis_id, page))


def coco(pages: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> dict[str, Any]:
    """The three lists of COCO: images, one for each page; categories, with names and colour; annotations, scored.

    Args:
        pages: findings and records of each page.
    """
    found = {str(record["label"]) for _, bones in pages for record in bones}
    labels = [*BONES, *sorted(found - BONES.keys())]
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    annotations = [
        _annotation(record, image=page, category=numbers[record["label"]])
        for page, (_, bones) in enumerate(pages, start=1)
        for record in bones
    ]
    return {
        "images": [
            {"id": page, "width": one["width_px"], "height": one["height_px"], "file_name": one["source"]}
            for page, (one, _) in enumerate(pages, start=1)
        ],
        "categories": [_category(label, number) for label, number in numbers.items() if label in found],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
    }


def layer_png(found: Sequence[Mapping[str, Any]], *, height_px: int, width_px: int) -> bytes:
    """The outlines in their colours as an RGBA PNG of the page's size, transparent elsewhere; for `records`."""
    pixels = np.zeros((height_px, width_px, 4), np.uint8)
    line = max(1, round(min(height_px, width_px) * _LINE_SHARE))
    for record in reversed(found):  # the surest comes last, on top
        red, green, blue = bone_name(record["label"]).colour
        points = [_points(part) for part in record["segmentation"]]
        cv2.polylines(pixels, points, True, (blue, green, red, 255), line, cv2.LINE_8, _SHIFT)
    return png(pixels)


def _name(page: int) -> str:
    return f"bones-{page + 1}.json"


def _record(bone: Bone) -> dict[str, Any]:
    return bone.to_json() | {"segmentation": outlines(bone), "inside_xy_px": _inside(bone)}


def _annotation(record: Mapping[str, Any], *, image: int, category: int) -> dict[str, Any]:
    x0, y0, x1, y1 = record["box_xyxy_px"]
    return {
        "image_id": image,
        "category_id": category,
        "label": record["label"],
        "score": record["score"],
        "bbox": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)],
        "area": record["area_px"],
        "segmentation": record["segmentation"],
        "iscrowd": 0,
        "inside_xy_px": record["inside_xy_px"],
        **({"damage": record["damage"]} if "damage" in record else {}),
    }


def _category(label: str, number: int) -> dict[str, Any]:
    name = bone_name(label)
    colour = "#{:02x}{:02x}{:02x}".format(*name.colour)
    return {"id": number, "name": label, "names": {"en": name.en, "ru": name.ru}, "colour": colour}


def outlines(bone: Bone) -> list[list[float]]:
    """Its parts as polygons [x0, y0, x1, y1, ...] in image pixels, through the middles of its outermost pixels.

    Holes are filled; a part that is a mere line or point is left out, unless there is nothing else: then its box.
    """
    contours, _ = cv2.findContours(bone.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(contour, _TOLERANCE_PX, True)[:, 0] for contour in contours]
    corner = np.array(bone.corner_xy_px) + 0.5
    parts = [(part + corner).ravel().tolist() for part in simple if len(part) > 2]
    if parts:
        return parts
    x0, y0, x1, y1 = bone.box_xyxy_px
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def _inside(bone: Bone) -> list[float]:
    """A point deep within it, where its name may stand."""
    padded = np.pad(bone.mask.astype(np.uint8), 1)
    row, column = np.unravel_index(np.argmax(cv2.distanceTransform(padded, cv2.DIST_L2, 3)), padded.shape)
    x, y = bone.corner_xy_px
    return [float(column - 1 + x + 0.5), float(row - 1 + y + 0.5)]


def _bone(record: Mapping[str, Any]) -> Bone:
    parts = [_points(part) for part in record["segmentation"]]
    corners = np.concatenate(parts) >> _SHIFT
    x, y = (int(value) for value in corners.min(axis=0))
    width, height = (int(value) + 1 for value in corners.max(axis=0) - corners.min(axis=0))
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [part - (np.array((x, y), np.int32) << _SHIFT) for part in parts], 1, cv2.LINE_8, _SHIFT)
    x0, y0, x1, y1 = record["box_xyxy_px"]
    damage = Damage(**record["damage"]) if record.get("damage") else None
    return Bone(record["label"], record["score"], (x0, y0, x1, y1), (x, y), mask.astype(np.bool_), damage=damage)


def _points(part: Sequence[float]) -> NDArray[np.int32]:
    """(n, 2) points of an outline as OpenCV counts them: pixels from their middles, in sixteenths."""
    return np.rint((np.array(part).reshape(-1, 2) - 0.5) * (1 << _SHIFT)).astype(np.int32)
