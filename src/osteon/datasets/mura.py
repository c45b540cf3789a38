"""MURA v1.1 (Rajpurkar et al. 2017): upper limbs, labelled study by study.

A positive study is *abnormal*: fractured, worn, operated, anything. So its pictures are neither fractured nor not
(`fractured` None), and those of a negative study are not fractured.
"""

import csv
import re
from pathlib import Path

from osteon.datasets.case import Case, Manifest
from osteon.datasets.picture_files import pictures_below
from osteon.errors import InvalidDataset

_PICTURE = re.compile(r"(?:.*/)?(train|valid)/XR_([A-Z]+)/(patient\d+)/study\d+_(positive|negative)/[^/]+$")


def read(folder: Path) -> Manifest:
    """The pictures below `folder`, named by their path from `train` or `valid` on.

    The CSV lists of the archive add nothing; where they are, pictures that they name and that are absent, and studies
    that they label otherwise than the folder does (which is believed), are counted in remarks.

    Raises:
        InvalidDataset: no picture lies in `train/XR_.../patient.../study..._positive` or the like.
    """
    cases: list[Case] = []
    others = 0
    for path in pictures_below(folder):
        case = _case(path, folder)
        others += case is None
        if case is not None:
            cases.append(case)
    if not cases:
        raise InvalidDataset(
            f"no pictures of MURA below {folder.name}",
            hint="the layout is train/XR_WRIST/patient00001/study1_positive/image1.png",
        )
    remarks = [f"{others} pictures lie elsewhere and are left out"] if others else []
    remarks += _list_remarks(folder, {case.name for case in cases})
    return Manifest("mura", tuple(cases), tuple(remarks))


def _case(path: Path, folder: Path) -> Case | None:
    match = _PICTURE.match(path.relative_to(folder.parent).as_posix())
    if match is None:
        return None
    part, region, patient, label = match.groups()
    return Case(
        name=_name(path.as_posix()),
        path=path,
        fractured=False if label == "negative" else None,
        instances=() if label == "negative" else None,
        body_part=region.lower(),
        patient=patient,
        split=part,
    )


def _name(path: str) -> str:
    return "/".join(path.rstrip("/").split("/")[-5:])


def _list_remarks(folder: Path, names: set[str]) -> list[str]:
    remarks: list[str] = []
    listed = {_name(row[0]) for file in sorted(folder.glob("*_image_paths.csv")) for row in _rows(file)}
    absent = len(listed - names)
    if absent:
        remarks.append(f"{absent} listed pictures are absent and left out")
    studies = [row for file in sorted(folder.glob("*_labeled_studies.csv")) for row in _rows(file) if len(row) > 1]
    contrary = sum(("_positive" in row[0]) != (row[1].strip() == "1") for row in studies)
    if contrary:
        remarks.append(f"{contrary} studies are labelled otherwise in the list than by their folder, which is believed")
    return remarks


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return [row for row in csv.reader(lines) if row]
