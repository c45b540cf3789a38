"""A manifest as Osteon's own JSON, which loses nothing; paths are kept relative to the file where they can be."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.rle import coco_mask, coco_runs, compress, decompress
from osteon.errors import InvalidDataset

SCHEMA_VERSION = 1
_PLAIN = ("name", "radiograph", "fractured", "height_px", "width_px", "body_part", "hardware", "patient", "split")


def write_manifest(manifest: Manifest, file: Path) -> None:
    """The manifest as a JSON file, pictures not included."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest_to_json(manifest, file.parent), ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def manifest_to_json(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The manifest as a JSON object whose paths are relative to `folder`."""
    return {
        "osteon_manifest": SCHEMA_VERSION,
        "name": manifest.name,
        "remarks": list(manifest.remarks),
        "cases": [_case_to_json(case, folder.resolve()) for case in manifest],
    }


def read_manifest(file: Path) -> Manifest:
    """The manifest of a JSON file; whether the pictures are there is not looked at.

    Raises:
        InvalidDataset: unreadable, or no manifest of this version.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if not is_manifest(value):
            raise ValueError("no manifest")
        cases = tuple(_case_from_json(item, file.parent) for item in value["cases"])
        return Manifest(value["name"], cases, tuple(value["remarks"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDataset(
            f"{file.name} is no manifest of Osteon", hint="write one with `osteon data import`"
        ) from error


def is_manifest(value: Any) -> bool:
    """Whether a JSON value is a manifest of a version that this code reads."""
    return isinstance(value, dict) and value.get("osteon_manifest") == SCHEMA_VERSION


def _case_to_json(case: Case, folder: Path) -> dict[str, Any]:
    value = {key: getattr(case, key) for key in _PLAIN}
    value["path"] = _relative(case.path, folder)
    value["views"] = list(case.views)
    if case.multiscan is not None:
        value["multiscan"] = case.multiscan
    value["instances"] = None if case.instances is None else [_instance_to_json(item) for item in case.instances]
    if case.mask_path is not None:
        value["mask_path"], value["mask_label"] = _relative(case.mask_path, folder), case.mask_label
    return value


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _instance_to_json(item: Instance) -> dict[str, Any]:
    value: dict[str, Any] = {"label": item.label, "box_xyxy_px": list(item.box_xyxy_px)}
    if item.polygons:
        value["polygons"] = [polygon.tolist() for polygon in item.polygons]
    if item.mask is not None:
        value["mask"] = {"size": list(item.mask.shape), "counts": compress(coco_runs(item.mask))}
    if item.ignore:
        value["ignore"] = True
    if item.score is not None:
        value["score"] = item.score
    return value


def _case_from_json(value: Mapping[str, Any], folder: Path) -> Case:
    mask_path = folder / value["mask_path"] if "mask_path" in value else None
    instances = value["instances"]
    return Case(
        path=folder / value["path"],
        views=tuple(value["views"]),
        instances=None if instances is None else tuple(_instance_from_json(item) for item in instances),
        multiscan=value.get("multiscan"),
        mask_path=mask_path,
        mask_label=value.get("mask_label", ""),
        **{key: value[key] for key in _PLAIN},
    )


def _instance_from_json(value: Mapping[str, Any]) -> Instance:
    x0, y0, x1, y1 = map(float, value["box_xyxy_px"])
    polygons = tuple(np.asarray(points, np.float64) for points in value.get("polygons", ()))
    mask = None
    if "mask" in value:
        height, width = value["mask"]["size"]
        mask = coco_mask(decompress(value["mask"]["counts"]), height, width)
    return Instance(value["label"], (x0, y0, x1, y1), polygons, mask, bool(value.get("ignore")), value.get("score"))
