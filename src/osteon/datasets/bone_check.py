"""Whether a file of bone outlines is sound: what `osteon data check` and the tests ask of the published one."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osteon.anatomy import BONES
from osteon.datasets import coco
from osteon.datasets.labels import IGNORE
from osteon.datasets.outlines import crossings
from osteon.errors import InvalidDataset
from osteon.geometry import box_of_points, polygon_area

WITHHELD = range(3297, 3714)
"""Numbers of the FracAtlas films that are kept for acceptance: nobody may train on them."""
LEAST_AREA_PX = 4.0
_TOLERANCE_PX = 0.051
"""Coordinates, boxes and areas are written with one decimal."""
_ROW = re.compile(r"^\| ([a-z_]+) \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)
_NUMBER = re.compile(r"(\d+)\.\w+$")

Record = Mapping[str, Any]


def check(file: Path, card: Path | None = None) -> tuple[str, ...]:
    """What is wrong with a COCO file of bone outlines, in words; () where nothing is.

    Looked at: ids, names and references; categories that anatomy knows; polygons with three points or more, inside the
    picture, that do not cross themselves and are no crumbs; areas and boxes that are the polygons'; regions to ignore
    flagged as such, and nothing else; films that are withheld.

    Args:
        file: the COCO file.
        card: its data card, whose tables of counts (label or body part, objects, films) must be the file's.

    Raises:
        InvalidDataset: no COCO file, or one that lacks what every record must have.
    """
    document = coco.load(file)
    try:
        problems = [*_listing_problems(document), *_annotation_problems(document)]
        if card is not None:
            problems += _card_problems(document, card.read_text("utf-8", errors="replace"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidDataset(
            f"{file.name} has a record that is malformed ({type(error).__name__}: {error})",
            hint="pictures need height and width, categories id and name, annotations numbers",
        ) from error
    return tuple(problems)


def is_card(file: Path) -> bool:
    """Whether a file has tables of counts at all."""
    return file.is_file() and _ROW.search(file.read_text("utf-8", errors="replace")) is not None


def counts(document: Record) -> dict[str, tuple[int, int]]:
    """Objects and films of each label, then of each body part, then "all"; what refers to nothing is not counted."""
    labels = {category["id"]: str(category["name"]) for category in document["categories"]}
    parts = {image["id"]: _body_part(image) for image in document["images"]}
    objects: Counter[str] = Counter()
    films: dict[str, set[Any]] = {name: set() for name in [*labels.values(), *sorted(set(parts.values())), "all"]}
    for annotation in document["annotations"]:
        image, label = annotation.get("image_id"), labels.get(annotation.get("category_id"))
        for name in (label, parts[image], "all") if label is not None and image in parts else ():
            objects[name] += 1
            films[name].add(image)
    return {name: (objects[name], len(own)) for name, own in films.items() if name}


def _body_part(image: Record) -> str:
    return str((image.get("osteon") or {}).get("body_part", ""))


def _listing_problems(document: Record) -> Iterator[str]:
    for kind in ("images", "annotations", "categories"):
        for value in _repeated([record.get("id") for record in document[kind]]):
            yield f"{kind}: id {value} is given twice"
    for value in _repeated([image["file_name"] for image in document["images"]]):
        yield f"{value} is listed twice"
    for value in _repeated([category.get("name") for category in document["categories"]]):
        yield f"category {value} is listed twice"
    for category in document["categories"]:
        if category.get("name") not in {*BONES, IGNORE}:
            yield f"category {category.get('name')} is unknown to anatomy"
    annotated = {annotation.get("image_id") for annotation in document["annotations"]}
    for image in document["images"]:
        number = _NUMBER.search(str(image["file_name"]))
        if number and int(number[1]) in WITHHELD:
            yield f"{image['file_name']} is withheld"
        if image["id"] not in annotated:
            yield f"{image['file_name']} has no outline"


def _repeated(values: Sequence[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _annotation_problems(document: Record) -> Iterator[str]:
    images = {image["id"]: image for image in document["images"]}
    labels = {category.get("id"): category.get("name") for category in document["categories"]}
    for annotation in document["annotations"]:
        name = f"annotation {annotation.get('id')}"
        image, label = images.get(annotation.get("image_id")), labels.get(annotation.get("category_id"))
        if image is None or label is None:
            yield f"{name} refers to a picture or category that is not listed"
            continue
        ignored = (annotation.get("iscrowd"), annotation.get("ignore", 0))
        if ignored != ((1, 1) if label == IGNORE else (0, 0)):
            yield f"{name} ({label}) has iscrowd and ignore {ignored}"
        parts = annotation.get("segmentation")
        if not _are_polygons(parts):
            yield f"{name} ({label}) has no polygons of three points or more"
            continue
        yield from (f"{name} ({label}) {problem}" for problem in _outline_problems(annotation, parts, image))


def _are_polygons(parts: Any) -> bool:
    return (
        isinstance(parts, list)
        and bool(parts)
        and all(isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in parts)
    )


def _outline_problems(annotation: Record, parts: Sequence[Sequence[float]], image: Record) -> Iterator[str]:
    polygons = [np.asarray(part, np.float64).reshape(-1, 2) for part in parts]
    points = np.concatenate(polygons)
    if (points < 0).any() or (points > (image["width"], image["height"])).any():
        yield "reaches beyond the picture"
    areas = [polygon_area(polygon) for polygon in polygons]
    if min(areas) < LEAST_AREA_PX:
        yield f"has a part of {min(areas):.1f} square pixels"
    if any(map(crossings, polygons)):
        yield "crosses itself"
    if abs(annotation.get("area", 0) - sum(areas)) > _TOLERANCE_PX:
        yield f"has an area of {annotation.get('area')}, its polygons {sum(areas):.1f}"
    x0, y0, x1, y1 = box_of_points(points)
    box = np.array([x0, y0, x1 - x0, y1 - y0])
    given = np.asarray(annotation.get("bbox") or [], np.float64)
    if given.shape != box.shape or np.abs(given - box).max() > _TOLERANCE_PX:
        yield "has a box that is not its polygons'"


def _card_problems(document: Record, text: str) -> Iterator[str]:
    stated = {name: (_number(objects), _number(films)) for name, objects, films in _ROW.findall(text)}
    real = counts(document)
    for name in sorted(stated.keys() | real.keys()):
        if stated.get(name) != real.get(name):
            yield f"the card says {stated.get(name)} objects and films of {name}, the file {real.get(name)}"


def _number(text: str) -> int:
    return int(text.replace(",", ""))
