"""CVAT for images 1.1 (XML), both ways: polygons, masks, boxes (also rotated), tags.

A polygon in several parts is several `polygon` elements with one `group_id`, which is how CVAT itself joins shapes.
A box that is not the one around the outline, the ignore flag and a model's score travel as attributes of the shape.
CVAT keeps attributes only where the task's labels declare them: `label_settings` gives those to paste into the task.
Smaller objects lie above larger ones (`z_order`), so that a click reaches them.
"""

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osteon.anatomy import bone_name
from osteon.datasets import xml_files
from osteon.datasets.case import Case, Instance, Manifest, Polygon
from osteon.datasets.labels import FRACTURE_LABELS, IGNORE, shows_fracture
from osteon.datasets.picture_files import PictureIndex, known_size
from osteon.datasets.rle import Mask, box_of_mask, runs_of, values_of
from osteon.errors import InvalidDataset
from osteon.findings import BoxXyxy
from osteon.geometry import box_of_points

_NOT_FRACTURED = frozenset({"not_fractured", "normal", "no_fracture"})
_SHAPES = ("polygon", "box", "mask")
_UNUSED = ("polyline", "points", "ellipse", "cuboid", "skeleton")
_ATTRIBUTES = (("score", "text", ""), ("ignore", "checkbox", "false"), ("osteon_box", "text", ""))
"""Of shapes: name, CVAT's kind of input, and what it holds where nobody said anything."""


def read(file: Path, *, images: Path | None = None) -> Manifest:
    """The cases of a CVAT file; shapes that are no region, and absent pictures, are counted in remarks.

    Raises:
        InvalidDataset: no CVAT for images file, a malformed shape, or none of its pictures is there.
    """
    root = xml_files.parse(file)
    if root.tag != "annotations" or (root.find("image") is None and root.find("track") is not None):
        raise InvalidDataset(
            f"{file.name} is not of the format CVAT for images", hint="export as 'CVAT for images 1.1'"
        )
    index = PictureIndex(images or file.parent)
    cases: list[Case] = []
    for element in root.iter("image"):
        path = index.find(element.get("name", ""))
        if path is not None:
            cases.append(_read_case(element, path, file.name))
    listed = len(root.findall("image"))
    if listed and not cases:
        raise InvalidDataset(
            f"{file.name} lists {listed} pictures, and none lies below {(images or file.parent).name}",
            hint="say where the pictures are (images=, on the command line --images)",
        )
    return Manifest(file.stem, tuple(cases), tuple(_remarks(root, listed - len(cases))))


def _remarks(root: ET.Element, absent: int) -> Iterator[str]:
    if absent:
        yield f"{absent} listed pictures are absent and left out"
    for tag in _UNUSED:
        count = sum(1 for image in root.iter("image") for _ in image.iter(tag))
        if count:
            yield f"{count} shapes of the kind {tag} are no regions and left out"


def _read_case(element: ET.Element, path: Path, file_name: str) -> Case:
    try:
        height, width = int(element.get("height", "")), int(element.get("width", ""))
        instances = tuple(_join_groups(element, height, width))
    except (KeyError, ValueError) as error:
        raise InvalidDataset(
            f"{file_name}: a shape or the size of {element.get('name')} is malformed ({error})",
            hint="export the annotations again",
        ) from error
    tags = {tag.get("label", "").lower() for tag in element.findall("tag")}
    fractured = True if tags & FRACTURE_LABELS else (False if tags & _NOT_FRACTURED else shows_fracture(instances))
    return Case(
        name=element.get("name", ""),
        path=path,
        radiograph="not_a_radiograph" not in tags,
        fractured=fractured,
        instances=None if "not_annotated" in tags else instances,
        height_px=height,
        width_px=width,
        patient=_pseudonym(element),
        split=element.get("subset", "") if element.get("subset") in ("train", "valid", "test") else "",
    )


def _pseudonym(element: ET.Element) -> str:
    """What groups pictures of one person: the attribute of a tag "patient"."""
    found = element.find("tag[@label='patient']/attribute[@name='pseudonym']")
    return (found.text or "") if found is not None else ""


@dataclass(frozen=True)
class _Shape:
    """An instance as one element draws it, its group, and whether it brings a box of its own."""

    instance: Instance
    group: str
    own_box: bool


def _join_groups(element: ET.Element, height: int, width: int) -> Iterator[Instance]:
    """Polygons of one label and group become one instance, at the place of the first; ignored if any part is."""
    joined: dict[object, _Shape] = {}
    for number, child in enumerate(element):
        if child.tag not in _SHAPES:
            continue
        shape = _read_shape(child, height, width)
        one_object = child.tag == "polygon" and shape.group not in ("", "0")
        key: object = (shape.instance.label, shape.group) if one_object else number
        joined[key] = _merge(joined[key], shape) if key in joined else shape
    yield from (shape.instance for shape in joined.values())


def _merge(first: _Shape, second: _Shape) -> _Shape:
    polygons = first.instance.polygons + second.instance.polygons
    box = first.instance.box_xyxy_px if first.own_box else box_of_points(np.concatenate(polygons))
    ignore = first.instance.ignore or second.instance.ignore
    return replace(first, instance=replace(first.instance, polygons=polygons, box_xyxy_px=box, ignore=ignore))


def _read_shape(element: ET.Element, height: int, width: int) -> _Shape:
    attributes = {item.get("name", ""): (item.text or "") for item in element.findall("attribute")}
    polygons: tuple[Polygon, ...] = ()
    mask: Mask | None = None
    if element.tag == "polygon":
        polygons = (_points(element.attrib["points"]),)
    elif element.tag == "mask":
        mask = _read_mask(element, height, width)
    elif float(element.get("rotation", "0")):
        polygons = (_corners(element),)
    box = _shape_box(element, polygons, mask)
    own_box = bool(attributes.get("osteon_box"))
    if own_box:
        x0, y0, x1, y1 = map(float, attributes["osteon_box"].split(","))
        box = (x0, y0, x1, y1)
    label = element.attrib["label"]
    ignore = label == IGNORE or attributes.get("ignore", "").lower() == "true"
    score = float(attributes["score"]) if attributes.get("score") else None
    return _Shape(Instance(label, box, polygons, mask, ignore, score), element.get("group_id", ""), own_box)


def _shape_box(element: ET.Element, polygons: tuple[Polygon, ...], mask: Mask | None) -> BoxXyxy:
    if polygons:
        return box_of_points(polygons[0])
    if mask is None:
        x0, y0, x1, y1 = (float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        return x0, y0, x1, y1
    box = box_of_mask(mask)
    if box is None:
        left, top = float(element.attrib["left"]), float(element.attrib["top"])
        return left, top, left, top
    return box


def _points(text: str) -> Polygon:
    points = np.array([[float(number) for number in point.split(",")] for point in text.split(";")], np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError("a polygon needs three points or more")
    return points


def _corners(element: ET.Element) -> Polygon:
    """The corners of a box that CVAT turns clockwise about its centre by `rotation` degrees."""
    x0, y0, x1, y1 = (float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    angle = math.radians(float(element.attrib["rotation"]))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return np.asarray((corners - centre) @ turn + centre, np.float64)


def _read_mask(element: ET.Element, height: int, width: int) -> Mask:
    left, top, across, down = (int(float(element.attrib[key])) for key in ("left", "top", "width", "height"))
    if min(left, top, across, down) < 0 or left + across > width or top + down > height:
        raise ValueError("a mask reaches beyond the picture")
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    mask = np.zeros((height, width), bool)
    mask[top : top + down, left : left + across] = values_of(runs, across * down).reshape(down, across)
    return mask


def write(manifest: Manifest, file: Path) -> None:
    """The manifest as CVAT for images 1.1.

    Raises:
        InvalidDataset: the size of a picture is not known and cannot be read.
    """
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for setting in label_settings({instance.label for case in manifest for instance in case.instances or ()}):
        _write_label(labels, setting)
    for number, case in enumerate(manifest):
        _write_case(root, number, case)
    xml_files.write(root, file)


def label_settings(labels: Iterable[str]) -> list[dict[str, Any]]:
    """The labels as CVAT's "Raw" field of a new task takes them: colours of anatomy, and the attributes that we write.

    >>> label_settings(["radius"])[0]["color"]
    '#50c8ff'
    """
    return [
        {
            "name": label,
            "color": "#" + "".join(f"{value:02x}" for value in bone_name(label).colour),
            "type": "any",
            "attributes": [
                {
                    "name": name,
                    "input_type": kind,
                    "mutable": False,
                    "values": [default] if default else [],
                    "default_value": default,
                }
                for name, kind, default in _ATTRIBUTES
            ],
        }
        for label in sorted(set(labels))
    ]


def write_label_settings(labels: Iterable[str], file: Path) -> None:
    """A file with the labels to paste into CVAT's "Raw" field of a new task."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(label_settings(labels), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_label(parent: ET.Element, setting: dict[str, Any]) -> None:
    label = ET.SubElement(parent, "label")
    for key in ("name", "color", "type"):
        ET.SubElement(label, key).text = setting[key]
    attributes = ET.SubElement(label, "attributes")
    for given in setting["attributes"]:
        attribute = ET.SubElement(attributes, "attribute")
        texts = given | {"mutable": str(given["mutable"]), "values": "\n".join(given["values"])}
        for key in ("name", "mutable", "input_type", "default_value", "values"):
            ET.SubElement(attribute, key).text = texts[key]


def _write_case(root: ET.Element, number: int, case: Case) -> None:
    height, width = known_size(case)
    attributes = {"id": str(number), "name": case.name, "width": str(width), "height": str(height)}
    element = ET.SubElement(root, "image", attributes | ({"subset": case.split} if case.split else {}))
    instances = case.instances or ()
    for group, (instance, z_order) in enumerate(zip(instances, _z_orders(instances), strict=True), start=1):
        for shape in _write_shapes(instance, group, z_order):
            element.append(shape)
    for label, holds in (
        ("fractured", case.fractured is True),
        ("not_fractured", case.fractured is False),
        ("not_a_radiograph", not case.radiograph),
        ("not_annotated", case.instances is None),
    ):
        if holds:
            ET.SubElement(element, "tag", {"label": label, "source": "manual"})
    if case.patient:
        tag = ET.SubElement(element, "tag", {"label": "patient", "source": "manual"})
        ET.SubElement(tag, "attribute", {"name": "pseudonym"}).text = case.patient


def _z_orders(instances: Sequence[Instance]) -> list[int]:
    """For each instance one more than the highest of the larger ones whose boxes it meets."""
    boxes = np.array([instance.box_xyxy_px for instance in instances], np.float64).reshape(-1, 4)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    orders = [0] * len(instances)
    done: list[int] = []
    for index in map(int, np.argsort(-areas, kind="stable")):
        below = [
            other
            for other in done
            if (np.minimum(boxes[index, 2:], boxes[other, 2:]) > np.maximum(boxes[index, :2], boxes[other, :2])).all()
        ]
        orders[index] = max((orders[other] + 1 for other in below), default=0)
        done.append(index)
    return orders


def _write_shapes(instance: Instance, group: int, z_order: int) -> Iterator[ET.Element]:
    source = "manual" if instance.score is None else "auto"
    common = {"label": instance.label, "source": source, "occluded": "0", "z_order": str(z_order)}
    box = ",".join(repr(float(value)) for value in instance.box_xyxy_px)
    drawn: BoxXyxy | None = None
    if instance.mask is not None:
        drawn = box_of_mask(instance.mask)
        elements = [ET.Element("mask", common | _mask_attributes(instance.mask))]
    elif instance.polygons:
        drawn = box_of_points(np.concatenate(instance.polygons))
        grouped = {"group_id": str(group)} if len(instance.polygons) > 1 else {}
        elements = [
            ET.Element("polygon", common | {"points": _write_points(polygon)} | grouped)
            for polygon in instance.polygons
        ]
    else:
        drawn = instance.box_xyxy_px
        corners = zip(("xtl", "ytl", "xbr", "ybr"), box.split(","), strict=True)
        elements = [ET.Element("box", common | dict(corners))]
    if drawn != instance.box_xyxy_px:
        ET.SubElement(elements[0], "attribute", {"name": "osteon_box"}).text = box
    for element in elements:
        if instance.ignore and instance.label != IGNORE:
            ET.SubElement(element, "attribute", {"name": "ignore"}).text = "true"
        if instance.score is not None:
            ET.SubElement(element, "attribute", {"name": "score"}).text = repr(instance.score)
    yield from elements


def _write_points(polygon: Polygon) -> str:
    return ";".join(f"{float(x)!r},{float(y)!r}" for x, y in polygon)


def _mask_attributes(mask: Mask) -> dict[str, str]:
    box = box_of_mask(mask) or (0.0, 0.0, 1.0, 1.0)
    left, top, right, bottom = (int(value) for value in box)
    runs = runs_of(mask[top:bottom, left:right].ravel())
    frame = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in frame.items()}
