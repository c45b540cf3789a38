"""COCO JSON, both ways: polygons with several parts, run-length masks, boxes, crowds.

What COCO leaves open, this reader decides so: an image listed without annotations was looked at and nothing was found
(`instances` is `()`), yet nobody said that it is free of fractures (`fractured` is None) unless Osteon wrote the
file; `iscrowd`, a true `ignore`, or the category "ignore" mark a region to leave out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osteon.datasets.case import Case, Instance, Manifest, Polygon
from osteon.datasets.labels import IGNORE, shows_fracture
from osteon.datasets.picture_files import PictureIndex
from osteon.datasets.rle import Mask, box_of_mask, coco_mask, coco_runs, compress, decompress
from osteon.errors import InvalidDataset
from osteon.findings import BoxXyxy
from osteon.geometry import box_of_points, polygon_area


def read(file: Path, *, images: Path | None = None, name: str = "") -> Manifest:
    """The cases of a COCO file; listed pictures that are absent are left out and counted in a remark.

    Args:
        file: the JSON.
        images: folder of the pictures (searched through); default: the one in which the JSON lies.
        name: of the manifest; default: the file's stem.

    Raises:
        InvalidDataset: no COCO file, or none of its pictures is there.
    """
    document = load(file)
    remarks: list[str] = []
    instances = instances_by_image(document, remarks)
    index = PictureIndex(images or file.parent)
    cases = [_case(record, instances, index.find(str(record["file_name"]))) for record in document["images"]]
    present = tuple(case for case in cases if case is not None)
    absent = len(cases) - len(present)
    if absent and not present:
        raise InvalidDataset(
            f"{file.name} lists {absent} pictures, and none lies below {(images or file.parent).name}",
            hint="say where the pictures are (images=, on the command line --images)",
        )
    if absent:
        remarks.append(f"{absent} listed pictures are absent and left out")
    return Manifest(name or file.stem, present, tuple(remarks))


def load(file: Path) -> dict[str, Any]:
    """The COCO document with its three lists present.

    Raises:
        InvalidDataset: unreadable, no JSON, or no COCO file.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{file.name} is no readable JSON", hint="export the annotations again as COCO") from error
    if not is_coco(document):
        raise InvalidDataset(
            f"{file.name} has no lists 'images', 'annotations', 'categories'",
            hint="export as COCO instances (a detection or segmentation set), not as COCO results",
        )
    if not all(isinstance(record, dict) and {"id", "file_name"} <= record.keys() for record in document["images"]):
        raise InvalidDataset(f"{file.name} lists a picture without id or file_name", hint="export it again")
    return dict(document)


def is_coco(document: Any) -> bool:
    """Whether a JSON value has COCO's three lists."""
    return isinstance(document, dict) and all(
        isinstance(document.get(key), list) for key in ("images", "annotations", "categories")
    )


def instances_by_image(document: Mapping[str, Any], remarks: list[str]) -> dict[Any, tuple[Instance, ...]]:
    """The instances of each image id; what cannot be used is left out and counted in `remarks`.

    Raises:
        InvalidDataset: an annotation names an unknown image or category, or lacks a field.
    """
    found: dict[Any, list[Instance]] = {}
    broken = 0
    try:
        labels = {category["id"]: str(category["name"]) for category in document["categories"]}
        sizes = {record["id"]: (record.get("height"), record.get("width")) for record in document["images"]}
        for annotation in document["annotations"]:
            label, size = labels[annotation["category_id"]], sizes[annotation["image_id"]]
            instance = _instance(annotation, label, size)
            broken += instance is None
            if instance is not None:
                found.setdefault(annotation["image_id"], []).append(instance)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidDataset(
            f"an annotation refers to something that is not there or is malformed: {error}",
            hint="export the annotations again; ids of images and categories must match",
        ) from error
    if broken:
        remarks.append(f"{broken} annotations have neither box nor outline and are left out")
    return {image: tuple(instances) for image, instances in found.items()}


def _instance(annotation: Mapping[str, Any], label: str, size: tuple[Any, Any]) -> Instance | None:
    polygons, mask = _outline(annotation.get("segmentation"), size)
    box = _box(annotation.get("bbox"), polygons, mask)
    if box is None:
        return None
    ignore = bool(annotation.get("iscrowd") or annotation.get("ignore") or label == IGNORE)
    score = annotation.get("score")
    return Instance(label, box, polygons, mask, ignore, None if score is None else float(score))


def _outline(segmentation: Any, size: tuple[Any, Any]) -> tuple[tuple[Polygon, ...], Mask | None]:
    if isinstance(segmentation, Mapping):
        height, width = segmentation.get("size") or size
        counts = segmentation["counts"]
        runs = decompress(counts) if isinstance(counts, str) else [int(run) for run in counts]
        return (), coco_mask(runs, int(height), int(width))
    parts = segmentation or []
    if parts and not isinstance(parts[0], Sequence):
        parts = [parts]
    return tuple(polygon for polygon in map(_polygon, parts) if polygon is not None), None


def _polygon(flat: Sequence[float]) -> Polygon | None:
    """(n, 2) points; None for the crumbs of one or two points that annotation tools leave behind."""
    if len(flat) < 6:
        return None
    return np.asarray(flat, np.float64).reshape(-1, 2)


def _box(bbox: Any, polygons: Iterable[Polygon], mask: Mask | None) -> BoxXyxy | None:
    if bbox:
        x, y, width, height = (float(value) for value in bbox)
        return x, y, x + width, y + height
    if mask is not None:
        return box_of_mask(mask)
    points = list(polygons)
    return box_of_points(np.concatenate(points)) if points else None


def _case(record: Mapping[str, Any], instances: Mapping[Any, tuple[Instance, ...]], path: Path | None) -> Case | None:
    if path is None:
        return None
    own = instances.get(record["id"], ())
    extra = record.get("osteon") or {}
    return Case(
        name=str(record["file_name"]),
        path=path,
        radiograph=bool(extra.get("radiograph", True)),
        fractured=extra.get("fractured", shows_fracture(own)),
        instances=own if extra.get("annotated", True) else None,
        height_px=record.get("height"),
        width_px=record.get("width"),
        body_part=str(extra.get("body_part", "")),
        views=tuple(extra.get("views", ())),
        hardware=extra.get("hardware"),
        multiscan=extra.get("multiscan"),
        patient=str(extra.get("patient", "")),
        split=str(extra.get("split", "")),
    )


def write(manifest: Manifest, file: Path) -> None:
    """The manifest as COCO JSON; what COCO has no field for stands in each image's `osteon` object."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document(manifest), ensure_ascii=False) + "\n", encoding="utf-8")


def document(manifest: Manifest) -> dict[str, Any]:
    """The COCO document of a manifest: categories in the order of their names, ids from 1."""
    labels = sorted({instance.label for case in manifest for instance in case.instances or ()})
    category_ids = {label: index for index, label in enumerate(labels, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, case in enumerate(manifest, start=1):
        for instance in case.instances or ():
            ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_ids[instance.label]}
            annotations.append(ids | _annotation(instance))
    return {
        "info": {"description": manifest.name, "version": "1.0"},
        "licenses": [],
        "images": [_image(image_id, case) for image_id, case in enumerate(manifest, start=1)],
        "annotations": annotations,
        "categories": [{"id": index, "name": label} for label, index in category_ids.items()],
    }


def _annotation(instance: Instance) -> dict[str, Any]:
    x0, y0, x1, y1 = instance.box_xyxy_px
    segmentation: Any = [polygon.ravel().tolist() for polygon in instance.polygons]
    area = sum(polygon_area(polygon) for polygon in instance.polygons) or (x1 - x0) * (y1 - y0)
    if instance.mask is not None:
        segmentation = {"size": list(instance.mask.shape), "counts": compress(coco_runs(instance.mask))}
        area = float(instance.mask.sum())
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": segmentation,
        "area": area,
        "iscrowd": int(instance.ignore),
        "ignore": int(instance.ignore),
    } | ({} if instance.score is None else {"score": instance.score})


def _image(image_id: int, case: Case) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "radiograph": case.radiograph,
        "fractured": case.fractured,
        "annotated": case.instances is not None,
        "body_part": case.body_part,
        "views": list(case.views),
        "hardware": case.hardware,
        "multiscan": case.multiscan,
        "patient": case.patient,
        "split": case.split,
    }
    size = {"height": case.height_px, "width": case.width_px}
    return {"id": image_id, "file_name": case.name, **size, "osteon": extra}
