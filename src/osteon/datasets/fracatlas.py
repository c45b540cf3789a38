"""FracAtlas (Abedeen et al. 2023, figshare 10.6084/m9.figshare.22363012) in its official layout.

The annotation to trust is COCO, drawn in the frame of the picture after its EXIF rotation; the Pascal VOC boxes
differ from it too often to be read. The folder (`Fractured`, `Non_fractured`) and COCO say what a film shows;
`dataset.csv` is believed for body part, views and metal, and overruled, in a remark, where it contradicts the two
(the full set's IMG0003298 is such a row).
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from osteon.datasets import coco
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.labels import FRACTURE, FRACTURE_LABELS
from osteon.datasets.picture_files import pictures_below, size_px
from osteon.errors import InvalidDataset

COCO_FILE = Path("Annotations/COCO JSON/COCO_fracture_masks.json")
TABLE_FILE = Path("dataset.csv")
SPLIT_FOLDER = Path("Utilities/Fracture Split")
_REGIONS = ("hand", "leg", "hip", "shoulder")
_VIEWS = ("frontal", "lateral", "oblique")
_FOLDERS = {"Fractured": True, "Non_fractured": False}

Row = Mapping[str, str]


def read(folder: Path) -> Manifest:
    """The films that are there, in the order of their names.

    A fractured film that COCO does not outline has `instances` None: a missing label is no negative. A film with
    several body parts is "mixed", as the source calls it.

    Raises:
        InvalidDataset: the folder has no `images/Fractured` or `images/Non_fractured`, or no COCO file.
    """
    films = {path: fractured for name, fractured in _FOLDERS.items() for path in _films(folder / "images" / name)}
    if not films:
        raise InvalidDataset(
            "no pictures in images/Fractured or images/Non_fractured",
            hint="give the folder 'FracAtlas' of the official archive, which holds images, Annotations and dataset.csv",
        )
    remarks: list[str] = []
    outlines = _outlines(folder / COCO_FILE, remarks)
    rows = {row["image_id"]: row for row in _rows(folder / TABLE_FILE)}
    splits = _official_splits(folder / SPLIT_FOLDER)
    paths = sorted(films, key=lambda path: path.name)
    cases = tuple(_case(path, films[path], outlines, rows.get(path.name, {}), splits) for path in paths)
    remarks += _contradictions(cases, rows)
    absent = (rows.keys() | outlines.keys() | splits.keys()) - {case.name for case in cases}
    if absent:
        remarks.append(f"{len(absent)} listed films are absent and left out")
    return Manifest("fracatlas", cases, tuple(remarks))


def _films(folder: Path) -> list[Path]:
    return pictures_below(folder) if folder.is_dir() else []


def _outlines(file: Path, remarks: list[str]) -> dict[str, Case]:
    """Size and instances by file name, as COCO gives them."""
    document = coco.load(file)
    instances = coco.instances_by_image(document, remarks)
    outlines: dict[str, Case] = {}
    for record in document["images"]:
        fractures = tuple(_fracture(instance) for instance in instances.get(record["id"], ()))
        name = Path(record["file_name"]).name
        size = {"height_px": record.get("height"), "width_px": record.get("width")}
        outlines[name] = Case(name, file, instances=fractures or None, **size)
    return outlines


def _fracture(instance: Instance) -> Instance:
    return replace(instance, label=FRACTURE if instance.label in FRACTURE_LABELS else instance.label)


def _rows(file: Path) -> list[Row]:
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    if rows and "image_id" not in rows[0]:
        raise InvalidDataset(f"{file.name} has no column image_id", hint="take the file from the official archive")
    return [row for row in rows if row["image_id"]]


def _official_splits(folder: Path) -> dict[str, str]:
    return {row["image_id"]: part for part in ("train", "valid", "test") for row in _rows(folder / f"{part}.csv")}


def _case(path: Path, in_fractured: bool, outlines: Mapping[str, Case], row: Row, splits: Mapping[str, str]) -> Case:
    known = outlines.get(path.name)
    fractured = in_fractured or bool(known and known.instances)
    instances = (known.instances if known else None) if fractured else ()
    size = (known.height_px, known.width_px) if known and known.height_px else size_px(path) or (None, None)
    regions = [region for region in _REGIONS if row.get(region) == "1"]
    return Case(
        name=path.name,
        path=path,
        fractured=fractured,
        instances=instances,
        height_px=size[0],
        width_px=size[1],
        body_part=regions[0] if len(regions) == 1 else ("mixed" if regions else ""),
        views=tuple(view for view in _VIEWS if row.get(view) == "1"),
        hardware=row["hardware"] == "1" if row.get("hardware") else None,
        multiscan=row["multiscan"] == "1" if row.get("multiscan") else None,
        split=splits.get(path.name, ""),
    )


def _contradictions(cases: tuple[Case, ...], rows: Mapping[str, Row]) -> list[str]:
    """Remarks on films of which the table, the folder and COCO say different things."""
    remarks: list[str] = []
    for case in cases:
        said = rows.get(case.name, {}).get("fractured", "")
        if said in ("0", "1") and (said == "1") != case.fractured:
            truth = "fractured" if case.fractured else "not fractured"
            remarks.append(
                f"{case.name}: dataset.csv says fractured={said}; folder and COCO say {truth}, and are believed"
            )
        if case.fractured and case.path.parent.name == "Non_fractured":
            remarks.append(f"{case.name} lies in Non_fractured, but COCO outlines a fracture, and is believed")
        if case.fractured and case.instances is None:
            remarks.append(f"{case.name} is fractured, but nobody outlined where")
    return remarks
