"""Which format a folder or file is of, and its importer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from osteon.datasets import coco, cvat, fracatlas, manifest_file, mura, ph2, pictures, roboflow, voc, yolo
from osteon.datasets.case import Manifest
from osteon.datasets.picture_files import pictures_below
from osteon.errors import ConfigurationError, InvalidDataset


@dataclass(frozen=True)
class Format:
    """A format: its name, its layout in words, how to recognise and read it.

    `read` takes the folder or file and the folder of the pictures, or None to look beside the annotations.
    """

    name: str
    layout: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, Path | None], Manifest]


def open_dataset(place: Path, *, format: str = "auto", images: Path | None = None) -> Manifest:  # noqa: A002
    """The manifest of a data set in any known format.

    Args:
        place: a folder, or an annotation file (COCO JSON, CVAT XML, a manifest).
        format: a name in `FORMATS`, or "auto" to recognise it.
        images: folder of the pictures, for formats whose annotations may lie apart.

    Raises:
        ConfigurationError: no such format.
        InvalidDataset: nothing there, no known layout, or not laid out as its format says.
    """
    if not place.exists():
        raise InvalidDataset(f"nothing is at {place}", hint="give the folder of a data set, or its annotation file")
    if format == "auto":
        return recognise(place).read(place, images)
    chosen = next((known for known in FORMATS if known.name == format), None)
    if chosen is None:
        raise ConfigurationError(f"no format {format!r}", hint=f"known: {', '.join(known.name for known in FORMATS)}")
    return chosen.read(place, images)


def recognise(place: Path) -> Format:
    """The first format whose layout `place` has; a plain folder of pictures is never guessed.

    Raises:
        InvalidDataset: none; the hint lists all layouts.
    """
    found = next((known for known in FORMATS if known.recognise(place)), None)
    if found is None:
        layouts = "; ".join(f"{known.name} ({known.layout})" for known in FORMATS)
        raise InvalidDataset(f"{place.name} has no known layout", hint=f"known layouts: {layouts}; or name the format")
    return found


def _json_files(place: Path, is_wanted: Callable[[object], bool]) -> list[Path]:
    if place.is_file():
        files = [place] if place.suffix.lower() == ".json" else []
    else:
        files = sorted([*place.glob("*.json"), *place.glob("annotations/*.json")])
    return [file for file in files if _holds(file, is_wanted)]


def _holds(file: Path, is_wanted: Callable[[object], bool]) -> bool:
    try:
        return is_wanted(json.loads(file.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        return False


def _xml_files(place: Path, root: str) -> list[Path]:
    if place.is_file():
        files = [place] if place.suffix.lower() == ".xml" else []
    else:
        files = sorted([*place.glob("*.xml"), *place.glob("[Aa]nnotations/*.xml"), *place.glob("*/*.xml")])[:20]
    return [file for file in files if _root_is(file, root)]


def _root_is(file: Path, root: str) -> bool:
    try:
        with file.open("rb") as lines:
            return bool(next(ElementTree.iterparse(lines, events=("start",)))[1].tag == root)
    except (OSError, ElementTree.ParseError, StopIteration):
        return False


def _single(files: list[Path], kind: str) -> Path:
    if len(files) == 1:
        return files[0]
    if not files:
        raise InvalidDataset(f"no {kind} file there", hint="give the annotation file itself")
    names = ", ".join(file.name for file in files)
    raise InvalidDataset(f"{len(files)} {kind} files: {names}", hint="give one of them instead of the folder")


def _read_coco(place: Path, images: Path | None) -> Manifest:
    file = place if place.is_file() else _single(_json_files(place, coco.is_coco), "COCO")
    return coco.read(file, images=images or (place if place.is_dir() else None))


def _read_cvat(place: Path, images: Path | None) -> Manifest:
    file = place if place.is_file() else _single(_xml_files(place, "annotations"), "CVAT")
    return cvat.read(file, images=images or (place if place.is_dir() else None))


def _read_manifest(place: Path, _: Path | None) -> Manifest:
    is_folder = place.is_dir()
    file = _single(_json_files(place, manifest_file.is_manifest), "manifest") if is_folder else place
    return manifest_file.read_manifest(file)


def _read_voc(place: Path, images: Path | None) -> Manifest:
    return voc.read(place, images=images)


def _looks_roboflow(place: Path) -> bool:
    if any(place.glob(f"*/{roboflow.COCO_NAME}")) or (place / roboflow.COCO_NAME).is_file():
        return True
    return (place / "data.yaml").is_file() and any(".rf." in path.name for path in pictures_below(place))


def _looks_yolo(place: Path) -> bool:
    if any((place / name).is_file() for name in yolo.NAME_FILES):
        return True
    return place.is_dir() and any(yolo.label_file(path).is_file() for path in pictures_below(place)[:50])


FORMATS: tuple[Format, ...] = (
    Format(
        "manifest",
        "Osteon's own JSON",
        lambda place: bool(_json_files(place, manifest_file.is_manifest)),
        _read_manifest,
    ),
    Format(
        "fracatlas",
        "images/Fractured, images/Non_fractured, Annotations, dataset.csv",
        lambda place: (place / "images" / "Fractured").is_dir() and (place / fracatlas.COCO_FILE).is_file(),
        lambda place, _: fracatlas.read(place),
    ),
    Format(
        "mura",
        "train/XR_WRIST/patient00001/study1_positive/image1.png",
        lambda place: any(place.glob("*/XR_*/patient*")) or any(place.glob("XR_*/patient*")),
        lambda place, _: mura.read(place),
    ),
    Format(
        "ph2",
        "PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp",
        lambda place: any(place.glob("IMD*/IMD*_Dermoscopic_Image")) or (place / ph2.IMAGES_FOLDER).is_dir(),
        lambda place, _: ph2.read(place),
    ),
    Format(
        "roboflow",
        "train/_annotations.coco.json, or data.yaml with pictures named *.rf.*",
        _looks_roboflow,
        lambda place, _: roboflow.read(place),
    ),
    Format(
        "coco",
        "a JSON with images, annotations and categories",
        lambda place: bool(_json_files(place, coco.is_coco)),
        _read_coco,
    ),
    Format(
        "cvat",
        "an XML of 'CVAT for images 1.1'",
        lambda place: bool(_xml_files(place, "annotations")),
        _read_cvat,
    ),
    Format(
        "voc",
        "Pascal VOC: an XML for each picture",
        lambda place: place.is_dir() and bool(_xml_files(place, "annotation")),
        _read_voc,
    ),
    Format(
        "yolo",
        "data.yaml or classes.txt, and a txt for each picture",
        _looks_yolo,
        lambda place, _: yolo.read(place),
    ),
    Format(
        "pictures",
        "any folder of pictures that are not radiographs; only when named",
        lambda _: False,
        lambda place, _: pictures.read(place),
    ),
)
