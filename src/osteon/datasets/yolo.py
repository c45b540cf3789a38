"""YOLO txt, both ways: a line an object, `class x y width height` or `class x1 y1 x2 y2 ...`, relative to the picture.

A picture without a label file was not looked at (`instances` None); an empty label file says that nothing was found.
YOLO knows neither regions to ignore nor an object in several parts: the writer leaves out the former and writes each
part of the latter as an object, with a remark for both.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from osteon.datasets.case import Case, Instance, Manifest, Polygon
from osteon.datasets.labels import shows_fracture
from osteon.datasets.picture_files import known_size, pictures_below, short_names, size_px, split_in_path
from osteon.datasets.rle import Mask
from osteon.errors import InvalidDataset
from osteon.geometry import box_of_points

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_FOLDER_OF = {"train": "train", "valid": "valid", "test": "test", "": "train"}


def read(folder: Path) -> Manifest:
    """The pictures below a folder with the labels beside them, or in `labels` where the picture lies in `images`.

    Raises:
        InvalidDataset: no pictures, a malformed label line, or a class without a name.
    """
    paths = pictures_below(folder)
    if not paths:
        raise InvalidDataset(f"no pictures below {folder.name}", hint="YOLO sets hold the pictures and their labels")
    names = class_names(folder)
    cases: list[Case] = []
    remarks: list[str] = []
    for path, name in zip(paths, short_names(paths, folder), strict=True):
        size, labels = size_px(path), label_file(path)
        instances = None
        if labels.is_file() and size is not None:
            instances = tuple(_read_labels(labels, size, names))
        elif labels.is_file():
            remarks.append(f"{name} cannot be opened, and relative labels mean nothing without its size")
        cases.append(
            Case(
                name=name,
                path=path,
                fractured=shows_fracture(instances),
                instances=instances,
                height_px=size[0] if size else None,
                width_px=size[1] if size else None,
                split=split_in_path(path, folder),
            )
        )
    unlabelled = sum(case.instances is None for case in cases)
    if unlabelled:
        remarks.append(f"{unlabelled} pictures have no label file: they count as not looked at, not as negative")
    return Manifest(folder.name, tuple(cases), tuple(remarks))


def label_file(picture: Path) -> Path:
    """Where the labels of a picture belong: `images` in its path becomes `labels`, else beside it."""
    parts = list(picture.with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :])
    return picture.with_suffix(".txt")


def class_names(folder: Path) -> dict[int, str]:
    """Names by class number from the folder's `data.yaml`, `classes.txt` or `obj.names`; empty without one."""
    for name in NAME_FILES:
        file = folder / name
        if file.is_file():
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            lines = (line.strip() for line in text.splitlines())
            return _yaml_names(text) if file.suffix in (".yaml", ".yml") else dict(enumerate(lines))
    return {}


def _yaml_names(text: str) -> dict[int, str]:
    """The `names` of a data.yaml: `[a, b]`, a block of `- a`, or a block of `0: a`. Nothing else of YAML is read."""
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return {}
    first = lines[start].split(":", 1)[1].strip()
    if first.startswith(("[", "{")):
        inner = " ".join([first, *lines[start + 1 :]])
        items = re.split(
            r",(?=(?:[^'\"]|'[^']*'|\"[^\"]*\")*$)", inner[1 : inner.index("]" if first[0] == "[" else "}")]
        )
    else:
        items = []
        for line in lines[start + 1 :]:
            if line.strip() and not re.match(r"\s+\S|-\s", line):
                break
            items.append(line)
    named = [item.split(" #")[0].strip().removeprefix("- ") for item in items]
    return dict(_numbered(item) for item in enumerate(item for item in named if item and not item.startswith("#")))


def _numbered(item: tuple[int, str]) -> tuple[int, str]:
    number, text = item
    explicit = re.match(r"(\d+)\s*:\s*(.*)", text)
    if explicit:
        number, text = int(explicit[1]), explicit[2]
    return number, text.strip().strip("'\"")


def _read_labels(file: Path, size: tuple[int, int], names: Mapping[int, str]) -> Iterator[Instance]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            kind, *values = line.split()
            yield _instance(names.get(int(float(kind)), f"class{int(float(kind))}"), list(map(float, values)), size)
        except ValueError as error:
            raise InvalidDataset(
                f"{file.name}, line {number}: expected a class and 4 numbers, or 3 points and more",
                hint="YOLO labels are 'class x y width height' or 'class x1 y1 x2 y2 x3 y3 ...'",
            ) from error


def _instance(label: str, values: Sequence[float], size: tuple[int, int]) -> Instance:
    height, width = size
    if len(values) in (4, 5):
        x, y, across, down = values[:4]
        box = ((x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height)
        return Instance(label, box)
    if len(values) < 6 or len(values) % 2:
        raise ValueError("neither box nor polygon")
    points = np.asarray(values, np.float64).reshape(-1, 2) * (width, height)
    return Instance(label, box_of_points(points), (points,))


def write(manifest: Manifest, folder: Path, *, copy: bool = True) -> tuple[str, ...]:
    """The manifest as `<part>/images`, `<part>/labels` and `data.yaml`; gives remarks on what YOLO cannot hold.

    Args:
        manifest: the cases; those without a part go to `train`.
        folder: where to write.
        copy: the pictures as well, not the labels alone.
    """
    labels = sorted({item.label for case in manifest for item in case.instances or () if not item.ignore})
    numbers = {label: number for number, label in enumerate(labels)}
    parts = sorted({_FOLDER_OF[case.split] for case in manifest})
    for case in manifest:
        below = folder / _FOLDER_OF[case.split]
        flat = case.name.replace("/", "__")
        if copy:
            (below / "images").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(case.path, below / "images" / flat)
        if case.instances is not None:
            lines = [line for item in case.instances if not item.ignore for line in _lines(item, numbers, case)]
            (below / "labels").mkdir(parents=True, exist_ok=True)
            text = "".join(f"{line}\n" for line in lines)
            (below / "labels" / flat).with_suffix(".txt").write_text(text, encoding="utf-8")
    yaml = [
        "path: .",
        *(f"{'val' if part == 'valid' else part}: {part}/images" for part in parts),
        f"nc: {len(labels)}",
    ]
    yaml += ["names:", *(f"  {number}: '{label}'" for label, number in numbers.items())]
    (folder / "data.yaml").write_text("\n".join(yaml) + "\n", encoding="utf-8")
    return tuple(_losses(manifest))


def _losses(manifest: Manifest) -> Iterator[str]:
    instances = [item for case in manifest for item in case.instances or ()]
    ignored = sum(item.ignore for item in instances)
    parted = sum(len(item.polygons) > 1 for item in instances)
    masks = sum(item.mask is not None for item in instances)
    if ignored:
        yield f"{ignored} regions to ignore are left out: YOLO has no word for them"
    if parted:
        yield f"{parted} objects in several parts became an object for each part"
    if masks:
        yield f"{masks} masks became outlines"


def _lines(item: Instance, numbers: Mapping[str, int], case: Case) -> Iterator[str]:
    height, width = known_size(case)
    polygons = outlines(item.mask) if item.mask is not None else item.polygons
    rows = [(polygon / (width, height)).ravel().tolist() for polygon in polygons]
    if not rows:
        x0, y0, x1, y1 = item.box_xyxy_px
        rows = [[(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]]
    for row in rows:
        yield " ".join([str(numbers[item.label]), *(f"{value:.8g}" for value in row)])


def outlines(mask: Mask) -> tuple[Polygon, ...]:
    """The outer outlines of a mask's parts, through the centres of their border pixels; specks are left out."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return tuple(contour.reshape(-1, 2).astype(np.float64) + 0.5 for contour in contours if len(contour) >= 3)
