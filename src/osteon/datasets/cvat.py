"""CVAT for images 1.1 (XML), both ways: polygons, masks, boxes (also rotated), tags.

A polygon in several parts is several `polygon` elements with one `group_id`, which is how CVAT itself joins shapes.
A box that is not the one around the outline, and the ignore flag, travel as attributes of the shape.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

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
    """Polygons of one label and group become one instance, at the place of the first."""
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
    return replace(first, instance=replace(first.instance, polygons=polygons, box_xyxy_px=box))


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
    own_box = "osteon_box" in attributes
    if own_box:
        x0, y0, x1, y1 = map(float, attributes["osteon_box"].split(","))
        box = (x0, y0, x1, y1)
    label = element.attrib["label"]
    ignore = label == IGNORE or attributes.get("ignore", "").lower() == "true"
    return _Shape(Instance(label, box, polygons, mask, ignore), element.get("group_id", ""), own_box)


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
    for label in sorted({instance.label for case in manifest for instance in case.instances or ()}):
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = label
    for number, case in enumerate(manifest):
        _write_case(root, number, case)
    xml_files.write(root, file)


def _write_case(root: ET.Element, number: int, case: Case) -> None:
    height, width = known_size(case)
    attributes = {"id": str(number), "name": case.name, "width": str(width), "height": str(height)}
    element = ET.SubElement(root, "image", attributes | ({"subset": case.split} if case.split else {}))
    for group, instance in enumerate(case.instances or (), start=1):
        for shape in _write_shapes(instance, group):
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


def _write_shapes(instance: Instance, group: int) -> Iterator[ET.Element]:
    common = {"label": instance.label, "source": "manual", "occluded": "0", "z_order": "0"}
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
    if instance.ignore and instance.label != IGNORE:
        ET.SubElement(elements[0], "attribute", {"name": "ignore"}).text = "true"
    yield from elements


def _write_points(polygon: Polygon) -> str:
    return ";".join(f"{float(x)!r},{float(y)!r}" for x, y in polygon)


def _mask_attributes(mask: Mask) -> dict[str, str]:
    box = box_of_mask(mask) or (0.0, 0.0, 1.0, 1.0)
    left, top, right, bottom = (int(value) for value in box)
    runs = runs_of(mask[top:bottom, left:right].ravel())
    frame = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in frame.items()}
