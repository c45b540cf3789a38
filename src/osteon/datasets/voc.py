"""Pascal VOC XML, both ways: one file a picture, boxes only, `difficult` for regions to ignore.

Coordinates are taken as they stand. The original challenge counted from 1, today's tools (and FracAtlas) count from 0.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

from osteon.datasets import xml_files
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.labels import IGNORE, shows_fracture
from osteon.datasets.picture_files import PictureIndex, known_size
from osteon.errors import InvalidDataset


def read(folder: Path, *, images: Path | None = None) -> Manifest:
    """The cases of all VOC files below `folder`; absent pictures are counted in a remark.

    Raises:
        InvalidDataset: no annotation file, a malformed one, or none of the pictures is there.
    """
    index = PictureIndex(images or folder)
    roots = [(file, xml_files.parse(file)) for file in sorted(folder.rglob("*.xml"))]
    files = [(file, root) for file, root in roots if root.tag == "annotation"]
    if not files:
        raise InvalidDataset(f"no Pascal VOC files below {folder.name}", hint="VOC has one XML file for each picture")
    cases: list[Case] = []
    for file, root in files:
        name = root.findtext("filename", "").strip() or file.stem
        path = index.find(name)
        if path is not None:
            cases.append(_case(root, name, path, file))
    absent = len(files) - len(cases)
    if not cases:
        raise InvalidDataset(
            f"{absent} VOC files, and none of their pictures lies below {(images or folder).name}",
            hint="say where the pictures are (images=, on the command line --images)",
        )
    remarks = (f"{absent} listed pictures are absent and left out",) if absent else ()
    return Manifest(folder.name, tuple(cases), remarks)


def _case(root: ET.Element, name: str, path: Path, file: Path) -> Case:
    try:
        instances = tuple(_instance(element) for element in root.findall("object"))
        height, width = (int(float(root.findtext(f"size/{side}", "0"))) for side in ("height", "width"))
    except ValueError as error:
        raise InvalidDataset(f"{file.name} has a malformed box or size", hint="export the file again") from error
    fractured = {"1": True, "0": False}.get(root.findtext("osteon/fractured", ""), shows_fracture(instances))
    return Case(name, path, True, fractured, instances, height or None, width or None)


def _instance(element: ET.Element) -> Instance:
    x0, y0, x1, y1 = (float(element.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
    label = element.findtext("name", "").strip()
    return Instance(label, (x0, y0, x1, y1), ignore=label == IGNORE or element.findtext("difficult", "0") == "1")


def write(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    """One XML file for each looked-at case in `folder`; gives remarks on what VOC cannot hold."""
    for case in manifest:
        if case.instances is not None:
            flat = Path(case.name.replace("/", "__")).with_suffix(".xml")
            xml_files.write(_annotation(case), folder / flat)
    outlined = sum(bool(item.polygons) or item.mask is not None for case in manifest for item in case.instances or ())
    return (f"{outlined} outlines became boxes: VOC has no word for them",) if outlined else ()


def _annotation(case: Case) -> ET.Element:
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = case.name
    height, width = known_size(case)
    size = ET.SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", 1)):
        ET.SubElement(size, key).text = str(value)
    if case.fractured is not None:
        ET.SubElement(ET.SubElement(root, "osteon"), "fractured").text = str(int(case.fractured))
    for item in case.instances or ():
        element = ET.SubElement(root, "object")
        ET.SubElement(element, "name").text = item.label
        ET.SubElement(element, "difficult").text = str(int(item.ignore))
        box = ET.SubElement(element, "bndbox")
        for key, corner in zip(("xmin", "ymin", "xmax", "ymax"), item.box_xyxy_px, strict=True):
            ET.SubElement(box, key).text = repr(float(corner))
    return root
