"""Roboflow exports, as COCO (`train/_annotations.coco.json` ...) or as YOLO (`data.yaml`, `train/images` ...).

Roboflow augments before it exports: `hand_01_jpg.rf.<hash>.jpg` are all made of one picture `hand_01.jpg`, and
different sources may be renamed alike. The original's name becomes the case's `patient`, so that no split parts them.
"""

import re
from dataclasses import replace
from pathlib import Path

from osteon.datasets import coco, yolo
from osteon.datasets.case import Case, Manifest
from osteon.errors import InvalidDataset

COCO_NAME = "_annotations.coco.json"
_SUFFIX = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.\w+$)")


def read(folder: Path) -> Manifest:
    """The cases of all parts; names are paths within the export, `split` is the part that Roboflow assigned.

    Raises:
        InvalidDataset: neither a COCO nor a YOLO export.
    """
    files = sorted(folder.glob(f"*/{COCO_NAME}")) or sorted(folder.glob(COCO_NAME))
    if files:
        parts = [_read_coco(file, folder) for file in files]
        cases = tuple(case for part in parts for case in part)
        remarks = tuple(remark for part in parts for remark in part.remarks)
    elif (folder / "data.yaml").is_file():
        found = yolo.read(folder)
        cases, remarks = tuple(_named(case, folder, case.split) for case in found), found.remarks
    else:
        raise InvalidDataset(
            f"{folder.name} holds neither {COCO_NAME} nor data.yaml", hint="export from Roboflow as COCO or YOLO"
        )
    copies = len(cases) - len({case.patient for case in cases})
    if copies:
        remarks = (*remarks, f"{copies} pictures are further copies of an original; copies stay together in splits")
    return Manifest(folder.name, cases, remarks)


def _read_coco(file: Path, folder: Path) -> Manifest:
    part = {"val": "valid"}.get(file.parent.name, file.parent.name)
    found = coco.read(file)
    split = part if part in ("train", "valid", "test") else ""
    return replace(found, cases=tuple(_named(case, folder, split) for case in found))


def _named(case: Case, folder: Path, split: str) -> Case:
    return replace(
        case, name=case.path.relative_to(folder).as_posix(), patient=original_name(case.path.name), split=split
    )


def original_name(name: str) -> str:
    """The name before Roboflow's export.

    >>> original_name("hand_01_jpg.rf.0123abcdef.jpg")
    'hand_01.jpg'
    >>> original_name("hand_01.jpg")
    'hand_01.jpg'
    """
    bare = _SUFFIX.sub("", name)
    if bare == name:
        return name
    stem = bare.rpartition(".")[0]
    return re.sub(r"_(jpe?g|png|bmp|tiff?|webp)$", r".\1", stem, flags=re.IGNORECASE)
